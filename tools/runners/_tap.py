"""The Test Anything Protocol, version 12 to 14, with blocks of YAML and subtests. Pure."""

from __future__ import annotations

import re
import textwrap

from tools.runners._javascript import stack
from tools.runners._runner import Ran, tail
from tools.testreport import Outcome, TestResult

_TEST = re.compile(
    r"^( *)(not )?ok\b(?: (\d+))?(?: -)? ?([^#\n]*)(?:# ?(SKIP|TODO)\b[^\n]*)?$"
    r"((?:\n\1 +(?!(?:not )?ok\b)[^\n]*|\n\1? *$)*)",
    re.MULTILINE | re.IGNORECASE,
)
_FIELD = re.compile(r"^(\w+): *(?:[|>]-?\n((?:(?: +.*)?(?:\n|\Z))*)|'?(.*?)'?$)", re.MULTILINE)
_BARE_LEVEL = re.compile(r"^(?!at )(?=\S.*:\d+:\d+\)?$)", re.MULTILINE)


def results(ran: Ran) -> list[TestResult]:
    """All tests in order, without those that only sum up the subtests above them."""
    found: list[TestResult] = []
    depth = 0
    for match in _TEST.finditer(ran.output):
        before, depth = depth, len(match[1])
        if before <= depth:
            found.append(_result(match, ran))
    return found


def _result(match: re.Match[str], ran: Ran) -> TestResult:
    name, text = match[4].strip() or f"test {match[3]}", textwrap.dedent(match[6].strip("\n"))
    outcome: Outcome = "skipped" if match[5] else "failed" if match[2] else "passed"
    if outcome != "failed":
        return TestResult(name, outcome)
    fields = {
        field[1]: textwrap.dedent(field[2] or field[3] or "").strip() for field in _FIELD.finditer(text)
    }
    levels = textwrap.indent(_BARE_LEVEL.sub("at ", fields.get("stack", "")), "    ")
    kind, said, frames = stack(levels or text, ran)
    message = fields.get("error") or fields.get("message") or said
    if "expected" in fields and "actual" in fields and not fields.get("error"):
        message = f"expected {fields['expected']}, got {fields['actual']}"
    return TestResult(name, outcome, fields.get("name", kind), message[:1000], frames, details=tail(text))
