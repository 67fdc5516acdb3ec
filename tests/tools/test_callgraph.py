from __future__ import annotations

import pytest

from tools.callgraph import CallGraph

SOURCES = {
    "app/base.py": b"""\
class Base:
    def __init__(self):
        self.setup()

    def setup(self):
        pass

    def run(self):
        return self.step()

    def step(self):
        return helper(1)


def helper(n):
    return n
""",
    "app/other.py": b"""\
from .base import Base, helper as h
import app.base


class Other:
    def step(self):
        def inner():
            return h(2)
        return list(map(inner, [])) + other()

    def setup(self):
        return self.step()


class Third:
    def step(self):
        pass


def other():
    return app.base.helper(Base())


def by_type(thing):
    return thing.run()
""",
}
HELPER = "app/base.py:helper"


def called_by(path: str, qualname: str) -> set[str]:
    graph = CallGraph(SOURCES)
    symbol = next(s for s in graph.symbols(path) if s.qualname == qualname)
    return {f"{where}:{callee.qualname}" for where, callee in graph.callees((path, symbol))}


@pytest.mark.parametrize(
    ("path", "caller", "callees"),
    [
        # self is the class itself, though others have a method of that name
        ("app/base.py", "Base.run", {"app/base.py:Base.step"}),
        ("app/other.py", "Other.setup", {"app/other.py:Other.step"}),
        ("app/base.py", "Base.step", {HELPER}),
        # inner functions and what they call, functions that are handed over and those that are called
        (
            "app/other.py",
            "Other.step",
            {f"app/other.py:{n}" for n in ("Other.step.inner", "other")} | {HELPER},
        ),
        ("app/other.py", "Other.step.inner", {HELPER}),
        ("app/other.py", "other", {HELPER, "app/base.py:Base.__init__"}),
        ("app/other.py", "by_type", {"app/base.py:Base.run"}),
    ],
)
def test_calls_are_resolved(path: str, caller: str, callees: set[str]) -> None:
    assert called_by(path, caller) == callees


def test_reach_finds_the_nearest_first_and_ends_at_its_limit() -> None:
    graph = CallGraph(SOURCES)
    start = [("app/other.py", s) for s in graph.symbols("app/other.py") if s.qualname == "Other.setup"]
    names = [symbol.qualname for _, symbol in graph.reach(start, 100).values()]
    assert names == ["Other.step", "helper", "other", "Other.step.inner", "Base.__init__", "Base.setup"]
    assert len(graph.reach(start, 2)) == 1


def test_the_innermost_function_holds_a_line() -> None:
    graph = CallGraph(SOURCES)
    at = [graph.function_at("app/other.py", line) for line in (5, 7, 8, 9)]
    assert [symbol and symbol.qualname for symbol in at] == [
        None,
        "Other.step.inner",
        "Other.step.inner",
        "Other.step",
    ]
    assert graph.function_at("gone.py", 1) is None
