"""Tracebacks of Python, as several runners print them. Pure."""

from __future__ import annotations

import re

from tools.runners._runner import Ran
from tools.testreport import Frame

_FRAME = re.compile(r'^[ \t]*File "([^"\n]+)", line (\d+)(?:, in (.+))?$', re.MULTILINE)
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$", re.DOTALL)
_VALUE = re.compile(r"^    (\w+) = (.+)$", re.MULTILINE)
_MAX_VALUES, _MAX_VALUE = 12, 120


def traceback(text: str, ran: Ran) -> tuple[str, str, tuple[Frame, ...]] | None:
    """(exception type, message, frames) of the last Python traceback in the text, with what it was caused by.

    The frames of chained tracebacks are joined in the order in which they are printed, the cause's first.
    Values are what `unittest --locals` prints below a frame.
    """
    starts = [m.end() for m in re.finditer(r"^Traceback \(most recent call last\):$", text, re.MULTILINE)]
    matches = list(_FRAME.finditer(text))
    if not matches or not (starts or "SyntaxError" in text or "IndentationError" in text):
        return None
    ends = [match.start() for match in matches[1:]] + [len(text)]
    levels = [
        (m, _values(text[m.end() : end]))
        for m, end in zip(matches, ends, strict=True)
        if not re.search(r"/(_pytest|pluggy)/|/unittest/(case|loader|mock)\.py", m[1])
    ] or [(m, ()) for m in matches]
    frames = tuple(ran.frame(m[1], int(m[2]), m[3] or "", values) for m, values in levels)
    rest = text[matches[-1].end() :].splitlines()
    after = [line for line in rest if line and not line.startswith(" ")]
    raised = _RAISED.match("\n".join(after[:20]).split("\n\n")[0]) if after else None
    return (raised[1], raised[2] or "", frames) if raised else ("", "", frames)


def _values(text: str) -> tuple[tuple[str, str], ...]:
    found = _VALUE.findall(text)[:_MAX_VALUES]
    return tuple(
        (name, value if len(value) <= _MAX_VALUE else value[:_MAX_VALUE] + "...") for name, value in found
    )
