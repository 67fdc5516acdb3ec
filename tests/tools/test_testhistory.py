"""What changed between runs, and what was flaky."""

from __future__ import annotations

from tools.testhistory import Change, TestHistory
from tools.testreport import TestReport, TestResult, make_report


def run(**outcomes: str) -> TestReport:
    tests = [TestResult(name, outcome) for name, outcome in outcomes.items()]  # type: ignore[arg-type]
    return make_report(tests, 1, "pytest")


def test_new_failures_are_told_from_old_ones() -> None:
    history = TestHistory(run(a="passed", b="failed", c="failed"))
    change = history.compare(run(a="failed", b="failed", c="passed", d="error"))
    assert change == Change(broken=("a",), mended=("c",), still=("b",), fresh=("d",))
    assert change.text == (
        "1 fail now that passed (a); 1 fail that were not seen before (d); "
        "1 pass now that failed (c); 1 fail as before"
    )


def test_a_part_that_ran_says_nothing_of_the_rest() -> None:
    history = TestHistory(run(a="failed", b="failed"))
    history.add(run(b="passed"), "b alone")
    assert history.compare(run(a="failed", b="failed")) == Change(broken=("b",), still=("a",))


def test_a_text_that_names_failures_alone_mends_what_it_no_longer_names() -> None:
    history = TestHistory()
    history.add(make_report([TestResult("a", "failed"), TestResult("b", "failed")], 1, "jest"), "npm test")
    now = make_report([TestResult("b", "failed")], 1, "jest", {"failed": 1, "passed": 4})
    assert history.compare(now, "npm test") == Change(mended=("a",), still=("b",))
    assert history.compare(now, "another run") == Change(still=("b",))
    broken = make_report([TestResult("build", "error")], 1, "jest")
    assert history.compare(broken, "npm test").mended == ()


def test_of_many_a_few_are_named() -> None:
    history = TestHistory()
    history.add(run(x="passed"))
    text = history.compare(run(**{f"t{n}": "failed" for n in range(9)})).text
    assert "t4" in text and "t5" not in text and "and 4 more" in text
