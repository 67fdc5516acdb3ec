"""Which functions a failure points at. Pure: works on source texts and a test report, runs nothing.

Evidence, strongest first: workspace frames outside of the tests, deepest first; where the failing assertion
is all there is, the functions that it calls, then those that made the values which it compares, then the rest
of what the test called before; one level down the call graph; names in the failure's message. Calls are
resolved by imports and, for methods, by name alone.

The evidence of all failing tests is averaged and weighted by Ochiai's coefficient, failed / sqrt(all failed *
(failed + passed)), over the tests that can reach the function (Abreu, Zoeteweij, van Gemund: An Evaluation of
Similarity Coefficients for Software Fault Localization, PRDC 2006). Reach is read off the calls. A test
counts by one over the number of functions that it reaches: the fewer, the more it says.

Where lines were measured (`TestReport.lines`), that coefficient is taken over the lines that tests really
ran, see tools/spectrum.py, and the evidence decides among the functions that it leaves alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from tools import syntax
from tools.spectrum import suspicion
from tools.syntax import Call, Symbol
from tools.testreport import Frame, TestReport, TestResult, is_test_path

_DEEPEST, _NEXT_FRAME, _ASSERTED, _MADE, _CALLED, _MENTIONED, _DOWN = 1.0, 0.7, 0.9, 0.8, 0.4, 0.3, 0.45
_CONSTRUCTORS, _CONSTRUCTOR = ("__init__", "__new__", "__post_init__"), 0.6
_HOPS = 4
_MAX_CANDIDATES = 12
_MAX_PASSED = 300
_MAX_REACH = 400
_CLEARED = 0.3
"""For a function that only passing tests are seen to reach."""
_MEASURED_POWER = 2.0
_UNTOLD = 0.3
"""What a function keeps that was run by failing tests and that no other evidence points at."""
_SHOWING = 0.3
"""For what a failing assertion calls to show its values."""
_AHEAD = 0.8
"""A second suspect with this share of the first one's score is as likely."""
_NOT_RUN = 0.02
"""For a function that no failing test ran: it can still be at fault when a module is imported."""


class Suspect(msgspec.Struct, frozen=True):
    """A function that may be at fault. `score` is in 0..1, comparable within one list only."""

    path: str
    qualname: str
    symbol: Symbol
    score: float
    reason: str
    """Why, in a few words for a person."""


class _Evidence(msgspec.Struct, frozen=True):
    path: str
    symbol: Symbol
    score: float
    reason: str


def suspects(report: TestReport, sources: Mapping[str, bytes], *, limit: int = 10) -> list[Suspect]:
    """The functions of `sources` (path in the workspace -> content) that failures point at, likeliest first.

    Functions of test files are never suspects. A module that fails outside of any function gives none.
    """
    code = _Code(sources)
    spectrum = _Spectrum(code, report)
    totals: dict[_Key, tuple[float, _Evidence]] = {}
    for test in report.failures:
        best: dict[_Key, _Evidence] = {}
        for item in code.evidence(test):
            key = _key(item.path, item.symbol)
            if key not in best or best[key].score < item.score:
                best[key] = item
        for key, item in best.items():
            score, first = totals.get(key, (0.0, item))
            strongest = max(first, item, key=lambda e: e.score)
            totals[key] = (score + item.score * spectrum.weight(test), strongest)
    whole = sum(map(spectrum.weight, report.failures)) or 1.0
    if report.lines:
        scored = _measured(report, sources, {key: (s / whole, e) for key, (s, e) in totals.items()})
    else:
        scored = [(score / whole * spectrum.ochiai(key), e) for key, (score, e) in totals.items()]
    return [
        Suspect(e.path, e.symbol.qualname, e.symbol, round(score, 3), e.reason)
        for score, e in sorted(scored, key=lambda pair: -pair[0])[:limit]
    ]


def is_weak(report: TestReport, found: Sequence[Suspect]) -> bool:
    """Whether the failure leaves it open which function is at fault, so that measuring could tell.

    It does not when a test raised in a function of the code itself, or when the first suspect is well ahead
    of the second.
    """
    raised = any(f.in_workspace and not is_test_path(f.path) for test in report.failures for f in test.frames)
    if raised or not report.failures:
        return False
    return not found or (len(found) > 1 and found[1].score > _AHEAD * found[0].score)


def _measured(
    report: TestReport, sources: Mapping[str, bytes], evidence: dict[_Key, tuple[float, _Evidence]]
) -> list[tuple[float, _Evidence]]:
    """The functions that failing tests ran, by what was measured and what else points at them."""
    scored: list[tuple[float, _Evidence]] = []
    for (path, _), (symbol, share) in suspicion(report, sources).items():
        hint = _Evidence(path, symbol, 0.0, "run by failing tests more than by others")
        score, item = evidence.get(_key(path, symbol), (0.0, hint))
        share *= _SHOWING if symbol.name in ("__repr__", "__str__") and not score else 1.0
        scored.append((share**_MEASURED_POWER * (_UNTOLD + (1 - _UNTOLD) * score), item))
    run = {_key(item.path, item.symbol) for _, item in scored}
    for score, item in evidence.values():
        if _key(item.path, item.symbol) not in run:
            scored.append((score * _NOT_RUN, item))
    return scored


def most_telling(report: TestReport, sources: Mapping[str, bytes]) -> tuple[TestResult, ...]:
    """The failures, those first that reach the fewest functions and then those with the least to read."""
    code = _Code(sources)
    return tuple(
        sorted(
            report.failures,
            key=lambda test: (len(code.reach(test)) or _MAX_REACH, len(test.details), test.id),
        )
    )


_Key = tuple[str, str, int]


def _key(path: str, symbol: Symbol) -> _Key:
    return (path, symbol.qualname, symbol.start_byte)


class _Spectrum:
    """Which tests can reach which functions, and how the tests ended."""

    def __init__(self, code: _Code, report: TestReport) -> None:
        self._reach: dict[str, frozenset[_Key]] = {}
        self._failed: dict[_Key, float] = {}
        self._passed: dict[_Key, float] = {}
        passed = [test for test in report.tests if test.outcome == "passed"][:_MAX_PASSED]
        for tests, sums in ((report.failures, self._failed), (passed, self._passed)):
            for test in tests:
                self._reach[test.id] = frozenset(code.reach(test))
                for key in self._reach[test.id]:
                    sums[key] = sums.get(key, 0.0) + self.weight(test)
        self._all_failed = sum(map(self.weight, report.failures))

    def weight(self, test: TestResult) -> float:
        return 1 / max(1, len(self._reach[test.id]))

    def ochiai(self, key: _Key) -> float:
        """0..1; 1 for a function that no test is seen to reach, as nothing speaks for it."""
        failed, passed = self._failed.get(key, 0.0), self._passed.get(key, 0.0)
        if not failed:
            return _CLEARED if passed else 1.0
        return failed / math.sqrt(self._all_failed * (failed + passed))


class _Code:
    """The sources with what has been found in them; lives for one question."""

    def __init__(self, sources: Mapping[str, bytes]) -> None:
        self.sources = {path: text for path, text in sources.items() if syntax.language_of(path) == "python"}
        self.modules: dict[str, str] = {}
        for path in self.sources:
            parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
            # any tail of the path may be how it is imported; shorter paths win over longer ones
            for start in range(len(parts)):
                name = ".".join(parts[start:])
                if name not in self.modules or len(path) < len(self.modules[name]):
                    self.modules[name] = path
        self._symbols: dict[str, list[Symbol]] = {}
        self._callees: dict[_Key, list[tuple[str, Symbol]]] = {}
        self._bindings: dict[str, dict[str, list[tuple[str, str]]]] = {}

    def reach(self, test: TestResult) -> set[_Key]:
        """The functions outside of the tests that the test may call, directly or through others."""
        found: set[_Key] = set()
        ahead = self._test_functions(test)
        seen = {_key(*pair) for pair in ahead}
        while ahead and len(seen) < _MAX_REACH:
            for where, callee in self.callees(*ahead.pop()):
                key = _key(where, callee)
                if key not in seen:
                    seen.add(key)
                    ahead.append((where, callee))
                    if not is_test_path(where):
                        found.add(key)
        return found

    def _test_functions(self, test: TestResult) -> list[tuple[str, Symbol]]:
        frame = self._test_frame(test.id)
        frames = [frame] if frame else [f for f in test.frames if f.in_workspace and is_test_path(f.path)]
        return [
            (f.path, symbol)
            for f in frames
            if f.path in self.sources and (symbol := syntax.function_at(self.sources[f.path], f.line))
        ]

    def callees(self, path: str, symbol: Symbol) -> list[tuple[str, Symbol]]:
        """What a function may call."""
        key = _key(path, symbol)
        if key not in self._callees:
            calls = syntax.calls(self.sources[path], symbol.body_byte, symbol.end_byte)
            names = dict.fromkeys(call.path for call in calls)
            self._callees[key] = [pair for name in names for pair in self.resolve(path, name)]
        return self._callees[key]

    def evidence(self, test: TestResult) -> Iterator[_Evidence]:
        frames = [f for f in test.frames if f.in_workspace and f.path in self.sources]
        own = [f for f in frames if not is_test_path(f.path)]
        yield from self._from_frames(own)
        tests = [f for f in frames if is_test_path(f.path)]
        if not tests and (found := self._test_frame(test.id)):
            tests = [found]
        # with frames of its own the failure already says where; what the test calls is then only a hint
        weight = 0.4 if own else 1.0
        for frame in tests[-3:]:
            yield from self._from_test(frame, weight)
        yield from self._mentioned(test)

    def _from_frames(self, frames: list[Frame]) -> Iterator[_Evidence]:
        score = _DEEPEST
        for frame in reversed(frames):
            symbol = syntax.function_at(self.sources[frame.path], frame.line)
            if symbol is None:
                continue
            where = "raised here" if score == _DEEPEST else "in the traceback"
            yield _Evidence(frame.path, symbol, score, f"{where}, line {frame.line}")
            yield from self._down(frame.path, symbol, score)
            score *= _NEXT_FRAME

    def _test_frame(self, test_id: str) -> Frame | None:
        """The test itself, when the report has no frame of it (a fixture's error, a test that was killed)."""
        path, _, rest = test_id.partition("::")
        name = rest.split("[")[0].replace("::", ".")
        for symbol in self.symbols(path):
            if symbol.qualname == name:
                return Frame(path, symbol.end_line, name, in_workspace=True)
        return None

    def _from_test(self, frame: Frame, weight: float) -> Iterator[_Evidence]:
        source = self.sources[frame.path]
        test = syntax.function_at(source, frame.line)
        if test is None:
            return
        statement = syntax.statement_at(source, frame.line, test)
        asserted = syntax.calls(source, statement.start_byte, statement.end_byte) if statement else []
        compared = frozenset(
            syntax.identifiers(source, statement.start_byte, statement.end_byte) if statement else ()
        )
        made = [
            call
            for origin in syntax.assigning(source, compared, test)
            if origin.start_line <= frame.line
            for call in syntax.calls(source, origin.start_byte, origin.end_byte)
        ]
        rest = [c for c in syntax.calls(source, test.body_byte, test.end_byte) if c.line <= frame.line]
        fixtures = [Call(name, test.start_line, test.def_byte) for name in self._parameters(source, test)]
        for found, score, reason in (
            (asserted, _ASSERTED, "called where the test fails"),
            (made, _MADE, "makes a value that the test compares"),
            (rest, _CALLED, "called by the test"),
            (fixtures, _CALLED, "called by a fixture of the test"),
        ):
            for call in found:
                yield from self._called(frame.path, call.path, score * weight, reason, hops=2)

    def _parameters(self, source: bytes, test: Symbol) -> set[str]:
        return syntax.identifiers(source, test.def_byte, test.body_byte) - {test.name, "self"}

    def _called(self, path: str, called: str, score: float, reason: str, hops: int) -> Iterator[_Evidence]:
        """What a call in `path` may reach; helpers of the tests are looked through."""
        for where, symbol in self.resolve(path, called):
            if not is_test_path(where):
                # making a value is what tests do first, and seldom what they test
                own = score * _CONSTRUCTOR if symbol.name in _CONSTRUCTORS else score
                yield _Evidence(where, symbol, own, reason)
                yield from self._down(where, symbol, own)
            elif hops:
                for call in syntax.calls(self.sources[where], symbol.body_byte, symbol.end_byte):
                    yield from self._called(where, call.path, score * 0.9, reason, hops - 1)

    def _down(self, path: str, symbol: Symbol, score: float) -> Iterator[_Evidence]:
        reason = f"called by {symbol.qualname}"
        for call in syntax.calls(self.sources[path], symbol.body_byte, symbol.end_byte):
            for where, callee in self.resolve(path, call.path):
                if (where, callee) != (path, symbol) and not is_test_path(where):
                    yield _Evidence(where, callee, score * _DOWN, reason)

    def _mentioned(self, test: TestResult) -> Iterator[_Evidence]:
        words = set(re.findall(r"[A-Za-z_]\w{2,}", f"{test.message} {test.id.rpartition('::')[2]}"))
        words |= {word.removeprefix("test_") for word in words}
        for path in self.sources:
            if not is_test_path(path):
                for symbol in self.symbols(path):
                    if symbol.kind != "class" and symbol.name in words:
                        yield _Evidence(path, symbol, _MENTIONED, "named by the failure")

    def resolve(self, path: str, called: str) -> list[tuple[str, Symbol]]:
        """The functions that a call written as `called` in `path` may mean."""
        head, _, rest = called.partition(".")
        found: list[tuple[str, Symbol]] = []
        if head not in ("self", "cls", "super", "?"):
            found = self._named(path, called, _HOPS)
        if not found and rest:
            # the type of what is before the last dot is not known: any method of that name
            found = self._methods(path, called.rpartition(".")[2])
        return found[:_MAX_CANDIDATES]

    def _named(self, path: str, dotted: str, hops: int) -> list[tuple[str, Symbol]]:
        """A dotted name as seen from a module: defined there, or imported into it."""
        here = [s for s in self.symbols(path) if s.qualname == dotted]
        if here:
            return [pair for symbol in here for pair in self._callable(path, symbol)]
        found: list[tuple[str, Symbol]] = []
        if hops:
            head, _, rest = dotted.partition(".")
            bindings = self.bindings(path)
            for module, name in bindings.get(head, []) + [(m, head) for m, _ in bindings.get("*", [])]:
                # what is imported is a thing in a module, or a module itself
                names = [(f"{module}.{name}".strip("."), rest), (module, f"{name}.{rest}".strip("."))]
                for candidate, inner in names if name else [(module, rest)]:
                    while candidate not in self.modules and "." in inner:
                        step, _, inner = inner.partition(".")
                        candidate = f"{candidate}.{step}"
                    target = self.modules.get(candidate)
                    if target and inner and target != path:
                        found += self._named(target, inner, hops - 1)
        return found

    def _callable(self, path: str, symbol: Symbol) -> list[tuple[str, Symbol]]:
        """A function itself; of a class its constructor, and else all of its methods."""
        if symbol.kind != "class":
            return [(path, symbol)]
        prefix = symbol.qualname + "."
        methods = [s for s in self.symbols(path) if s.kind == "method" and s.qualname.startswith(prefix)]
        return [(path, s) for s in methods if s.name in _CONSTRUCTORS] or [(path, s) for s in methods]

    def _methods(self, path: str, name: str) -> list[tuple[str, Symbol]]:
        found = [
            (where, symbol)
            for where in self.sources
            for symbol in self.symbols(where)
            if symbol.kind == "method" and symbol.name == name
        ]
        near = [pair for pair in found if pair[0] == path]
        return near or found

    def symbols(self, path: str) -> list[Symbol]:
        if path not in self._symbols:
            self._symbols[path] = syntax.symbols(self.sources[path]) if path in self.sources else []
        return self._symbols[path]

    def bindings(self, path: str) -> dict[str, list[tuple[str, str]]]:
        """Bound name -> the (module, name) pairs it may stand for; name is empty for a module."""
        if path not in self._bindings:
            found: dict[str, list[tuple[str, str]]] = {}
            for item in syntax.imports(self.sources[path]):
                module = self._absolute(path, item.module)
                if item.name:
                    found.setdefault(item.bound, []).append((module, "" if item.name == "*" else item.name))
                elif item.bound == item.module:
                    head = item.module.partition(".")[0]
                    found.setdefault(head, []).append((head, ""))
                else:
                    found.setdefault(item.bound, []).append((module, ""))
            self._bindings[path] = found
        return self._bindings[path]

    def _absolute(self, path: str, module: str) -> str:
        dots = len(module) - len(module.lstrip("."))
        if not dots:
            return module
        package = path.split("/")[:-dots]
        return ".".join([*package, module[dots:]]).strip(".")
