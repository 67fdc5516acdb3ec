"""How much the lines that failing tests ran say against each function. Pure.

The measure is Ochiai's coefficient, failed / sqrt(all failed * (failed + passed)), where `failed` and
`passed` count the tests that ran a line (Abreu, Zoeteweij, van Gemund: An Evaluation of Similarity
Coefficients for Software Fault Localization, PRDC 2006). For a function it is the weighted geometric mean of
that of its most suspicious line, as one branch that only failing tests take is enough, and of its first line:
where a caller's branch leads to a callee that no other test enters, both have such a line, but the callee is
the better explanation. It is multiplied by the square of the share of failing tests that entered the
function, as one fault explains all failures more often than several do (weighting by that share: Sarhan,
Beszedes: Effective Spectrum Based Fault Localization Using Contextual Based Importance Weight, 2022).

Parts of a test that are told one by one (`subTest`, `subtests`) count as tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tools import syntax
from tools.syntax import Symbol
from tools.testreport import TestReport, is_test_path

_FIRST = 0.25
"""The weight of the first line; the rest is that of the most suspicious one."""


def suspicion(
    report: TestReport, sources: Mapping[str, bytes]
) -> dict[tuple[str, int], tuple[Symbol, float]]:
    """(path, first byte) of each function outside of the tests that a failing test ran -> (it, 0..1).

    Empty when nothing was measured. A line counts for the innermost function that it is in; the line of the
    `def` itself, which an import runs, for none.
    """
    found: dict[tuple[str, int], tuple[Symbol, float]] = {}
    whole = failed_runs(report)
    for path, lines in report.lines.items():
        if path not in sources or is_test_path(path):
            continue
        bodies = innermost(sources[path])
        seen: dict[int, tuple[Symbol, list[tuple[int, int]]]] = {}
        for line, counts in lines.items():
            if (symbol := bodies.get(line)) is not None and counts[0]:
                seen.setdefault(symbol.start_byte, (symbol, []))[1].append(counts)
        for start, (symbol, ran) in seen.items():
            found[path, start] = (symbol, _share(ran, whole))
    return found


def failed_runs(report: TestReport) -> int:
    """How many tests failed, parts of tests that were measured one by one counting as such; at least 1."""
    ran = (failed for lines in report.lines.values() for failed, _ in lines.values())
    return max(1, len(report.failures), *ran)


def _share(ran: list[tuple[int, int]], whole: int) -> float:
    """0..1 from the (failed, passed) tests that ran each line of a function."""
    # whoever enters a function runs its first line
    entered = max(ran, key=sum)
    worst = max(ochiai(failed, passed, whole) for failed, passed in ran)
    mean: float = worst ** (1 - _FIRST) * ochiai(*entered, whole) ** _FIRST
    return mean * (entered[0] / whole) ** 2


def ochiai(failed: float, passed: float, whole: float) -> float:
    """0..1 from the (failed, passed) tests that ran something, counted or weighted; `whole` failed in all."""
    return failed / math.sqrt(whole * (failed + passed))


def innermost(source: bytes) -> dict[int, Symbol]:
    """Line -> the innermost function whose body it is in."""
    found: dict[int, Symbol] = {}
    for symbol in syntax.functions(source):
        body = source.count(b"\n", 0, symbol.body_byte) + 1
        # inner functions come later in the text and take their lines from the outer one
        found.update(dict.fromkeys(range(body, symbol.end_line + 1), symbol))
    return found
