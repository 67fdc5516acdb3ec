"""What failing tests say of where the fault is, by the source texts and the report alone. Pure.

Evidence, strongest first: workspace frames outside of the tests, deepest first; where the failing assertion
is all there is, the functions that it calls or hands over and the methods behind its operators, then those
that made the values which it compares, then the rest of what the test called before; one level down the call
graph, and the constructor of the class whose method raised; names in the failure's message.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

import msgspec

from tools import syntax, words
from tools.callgraph import CONSTRUCTORS, CallGraph, Key, Place, owner_of
from tools.syntax import Call, Symbol
from tools.testreport import Frame, TestResult, is_test_path

_DEEPEST, _NEXT_FRAME, _ASSERTED, _MADE, _CALLED, _MENTIONED, _DOWN = 1.0, 0.7, 0.9, 0.8, 0.4, 0.3, 0.45
_CONSTRUCTOR = 0.6
_FRAMED = 0.4
"""With frames of its own the failure already says where; what the test calls is then only a hint."""
MAX_REACH = 400


class Evidence(msgspec.Struct, frozen=True):
    """One thing that speaks against a function."""

    path: str
    symbol: Symbol
    score: float
    """0..1"""
    reason: str
    """In a few words for a person."""


class Reading:
    """What the failures say, by the texts alone; lives for one question."""

    def __init__(self, sources: Mapping[str, bytes]) -> None:
        self.graph = CallGraph(sources)
        self.sources = self.graph.sources

    def reach(self, test: TestResult) -> set[Key]:
        """The functions outside of the tests that the test may call, directly or through others."""
        found = self.graph.reach(self._test_functions(test), MAX_REACH)
        return {key for key in found if not is_test_path(key[0])}

    def _test_functions(self, test: TestResult) -> list[Place]:
        frame = self._test_frame(test.id)
        frames = [frame] if frame else [f for f in test.frames if f.in_workspace and is_test_path(f.path)]
        return [(f.path, symbol) for f in frames if (symbol := self.graph.function_at(f.path, f.line))]

    def evidence(self, test: TestResult) -> Iterator[Evidence]:
        frames = [f for f in test.frames if f.in_workspace and f.path in self.sources]
        own = [f for f in frames if not is_test_path(f.path)]
        yield from self._from_frames(own)
        tests = [f for f in frames if is_test_path(f.path)]
        if not tests and (found := self._test_frame(test.id)):
            tests = [found]
        weight = _FRAMED if own else 1.0
        for frame in tests[-3:]:
            yield from self._from_test(frame, weight)
        yield from self._mentioned(test)

    def _from_frames(self, frames: list[Frame]) -> Iterator[Evidence]:
        score = _DEEPEST
        for frame in reversed(frames):
            symbol = self.graph.function_at(frame.path, frame.line)
            if symbol is None:
                continue
            where = "raised here" if score == _DEEPEST else "in the traceback"
            yield Evidence(frame.path, symbol, score, f"{where}, line {frame.line}")
            yield from self._down(frame.path, symbol, score)
            for place in self.graph.constructors(frame.path, owner_of(symbol)):
                yield Evidence(*place, score * _DOWN, f"makes what {symbol.qualname} works on")
            score *= _NEXT_FRAME

    def _test_frame(self, test_id: str) -> Frame | None:
        """The test itself, when the report has no frame of it (a fixture's error, a test that was killed)."""
        path, _, rest = test_id.partition("::")
        name = rest.split("[")[0].replace("::", ".")
        for symbol in self.graph.symbols(path):
            if symbol.qualname == name:
                return Frame(path, symbol.end_line, name, in_workspace=True)
        return None

    def _from_test(self, frame: Frame, weight: float) -> Iterator[Evidence]:
        path, source = frame.path, self.sources[frame.path]
        test = self.graph.function_at(path, frame.line)
        if test is None:
            return
        called = [c for c in self.graph.calls(path, test.body_byte, test.end_byte) if c.line <= frame.line]
        asserted, made = [], []
        if statement := syntax.statement_at(source, frame.line, test):
            start, end = statement.start_byte, statement.end_byte
            asserted = self.graph.calls(path, start, end)
            compared = frozenset(syntax.identifiers(source, start, end))
            for origin in syntax.assigning(source, compared, test):
                if origin.start_line <= frame.line:
                    made += self.graph.calls(path, origin.start_byte, origin.end_byte)
            yield from self._implied((path, test), start, end, weight)
        fixtures = [Call(name, test.start_line, test.def_byte) for name in self._parameters(source, test)]
        for found, score, reason in (
            (asserted, _ASSERTED, "called where the test fails"),
            (made, _MADE, "makes a value that the test compares"),
            (called, _CALLED, "called by the test"),
            (fixtures, _CALLED, "called by a fixture of the test"),
        ):
            for call in found:
                yield from self._called((path, test), call.path, score * weight, reason, hops=2)

    def _implied(self, test: Place, start: int, end: int, weight: float) -> Iterator[Evidence]:
        """Operators and properties where the test fails, of the classes that the test can reach."""
        reached = self.graph.reach([test], MAX_REACH).values()
        classes = {(path, owner_of(function)) for path, function in reached if not is_test_path(path)}
        score = _ASSERTED * weight
        for call in syntax.implied(self.sources[test[0]], start, end):
            for path, method in self.graph.methods(call.path.rpartition(".")[2]):
                if (path, owner_of(method)) in classes:
                    yield Evidence(path, method, score, "used where the test fails")
                    yield from self._down(path, method, score)

    def _parameters(self, source: bytes, test: Symbol) -> set[str]:
        return syntax.identifiers(source, test.def_byte, test.body_byte) - {test.name, "self"}

    def _called(self, caller: Place, called: str, score: float, reason: str, hops: int) -> Iterator[Evidence]:
        """What a call in `caller` may reach; helpers of the tests are looked through."""
        for where, symbol in self.graph.resolve(caller[0], called, caller[1]):
            if not is_test_path(where):
                # making a value is what tests do first, and seldom what they test
                own = score * _CONSTRUCTOR if symbol.name in CONSTRUCTORS else score
                yield Evidence(where, symbol, own, reason)
                yield from self._down(where, symbol, own)
            elif hops:
                for call in self.graph.calls(where, symbol.body_byte, symbol.end_byte):
                    yield from self._called((where, symbol), call.path, score * 0.9, reason, hops - 1)

    def _down(self, path: str, symbol: Symbol, score: float) -> Iterator[Evidence]:
        reason = f"called by {symbol.qualname}"
        for where, callee in self.graph.callees((path, symbol)):
            if (where, callee) != (path, symbol) and not is_test_path(where):
                yield Evidence(where, callee, score * _DOWN, reason)

    def likeness(self, test: TestResult, symbol: Symbol) -> float:
        """0..1: how much of a function's name the test's name says, rare words counting more."""
        said = set(words.split(test.id.rpartition("::")[2].partition("[")[0]))
        own = set(words.split(symbol.name))
        whole = sum(map(self._rarity, own))
        return sum(map(self._rarity, own & said)) / whole if whole else 0.0

    def _rarity(self, word: str) -> float:
        functions, with_word = self._named
        return math.log((functions + 1) / (with_word[word] + 0.5))

    @cached_property
    def _named(self) -> tuple[int, Counter[str]]:
        """(number of functions, word -> how many of them have it in their name)"""
        names = [
            symbol.name
            for path in self.sources
            if not is_test_path(path)
            for symbol in self.graph.symbols(path)
            if symbol.kind != "class"
        ]
        return len(names), Counter(word for name in names for word in set(words.split(name)))

    def _mentioned(self, test: TestResult) -> Iterator[Evidence]:
        said = set(re.findall(r"[A-Za-z_]\w{2,}", f"{test.message} {test.id.rpartition('::')[2]}"))
        said |= {word.removeprefix("test_") for word in said}
        for path in self.sources:
            if not is_test_path(path):
                for symbol in self.graph.symbols(path):
                    if symbol.kind != "class" and symbol.name in said:
                        yield Evidence(path, symbol, _MENTIONED, "named by the failure")
