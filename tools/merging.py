"""A new text for lines that were found loosely: what does not change stays the file's own. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import pairwise

_CLOSELY = 1_000_000
"""Pairs of lines up to which those that stay are looked for."""


def merged(old: Sequence[str], new: Sequence[str], fresh: Sequence[str], found: str, end: str) -> str:
    r"""The text for a region whose lines are, one for one, those of `old`.

    Lines of `new` that are also in `old` are written as the file has them (`found`: space at line ends, line
    ends, quotes, indentation); others as in `fresh`, which is `new` as it shall be indented, with the line
    end of what they replace, or `end`. Lines are without "\n"; the last has no line end in the region.
    """
    *lines, last = found.split("\n")
    own = [*(_split(line) for line in lines), (last, "")]
    if len(old) > 1 and len(new) > 1 and not old[-1] and not new[-1]:
        # nothing but whole lines
        text = _joined(old[:-1], new[:-1], fresh[:-1], own[:-1], end)
        return "".join(row + ended for row, ended in text)
    rows = _joined(old, new, fresh, own, end)
    return "".join(row + ended for row, ended in rows[:-1]) + rows[-1][0]


def _joined(
    old: Sequence[str], new: Sequence[str], fresh: Sequence[str], own: Sequence[tuple[str, str]], end: str
) -> list[tuple[str, str]]:
    """The rows of the result, each with its line end."""
    # the nothing behind a last line end is no blank line
    before = [*old[:-1], old[-1] or "\n"]
    rows: list[tuple[str, str]] = []
    for same, i, i_end, j, j_end in changes_of(before, new):
        if same:
            rows += own[i:i_end]
            continue
        ends = [own[k][1] for k in range(i, i_end)]
        rows += [(fresh[k], ends[k - j] if k - j < len(ends) else end) for k in range(j, j_end)]
    return [(row, ended or end) for row, ended in rows]


def changes_of(old: Sequence[str], new: Sequence[str]) -> list[tuple[bool, int, int, int, int]]:
    """(same, start and end in `old`, start and end in `new`) of runs; long texts are compared loosely."""
    most = min(len(old), len(new))
    head = next((k for k in range(most) if old[k] != new[k]), most)
    tail = next((k for k in range(most - head) if old[-1 - k] != new[-1 - k]), most - head)
    end, new_end = len(old) - tail, len(new) - tail
    middle = [("replace", 0, end - head, 0, new_end - head)]
    if (end - head) * (new_end - head) <= _CLOSELY:
        matcher = difflib.SequenceMatcher(None, old[head:end], new[head:new_end], autojunk=False)
        middle = list(matcher.get_opcodes())
    runs = [(True, 0, head, 0, head)]
    runs += [(tag == "equal", head + i, head + k, head + j, head + m) for tag, i, k, j, m in middle]
    return [*runs, (True, end, len(old), new_end, len(new))]


def _split(line: str) -> tuple[str, str]:
    return (line[:-1], "\r\n") if line.endswith("\r") else (line, "\n")


def indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


class Indents:
    """How the indentation of a search became that of the file, and what others become by the same rule."""

    def __init__(self, old: Sequence[str], found: Sequence[str], new: Sequence[str]) -> None:
        self.pairs: dict[str, str] = {}
        self.fits = True
        """Whether equal indentations became equal ones and deeper ones deeper: the blocks are the same."""
        for a, b in zip(old, found, strict=True):
            if a.strip() and self.pairs.setdefault(indent_of(a), indent_of(b)) != indent_of(b):
                self.fits = False
        self._order = sorted(self.pairs, key=_width)
        for a, b in pairwise(self._order):
            step = _width(self.pairs[b]) - _width(self.pairs[a])
            self.fits &= step > 0 if _width(b) > _width(a) else step == 0
        if self.fits and self._order:
            self._old, self._new = self._steps([*old, *new])

    def _steps(self, rows: Sequence[str]) -> tuple[str, str]:
        """One level of indentation of the search and what it is in the file."""
        for a, b in pairwise(self._order):
            if b.startswith(a) and self.pairs[b].startswith(self.pairs[a]):
                return b[len(a) :], self.pairs[b][len(self.pairs[a]) :]
        tabs_before, tabs_now = "\t" in "".join(self._order), "\t" in "".join(self.pairs.values())
        depths = sorted({len(indent_of(row)) for row in rows if row.strip()} | {0})
        smallest = min((b - a for a, b in pairwise(depths)), default=4)
        if tabs_now and not tabs_before:
            return " " * smallest, "\t"
        return ("\t", "    ") if tabs_before and not tabs_now else (" ", " ")

    def moved(self, row: str) -> str:
        """A line of the new text as it is to be indented in the file; empty when it is blank."""
        if not row.strip():
            return ""
        own, text = indent_of(row), row.lstrip(" \t")
        if own in self.pairs:
            return self.pairs[own] + text
        base = max((known for known in self.pairs if own.startswith(known)), key=len, default=None)
        if base is not None:
            return self.pairs[base] + self._translated(own[len(base) :]) + text
        first = self._order[0]
        levels = (len(first) - len(own)) // len(self._old)
        shorter = self.pairs[first]
        return shorter[: max(len(shorter) - levels * len(self._new), 0)] + text

    def _translated(self, indent: str) -> str:
        if indent.strip(self._old[0]):
            return indent
        levels, rest = divmod(len(indent), len(self._old))
        return self._new * levels + " " * rest


def _width(indent: str) -> int:
    return len(indent.expandtabs(4))
