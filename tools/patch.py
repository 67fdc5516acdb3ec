"""Patches applied to a file's bytes, and unified diffs made. Pure.

A hunk goes where its lines stand, in the order of the hunks. The line numbers of a unified diff are taken at
their word only when all of them are right; models count badly.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from tools.ladder import Place, chains, like_lines
from tools.matching import MatchError, nearest
from tools.patchtext import Hunk
from tools.placeholder import placeholder
from tools.textfile import decode, line_at, line_end, plain

_COMPARED = 4_000_000
"""Pairs of rows that differ up to which they are compared each with each."""
NO_END = "\\ No newline at end of file"


def unified(before: str, after: str, path: str, context: int = 3) -> str:
    """A unified diff of two texts, whose lines end at line feeds alone; empty when they are the same."""
    old, new = _rows(before), _rows(after)
    names = (f"a/{path}", f"b/{path}")
    ends = [_alike(old, new), 0]
    ends[1] = min(_alike(old[::-1], new[::-1]), min(len(old), len(new)) - ends[0])
    if (len(old) - sum(ends)) * (len(new) - sum(ends)) <= _COMPARED:
        lines = difflib.unified_diff(old, new, *names, n=context)
    else:
        lines = _by_rows(old, new, names, ends[0], ends[1], context)
    return "".join(line if line.endswith("\n") else f"{line}\n{NO_END}\n" for line in lines)


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    """How many rows are the same from the beginning on."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(old), len(new)))


def _by_rows(
    old: list[str], new: list[str], names: tuple[str, str], head: int, tail: int, context: int
) -> Iterator[str]:
    """The lines of a diff that compares row by row, or takes what differs as one, in linear time."""
    pairs = [(head, len(old) - tail, head, len(new) - tail)]
    if len(old) == len(new):
        pairs = [(at, at + 1, at, at + 1) for at in range(head, len(old) - tail) if old[at] != new[at]]
    hunks: list[list[tuple[int, int, int, int]]] = []
    for pair in pairs:
        if hunks and pair[0] - hunks[-1][-1][1] <= 2 * context:
            hunks[-1].append(pair)
        else:
            hunks.append([pair])
    yield from (f"{sign} {name}\n" for sign, name in zip(("---", "+++"), names, strict=True))
    for hunk in hunks:
        start, fresh = max(hunk[0][0] - context, 0), max(hunk[0][2] - context, 0)
        stop, end = min(hunk[-1][1] + context, len(old)), min(hunk[-1][3] + context, len(new))
        yield f"@@ -{start + 1},{stop - start} +{fresh + 1},{end - fresh} @@\n"
        for a, b, c, d in hunk:
            yield from (f" {row}" for row in old[start:a])
            yield from (f"-{row}" for row in old[a:b])
            yield from (f"+{row}" for row in new[c:d])
            start = b
        yield from (f" {row}" for row in old[start:stop])


def apply_hunks(data: bytes, hunks: Sequence[Hunk]) -> bytes:
    """The file's bytes with all hunks applied. Raises MatchError, worded for the model."""
    file = decode(data)
    text = file.text
    done = _by_number(text, hunks)
    if done is None:
        done = _by_content(text, hunks)
    known = [set(hunk.old) for hunk in hunks]
    added = "".join(row for hunk, old in zip(hunks, known, strict=True) for row in hunk.new if row not in old)
    if left := placeholder(added, text):
        raise MatchError(f"The patch leaves code out ({left!r}). Write it in full.")
    return file.encode(done)


def _rows(text: str) -> list[str]:
    rows = text.split("\n")
    return [row + "\n" for row in rows[:-1]] + ([rows[-1]] if rows[-1] else [])


def _by_number(text: str, hunks: Sequence[Hunk]) -> str | None:
    """The result when every hunk stands, to the byte, where its number says; else None."""
    rows, result, done = _rows(text), list[str](), 0
    for hunk in hunks:
        start = hunk.at if not hunk.old else hunk.at - 1
        end = start + len(hunk.old)
        if not hunk.numbered or not done <= start <= len(rows) or rows[start:end] != hunk.old:
            return None
        result += rows[done:start] + hunk.new
        done = end
    result += rows[done:]
    # only the last line of a text is without a line feed
    return "".join(result) if all(row.endswith("\n") for row in result[:-1]) else None


def _by_content(text: str, hunks: Sequence[Hunk]) -> str:
    options: list[list[Place]] = []
    own: list[int] = []
    for number, hunk in enumerate(hunks, 1):
        for heading in hunk.below:
            options.append(_headings(text, heading, f"Hunk {number}"))
        own.append(len(options))
        options.append(_options(text, hunk, f"Hunk {number}"))
    found = chains(options)
    if not found:
        raise MatchError("The hunks are not in the file in this order. Put them in the order of the file.")
    for number, index in enumerate(own, 1):
        if len(places := {chain[index].start for chain in found}) > 1:
            lines = ", ".join(str(line_at(text, start)) for start in sorted(places))
            raise MatchError(f"Hunk {number} fits several places, lines {lines}. Add lines of context.")
    pieces, done = list[str](), 0
    for place in (found[0][index] for index in own):
        pieces += [text[done : place.start], place.fresh]
        done = place.end
    return "".join([*pieces, text[done:]])


def _headings(text: str, heading: str, name: str) -> list[Place]:
    """Where a line that begins like this ends; nothing is written there."""
    wanted, offset, found = heading.strip(), 0, list[Place]()
    for row in _rows(text):
        offset += len(row)
        if row.strip().startswith(wanted):
            found.append(Place(offset, offset, ""))
    if not found:
        raise MatchError(f"{name}: no line begins with {wanted!r}.")
    return found


def _options(text: str, hunk: Hunk, name: str) -> list[Place]:
    old, new = plain("".join(hunk.old)), plain("".join(hunk.new))
    if not old.strip():
        if hunk.old or (text and (hunk.numbered or not hunk.below)):
            raise MatchError(f"{name} has no line of context to find its place by.")
        return [
            Place(at, at, new.replace("\n", line_end(text, at, at))) for at in _line_starts(text, hunk.below)
        ]
    places = like_lines(text, old, new)
    if not places:
        raise MatchError(f"{name} is not in the file.{nearest(text, old)}")
    return places


def _line_starts(text: str, below: Sequence[str]) -> list[int]:
    """Where lines may be put in that come with no context: right below their heading."""
    return [place.end for place in _headings(text, below[-1], "A hunk")] if below else [0]
