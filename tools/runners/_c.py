"""What compilers and asserts of C and C++ print. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tools.runners._runner import Ran
from tools.testreport import Frame

_ERROR = re.compile(r"^([^\s:][^:\n]*\.\w+):(\d+):(?:\d+:)? (?:fatal )?error: (.+)$", re.MULTILINE)
_PLACE = re.compile(
    r"^(?:[^\s:]+: )?([^\s:]+\.(?:c|cc|cpp|cxx|h|hh|hpp)):(\d+): "
    r"(?:(?P<function>[^\n:]*(?:::[^\n:]*)*): Assertion [`'](?P<assertion>.+?)['`] failed"
    r"|(?P<message>[^\n]*))",
    re.MULTILINE,
)


def compile_errors(text: str) -> Iterator[tuple[str, int, str]]:
    """(path, line, message) of each error of gcc or clang."""
    for match in _ERROR.finditer(text):
        yield match[1], int(match[2]), match[3]


def assertion(text: str, ran: Ran) -> tuple[str, str, tuple[Frame, ...]]:
    """(kind, message, frames) of the first `assert` or `file:line: message` in what a test printed."""
    found = _PLACE.search(text)
    if not found:
        return "", "", ()
    frames = (
        ran.frame(found[1], int(found[2]), re.sub(r"\(.*", "", found["function"] or "").split(" ")[-1]),
    )
    if found["assertion"]:
        return "AssertionError", found["assertion"], frames
    rest = text[found.end() :].partition("\n\n")[0]
    message = found["message"].strip()
    return ("Failure", rest.strip(), frames) if message == "Failure" else ("", message, frames)
