"""Lines that stand for code that was left out, where the code itself is meant. Pure."""

from __future__ import annotations

import re

_OPEN, _CLOSE = r"(?:#|//|--|/\*+|<!--|;+|%|\*)", r"(?:\*/|-->)?"
_DOTS = r"(?:\.{3,}|…)"
_LEFT = (
    r"(?:rest|remainder|remaining|existing|previous|other|unchanged|omitted|same|snip|your|more"
    r"|implementation)"
)
_WHAT = r"(?:codes?|functions?|methods?|class(?:es)?|file|lines?|logic|content|imports?|implementation|body)"

_PLACEHOLDER = re.compile(
    rf"\s*(?:{_OPEN}\s*{_DOTS}.*\b{_LEFT}\b.*"  # "# ... existing code ..."
    rf"|{_OPEN}\s*.*\b{_LEFT}\b.*{_DOTS}\s*{_CLOSE}"  # "# rest of the code..."
    rf"|[\[({{<]?{_OPEN}?\s*{_DOTS}?\s*(?:the\s+)?(?:rest|remainder)\s+(?:of\s+(?:the\s+)?(?:\w+\s+)?"
    rf"{_WHAT}\s+)?(?:(?:is|remains?|stays?|are)\s+)?(?:the\s+)?(?:unchanged|same|omitted)\b.*"
    rf"|{_OPEN}?\s*{_DOTS}\s*(?:\w+\s+)?{_LEFT}\s+(?:\w+\s+)?{_WHAT}\b.*"
    rf"|{_OPEN}\s*(?:no changes|unchanged)(?:\s+(?:here|below|above))?\s*{_CLOSE})\s*",
    re.IGNORECASE,
)
_ELISION = re.compile(rf"\s*(?:{_OPEN}\s*)?{_DOTS}\s*{_CLOSE}\s*")


def placeholder(fresh: str, before: str) -> str:
    """The first line of a new text that stands for code left out; one that the file holds already is code."""
    known: set[str] | None = None
    for line in fresh.split("\n"):
        if len(line) < 200 and _PLACEHOLDER.fullmatch(line):
            known = known if known is not None else {row.strip() for row in before.split("\n")}
            if line.strip() not in known:
                return line.strip()
    return ""


def elides(line: str) -> bool:
    """Whether a line of a search says that lines are left out there: `...`, `# ... existing code ...`."""
    return len(line) < 200 and bool(_ELISION.fullmatch(line) or _PLACEHOLDER.fullmatch(line))
