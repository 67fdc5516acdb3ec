"""How much the lines that failing tests ran say against each function. Pure.

The measure is Ochiai's coefficient of a line, failed / sqrt(all failed * (failed + passed)), where `failed`
and `passed` count the tests that ran it (Abreu, Zoeteweij, van Gemund: An Evaluation of Similarity
Coefficients for Software Fault Localization, PRDC 2006). A function is as suspicious as its most suspicious
line: one branch that only failing tests take is enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tools import syntax
from tools.syntax import Symbol
from tools.testreport import TestReport, is_test_path


def suspicion(
    report: TestReport, sources: Mapping[str, bytes]
) -> dict[tuple[str, int], tuple[Symbol, float]]:
    """(path, first byte) of each function outside of the tests that a failing test ran -> (it, 0..1).

    Empty when nothing was measured. A line counts for the innermost function that it is in; the line of the
    `def` itself, which an import runs, for none.
    """
    whole = len(report.failures)
    found: dict[tuple[str, int], tuple[Symbol, float]] = {}
    for path, lines in report.lines.items():
        if path not in sources or is_test_path(path):
            continue
        bodies = _innermost(sources[path])
        for line, (failed, passed) in lines.items():
            if (symbol := bodies.get(line)) is None or not failed:
                continue
            # more failed tests than the report names would make the share larger than one
            share = failed / math.sqrt(max(whole, failed) * (failed + passed))
            key = (path, symbol.start_byte)
            if key not in found or found[key][1] < share:
                found[key] = (symbol, share)
    return found


def _innermost(source: bytes) -> dict[int, Symbol]:
    """Line -> the innermost function whose body it is in."""
    found: dict[int, Symbol] = {}
    for symbol in syntax.functions(source):
        body = source.count(b"\n", 0, symbol.body_byte) + 1
        # inner functions come later in the text and take their lines from the outer one
        found.update(dict.fromkeys(range(body, symbol.end_line + 1), symbol))
    return found
