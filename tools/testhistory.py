"""What earlier runs of a conversation said of each test, so that a run can be told as what changed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from tools.testreport import Outcome, TestReport

_NAMED = 5


class Change(msgspec.Struct, frozen=True):
    """A run against what was known before it; ids of tests."""

    broken: tuple[str, ...] = ()
    """Fail, and passed when they ran last."""
    mended: tuple[str, ...] = ()
    """Failed when they ran last, and pass."""
    still: tuple[str, ...] = ()
    """Fail, and failed when they ran last."""
    fresh: tuple[str, ...] = ()
    """Fail, and were not seen before."""

    @property
    def text(self) -> str:
        """One line for the model; empty when nothing is known from before."""
        parts = [
            _counted(self.broken, "fail now that passed"),
            _counted(self.fresh, "fail that were not seen before"),
            _counted(self.mended, "pass now that failed"),
            f"{len(self.still)} fail as before" if self.still else "",
        ]
        return "; ".join(filter(None, parts))


class TestHistory:
    """Outcomes by test, of the last run in which each was seen."""

    __test__: ClassVar[bool] = False

    def __init__(self, before: TestReport | None = None) -> None:
        self._known: dict[str, Outcome] = {}
        self._runs: dict[object, frozenset[str]] = {}
        if before is not None:
            self.add(before)

    @property
    def empty(self) -> bool:
        return not self._runs

    def compare(self, report: TestReport, what: object = None) -> Change:
        """`what` names what was run: a failure that the same run no longer has is mended, for texts often
        name failed tests alone."""
        bad = {test.id for test in report.failures}
        was_bad = {name for name, outcome in self._known.items() if outcome in ("failed", "error")}
        passed = {test.id for test in report.tests if test.outcome == "passed"}
        if report.counts.get("passed"):
            passed |= self._runs.get(what, frozenset()) - {test.id for test in report.tests}
        known_to_pass = {name for name in bad if self._known.get(name) == "passed"}
        return Change(
            tuple(sorted(known_to_pass)),
            tuple(sorted(passed & was_bad)),
            tuple(sorted(bad & was_bad)),
            tuple(sorted(bad - was_bad - known_to_pass)),
        )

    def add(self, report: TestReport, what: object = None) -> None:
        for name in self._runs.get(what, frozenset()):
            self._known[name] = "passed"
        self._known |= {test.id: "passed" if test.flaky else test.outcome for test in report.tests}
        self._runs[what] = frozenset(test.id for test in report.failures if not test.flaky)


def _counted(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} {what} ({', '.join(names[:_NAMED])}{more})"
