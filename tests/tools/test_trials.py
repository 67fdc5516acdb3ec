from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.localize import Suspect
from tools.syntax import functions
from tools.testreport import TestReport, TestResult
from tools.trials import Outcome, Trial, reranked, trials

SOURCE = b"""\
def one(a):
    if a < 1:
        return 2
    return a - 3


def two(a):
    return a + 1


def three(a):
    return a
"""
SOURCES = {"m.py": SOURCE}
FOUND = [
    Suspect("m.py", symbol.qualname, symbol, score, "called")
    for symbol, score in zip(functions(SOURCE), (0.6, 0.5, 0.1), strict=True)
]


def report(lines: dict[int, tuple[int, int]]) -> TestReport:
    test = TestResult("test_m.py::test", "failed")
    return TestReport((test,), {}, False, "pytest", 1, {"m.py": lines} if lines else {})


def test_all_suspects_have_their_turns_and_the_most_suspicious_line_comes_first() -> None:
    asked = trials(report({2: (1, 8), 4: (1, 0), 8: (1, 3)}), SOURCES, FOUND)
    turns = [trial.suspect.qualname for trial in asked[:7]]
    assert turns == ["one", "two", "one", "two", "one", "one", "two"]
    assert next(trial.repair.line for trial in asked if trial.suspect.qualname == "one") == 4
    assert {trial.repair.line for trial in asked} == {2, 4, 8}, "only lines that failing tests ran"


def test_without_lines_all_of_a_function_is_tried() -> None:
    asked = trials(report({}), SOURCES, FOUND, most=1000)
    assert {trial.repair.line for trial in asked} == {2, 3, 4, 8, 12}
    assert trials(report({}), SOURCES, FOUND, most=3) == asked[:3]


def trial(number: int) -> Trial:
    return next(t for t in trials(report({}), SOURCES, FOUND) if t.suspect is FOUND[number])


@pytest.mark.parametrize(
    "less, more",
    [
        (Outcome(0, 2), Outcome(1, 2)),
        (Outcome(1, 2), Outcome(2, 2, kept=1, broken=3)),
        (Outcome(2, 2, kept=9, broken=3), Outcome(2, 2, kept=90, broken=3)),
        (Outcome(2, 2, kept=90, broken=1), Outcome(2, 2, kept=3)),
    ],
)
def test_what_mends_more_and_breaks_less_says_more(less: Outcome, more: Outcome) -> None:
    assert 0 <= less.says < more.says <= 1


def test_what_mends_comes_first_and_of_two_that_do_the_likelier_one() -> None:
    whole = Outcome(3, 3, kept=50)
    assert reranked(FOUND, [(trial(2), whole), (trial(1), Outcome(0, 3))])[0].qualname == "three"
    both = reranked(FOUND, [(trial(2), whole), (trial(1), whole)])
    assert [suspect.qualname for suspect in both] == ["two", "three", "one"]
    assert both[0].reason == "a small change here makes the failing tests pass"


OUTCOMES = st.builds(Outcome, st.integers(0, 3), st.just(3), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(st.tuples(st.integers(0, 2), OUTCOMES)))
def test_ranking_again_loses_no_suspect(went: list[tuple[int, Outcome]]) -> None:
    order = reranked(FOUND, [(trial(number), outcome) for number, outcome in went])
    assert sorted(s.qualname for s in order) == ["one", "three", "two"]
    assert all(0 <= s.score <= 1 for s in order)
    if not any(outcome.says for _, outcome in went):
        assert order == FOUND
