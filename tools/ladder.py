"""Where a text stands in a file, or one that is nearly it, and what is then written there. Pure.

Rungs, each tried only when those above find nothing: the exact text, whatever its line ends; the same but
for white space at them; but for typographic quotes and dashes; the same lines at another indentation, also
tabs for spaces; lines with the numbers that `read` shows, where they say; parts of it with `...` between;
lines at least nine tenths alike between a first and a last one that are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Literal

import msgspec

from tools.merging import Indents, changes_of, merged
from tools.placeholder import elides
from tools.textfile import line_at, line_end, plain

How = Literal["exact", "white space", "quotes", "indentation", "line numbers", "elision", "similarity"]

ALIKE = 90.0
"""Per cent of likeness from which lines between two equal ones count as meant."""
MOST = 10_000
"""Places that are looked for."""
_ALIKE_CHARS, _ALIKE_WINDOWS = 20_000, 200
_NUMBER = re.compile(r"^ *(\d+)\t", re.MULTILINE)
_TYPOGRAPHIC = str.maketrans("‘’‚‛“”„‟′″–—‐‑−\u00a0\u202f", "''''\"\"\"\"'\"-----  ")


class Place(msgspec.Struct, frozen=True):
    """A region of the text and what goes there, line ends included."""

    start: int
    end: int
    fresh: str


Fit = tuple[Place, ...]
"""One way to read a search: a single region, or several that belong together (elision), in order."""


def find(text: str, old: str, new: str) -> tuple[How, list[Fit]]:
    """The rung that finds `old`, and `MOST` ways or fewer in which it does. `old`, `new` with line feeds."""
    rungs: list[tuple[How, Callable[[], Iterator[Fit]]]] = [
        ("exact", lambda: _exact(text, old, new)),
        ("white space", lambda: _loose_ends(text, text, old, old, new)),
        ("quotes", lambda: _plain_quotes(text, old, new)),
        ("indentation", lambda: (_single(place) for place in whole_lines(text, old, new))),
        ("line numbers", lambda: _unnumbered(text, old, new)),
        ("elision", lambda: _elided(text, old, new)),
        ("similarity", lambda: _alike(text, old, new)),
    ]
    for how, rung in rungs:
        if fits := sorted(islice(rung(), MOST), key=lambda fit: fit[0].start):
            return how, fits
    return "exact", []


def _single(place: Place) -> Fit:
    return (place,)


def _exact(text: str, old: str, new: str) -> Iterator[Fit]:
    """Overlapping finds count: they are places that fit, too."""
    crlf = "\r\n" in text
    at = text.find(old)
    while at >= 0:
        end = at + len(old)
        yield _single(Place(at, end, new.replace("\n", line_end(text, at, end)) if crlf else new))
        at = text.find(old, at + 1)
    if crlf and "\n" in old:
        yield from (_single(_kept(text, start, end, old, new)) for start, end in _with_any_ends(text, old))


def _with_any_ends(text: str, old: str) -> Iterator[tuple[int, int]]:
    """Regions that are `old` with at least one line end of two characters."""
    head, *rows = old.split("\n")
    end = r"(?:\r\n|(?<!\r)\n)"
    rest = re.compile("".join(end + re.escape(row) for row in rows))
    at = text.find(head) if head else 0
    while at >= 0:
        found = rest.match(text, at + len(head)) if head else rest.search(text, at)
        if found and "\r" in found[0]:
            yield found.start() - len(head), found.end()
        at = text.find(head, at + 1) if head else found.start() + 1 if found else -1


def _kept(text: str, start: int, end: int, old: str, new: str) -> Place:
    rows, fresh = old.split("\n"), new.split("\n")
    return Place(start, end, merged(rows, fresh, fresh, text[start:end], line_end(text, start, end)))


def _loose_ends(text: str, seen: str, old: str, wanted: str, new: str) -> Iterator[Fit]:
    """Find `wanted` (`old`, spelt like `seen`) in `seen`, which is `text` character for character."""
    rows = wanted.split("\n")
    head = rows[0].rstrip()
    rest = r"[ \t]*\r?\n".join(re.escape(row.rstrip()) for row in ["", *rows[1:]])
    if rows[-1] != rows[-1].rstrip():
        rest += r"[ \t]*(?=\r?\n|\Z)"
    expression = re.compile(rest)
    at = 0 if head or len(rows) == 1 else -1
    while (at := seen.find(head, at) if head else _line_after(seen, at)) >= 0:
        if match := expression.match(seen, at + len(head)):
            yield _single(_kept(text, at, match.end(), old, new))
        at += 1 if head else 0


def _line_after(text: str, at: int) -> int:
    """Where the first line begins behind `at`, -1 for where the first of all does; -1 when there is none."""
    end = text.find("\n", at) if at >= 0 else -1
    return 0 if at < 0 else end + 1 if end >= 0 else -1


def _plain_quotes(text: str, old: str, new: str) -> Iterator[Fit]:
    seen, wanted = text.translate(_TYPOGRAPHIC), old.translate(_TYPOGRAPHIC)
    if (seen, wanted) != (text, old):
        yield from _loose_ends(text, seen, old, wanted, new)


def _unnumbered(text: str, old: str, new: str) -> Iterator[Fit]:
    """Lines copied together with their numbers; where the first number says and nowhere else."""
    numbers = [_NUMBER.match(line) for line in old.removesuffix("\n").split("\n")]
    if not all(numbers) or numbers[0] is None:
        return
    fresh = new.removesuffix("\n").split("\n")
    if all(_NUMBER.match(line) for line in fresh):
        new = _NUMBER.sub("", new)
    bare = _NUMBER.sub("", old)
    for fit in _loose_ends(text, text, bare, bare, new):
        if line_at(text, fit[0].start) == int(numbers[0][1]):
            yield fit


class _Lines:
    """The lines of a text and where each starts, for searches of whole lines."""

    def __init__(self, text: str, old: str, new: str) -> None:
        self.text = text
        if new:
            # whole lines: the last line end stays whether or not it was given
            old, new = old.removesuffix("\n"), new.removesuffix("\n") if old.endswith("\n") else new
        self._with_end = not new and old.endswith("\n")
        self.wanted = (old.removesuffix("\n") if self._with_end else old).split("\n")
        self.new = new.split("\n")
        self.lines = text.split("\n")
        self.shape = [line.strip() for line in self.wanted]
        self.shapes = [line.strip() for line in self.lines]
        self._joined = "\n".join(["", *self.shapes, ""])
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def starts(self) -> Iterator[int]:
        """Indices of lines that are the first of the wanted ones and have as many behind them."""
        for index in range(len(self.lines) - len(self.wanted) + 1):
            if self.shapes[index] == self.shape[0]:
                yield index

    def runs(self) -> Iterator[int]:
        """Indices from which all lines are those that are wanted, but for space around them."""
        wanted = "\n".join(["", *self.shape, ""])
        at, index, counted = self._joined.find(wanted), 0, 0
        while at >= 0:
            index, counted = index + self._joined.count("\n", counted, at), at
            yield index
            at = self._joined.find(wanted, at + 1)

    def place(self, index: int, indents: Indents) -> Place:
        last = index + len(self.wanted) - 1
        start, end = self._starts[index], self._starts[last + 1] - 1
        if self._with_end:
            return Place(start, min(end + 1, len(self.text)), "")
        end -= self.lines[last].endswith("\r")
        fresh = [indents.moved(row) for row in self.new]
        ended = line_end(self.text, start, end)
        return Place(start, end, merged(self.wanted, self.new, fresh, self.text[start:end], ended))


def whole_lines(text: str, old: str, new: str) -> Iterator[Place]:
    """Whole lines that are those of `old` but for their indentation, which shows the same blocks."""
    search = _Lines(text, old, new)
    count = len(search.wanted)
    for index in search.runs():
        indents = Indents(search.wanted, search.lines[index : index + count], search.new)
        if indents.fits and indents.pairs:
            yield search.place(index, indents)


def like_lines(text: str, old: str, new: str) -> list[Place]:
    """Places of whole lines: those that are the same, else those at another indentation, else those alike."""
    loose = list(whole_lines(text, old, new))
    wanted = old.removesuffix("\n")
    same = [p for p in loose if plain(text[p.start : p.end]).removesuffix("\n") == wanted]
    return same or loose or [place for fit in _alike(text, old, new) for place in fit]


def _elided(text: str, old: str, new: str) -> Iterator[Fit]:
    """Parts between lines of `...`, which both texts must have alike; what is left out stays as it is."""
    olds, news = parts(old), parts(new)
    if len(olds) < 2 or len(olds) != len(news):
        return
    options: list[list[Place]] = []
    for number, (part, fresh) in enumerate(zip(olds, news, strict=True)):
        if not part.strip():
            if fresh.strip() or 0 < number < len(olds) - 1:
                return
        elif fresh:
            options.append(list(whole_lines(text, part, fresh)))
        else:
            options.append(list(whole_lines(text, part + "\n", "")))
    if options:
        yield from chains(options)


def parts(text: str) -> list[str]:
    """What is between the lines that say that something is left out."""
    rows: list[list[str]] = [[]]
    for line in text.removesuffix("\n").split("\n"):
        if elides(line):
            rows.append([])
        else:
            rows[-1].append(line)
    return ["\n".join(part) for part in rows]


def chains(options: Sequence[Sequence[Place]]) -> list[Fit]:
    """Ways to take one place of each list, in order and apart: none, the only one, or two of several.

    Each place of any chain lies between that of the chain that takes the first places which still fit and
    that of the one that takes the last ones, so that there is one alone when these are the same.
    """
    first: list[Place] = []
    for places in options:
        behind = [place for place in places if not first or place.start >= first[-1].end]
        if not behind:
            return []
        first.append(min(behind, key=lambda place: place.end))
    last: list[Place] = []
    for places in reversed(options):
        before = [place for place in places if not last or place.end <= last[0].start]
        last.insert(0, max(before, key=lambda place: place.start))
    return [tuple(first)] if first == last else [tuple(first), tuple(last)]


def _alike(text: str, old: str, new: str) -> Iterator[Fit]:
    """Whole lines, the first and the last the same, all together at least `ALIKE`.

    What surrounds a change may be misremembered; the lines that are changed or taken away must be there, but
    for white space and quotes.
    """
    search = _Lines(text, old, new)
    count, shape = len(search.wanted), search.shape
    if count < 3 or not shape[0] or len(old) > _ALIKE_CHARS:
        return
    starts = [index for index in search.starts() if search.shapes[index + count - 1] == shape[-1]]
    if not 0 < len(starts) <= _ALIKE_WINDOWS:
        return
    from rapidfuzz import fuzz

    changes = changes_of(search.wanted, search.new)
    touched = [k for same, i, end, _, _ in changes if not same for k in range(i, end)]
    for index in starts:
        window, stripped = (lines[index : index + count] for lines in (search.lines, search.shapes))
        if not fuzz.ratio("\n".join(shape), "\n".join(stripped), score_cutoff=ALIKE):
            continue
        same = [k for k, (a, b) in enumerate(zip(shape, stripped, strict=True)) if a == b]
        indents = Indents([search.wanted[k] for k in same], [window[k] for k in same], search.new)
        if indents.fits and all(_squeezed(shape[k]) == _squeezed(stripped[k]) for k in touched):
            yield _single(search.place(index, indents))


def _squeezed(line: str) -> str:
    return re.sub(r"\s+", "", line.translate(_TYPOGRAPHIC))


def spans(fits: Sequence[Fit]) -> list[Place]:
    """The places of several fits that are all to be edited, each character once."""
    taken: list[Place] = []
    for place in (place for fit in fits for place in fit):
        if not taken or place.start >= taken[-1].end:
            taken.append(place)
    assert all(a.end <= b.start for a, b in pairwise(taken))
    return taken
