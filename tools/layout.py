"""How far a function reaches by its indentation alone (Python): for files that the grammar cannot read.

In a file with a syntax error the tree may end a function in its middle, and begin its body there.
"""

from __future__ import annotations

from typing import NamedTuple


class Body(NamedTuple):
    """Bytes of the source: from the first character of the body to behind its last."""

    start: int
    end: int


def body_below(source: bytes, def_byte: int) -> Body | None:
    """The lines below the line of `def_byte` that stand deeper than it; None when there are none.

    Empty lines and comments neither end a body nor belong to its end.
    """
    depth = _depth(source[source.rfind(b"\n", 0, def_byte) + 1 : def_byte])
    at = source.find(b"\n", def_byte) + 1 or len(source)
    start = end = 0
    for line in source[at:].splitlines(keepends=True):
        text = line.strip()
        if text and not text.startswith(b"#"):
            # the bracket that closes a signature stands as deep as its `def`
            if _depth(line) <= depth and text[:1] not in b")]}":
                break
            start = start or at + line.index(text)
            end = at + len(line.rstrip())
        at += len(line)
    return Body(start, end) if end else None


def _depth(line: bytes) -> int:
    """Columns of white space at the beginning."""
    return len(line.expandtabs(8)) - len(line.expandtabs(8).lstrip())
