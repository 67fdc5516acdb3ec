"""Which functions a failure points at. Pure: works on source texts and a test report, runs nothing.

What each failing test says (tools/evidence.py), with a little for a function whose name the test has (naming
and the calls of an assertion link tests with what they test: White, Krinke, Tan: Establishing Multilevel
Test-to-Code Traceability Links, ICSE 2020), is averaged over the failing tests.

That is weighted by Ochiai's coefficient, failed / sqrt(all failed * (failed + passed)), over the tests that
can reach the function (Abreu, Zoeteweij, van Gemund: An Evaluation of Similarity Coefficients for Software
Fault Localization, PRDC 2006). Reach is read off the calls. A test counts by one over the number of functions
that it reaches: the fewer, the more it says (as in Zhang, Li, Zhang, Khurshid: Boosting Spectrum-Based Fault
Localization using PageRank, ISSTA 2017, in its simplest form).

Where lines were measured (`TestReport.lines`), the coefficient is taken over the lines that tests really ran,
see tools/spectrum.py, and the evidence decides among the functions that it leaves alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tools.callgraph import Key, key_of
from tools.evidence import MAX_REACH, Evidence, Reading
from tools.spectrum import ochiai, suspicion
from tools.syntax import Symbol
from tools.testreport import TestReport, TestResult

_MAX_PASSED = 300
_CLEARED = 0.3
"""For a function that only passing tests are seen to reach."""
_LIKE = 0.1
"""For a name that is the test's."""
_UNTOLD = 0.5
"""What a function keeps that was run by failing tests and that no other evidence points at."""
_SHOWING = 0.3
"""For what a failing assertion calls to show its values."""
_CLEAR = 0.95
"""A lower score, as read, points nowhere clearly: an assertion tells what it called, not what that calls."""
_CLEAR_MEASURED = 0.6
_AHEAD = 0.8
"""A second suspect with this share of the first one's score is as likely."""
_AHEAD_MEASURED = 0.7
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


def suspects(report: TestReport, sources: Mapping[str, bytes], *, limit: int = 10) -> list[Suspect]:
    """The functions of `sources` (path in the workspace -> content) that failures point at, likeliest first.

    Functions of test files are never suspects. A module that fails outside of any function gives none.
    """
    code = Reading(sources)
    spectrum = _Spectrum(code, report)
    totals: dict[Key, tuple[float, Evidence]] = {}
    for test in report.failures:
        best: dict[Key, Evidence] = {}
        for item in code.evidence(test):
            key = key_of((item.path, item.symbol))
            if key not in best or best[key].score < item.score:
                best[key] = item
        for key, item in best.items():
            score, first = totals.get(key, (0.0, item))
            strongest = max(first, item, key=lambda e: e.score)
            told = item.score + _LIKE * code.likeness(test, item.symbol)
            totals[key] = (score + told * spectrum.weight(test), strongest)
    whole = sum(map(spectrum.weight, report.failures)) or 1.0
    if report.lines:
        scored = _measured(report, sources, {key: (s / whole, e) for key, (s, e) in totals.items()})
    else:
        scored = [(score / whole * spectrum.ochiai(key), e) for key, (score, e) in totals.items()]
    return [
        Suspect(e.path, e.symbol.qualname, e.symbol, min(1.0, round(score, 3)), e.reason)
        for score, e in sorted(scored, key=_order)[:limit]
    ]


def _order(scored: tuple[float, Evidence]) -> tuple[float, int]:
    """Of what is equally suspicious the longer function first: there is more in it to be wrong."""
    score, item = scored
    return (-round(score, 4), item.symbol.body_byte - item.symbol.end_byte)


def is_weak(report: TestReport, found: Sequence[Suspect]) -> bool:
    """Whether the failures leave it open which function is at fault, so that measuring or trials could tell.

    They do when not most of them point at the first suspect, or when the second one is close behind it.
    """
    if not report.failures or not found:
        return bool(report.failures)
    clear, ahead = (_CLEAR_MEASURED, _AHEAD_MEASURED) if report.lines else (_CLEAR, _AHEAD)
    return found[0].score < clear or (len(found) > 1 and found[1].score > ahead * found[0].score)


def _measured(
    report: TestReport, sources: Mapping[str, bytes], evidence: dict[Key, tuple[float, Evidence]]
) -> list[tuple[float, Evidence]]:
    """The functions that failing tests ran, by what was measured and what else points at them."""
    scored: list[tuple[float, Evidence]] = []
    for (path, _), (symbol, share) in suspicion(report, sources).items():
        hint = Evidence(path, symbol, 0.0, "run by failing tests more than by others")
        score, item = evidence.get(key_of((path, symbol)), (0.0, hint))
        share *= _SHOWING if symbol.name in ("__repr__", "__str__") and not score else 1.0
        scored.append((share * (_UNTOLD + (1 - _UNTOLD) * score), item))
    run = {key_of((item.path, item.symbol)) for _, item in scored}
    for score, item in evidence.values():
        if key_of((item.path, item.symbol)) not in run:
            scored.append((score * _NOT_RUN, item))
    return scored


def most_telling(report: TestReport, sources: Mapping[str, bytes]) -> tuple[TestResult, ...]:
    """The failures, those first that reach the fewest functions and then those with the least to read."""
    code = Reading(sources)
    return tuple(
        sorted(
            report.failures,
            key=lambda test: (len(code.reach(test)) or MAX_REACH, len(test.details), test.id),
        )
    )


class _Spectrum:
    """Which tests can reach which functions, and how the tests ended."""

    def __init__(self, code: Reading, report: TestReport) -> None:
        self._reach: dict[str, frozenset[Key]] = {}
        self._failed: dict[Key, float] = {}
        self._passed: dict[Key, float] = {}
        passed = [test for test in report.tests if test.outcome == "passed"][:_MAX_PASSED]
        for tests, sums in ((report.failures, self._failed), (passed, self._passed)):
            for test in tests:
                self._reach[test.id] = frozenset(code.reach(test))
                for key in self._reach[test.id]:
                    sums[key] = sums.get(key, 0.0) + self.weight(test)
        self._all_failed = sum(map(self.weight, report.failures))

    def weight(self, test: TestResult) -> float:
        return 1 / max(1, len(self._reach[test.id]))

    def ochiai(self, key: Key) -> float:
        """0..1; 1 for a function that no test is seen to reach, as nothing speaks for it."""
        failed, passed = self._failed.get(key, 0.0), self._passed.get(key, 0.0)
        if not failed:
            return _CLEARED if passed else 1.0
        return ochiai(failed, passed, self._all_failed)
