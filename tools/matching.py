"""Edits of a file's bytes: found by the ladder, made or refused with the reason. Pure.

Two ways to read an edit are never chosen between, unless all places are asked for. Bytes outside of the
edited region stay as they are, whatever the encoding. Several edits are made one after the other, or none.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tools.base import ToolError
from tools.ladder import MOST, Fit, How, find, parts, spans
from tools.placeholder import placeholder
from tools.textfile import Text, decode, line_at, plain

_NEAR_LINES, _NEAR_CHARS, _NEAR_WANTED = 20_000, 300, 100
_SHOWN = 10


class MatchError(ToolError):
    """The text to replace is not there, is there more than once, or is no text to look for."""


class Replacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One edit, as a model asks for it."""

    old_string: str
    new_string: str
    replace_all: bool = False


class Edit(msgspec.Struct, frozen=True):
    """Edits that were made."""

    data: bytes
    lines: tuple[tuple[int, int], ...]
    """First and last line of each edited place, in the new text."""
    how: How
    """The rung of the first edit that was not found exactly."""


def apply_edit(data: bytes, old: str, new: str, *, replace_all: bool = False) -> Edit:
    """Replace `old` by `new` in a file's bytes. Raises MatchError, worded for the model."""
    return apply_edits(data, [Replacement(old, new, replace_all)])


def apply_edits(data: bytes, edits: Sequence[Replacement]) -> Edit:
    """Make all edits, each in what those before it left; a MatchError names the one that cannot be made."""
    if not edits:
        raise MatchError("Give at least one edit.")
    file = decode(data)
    text, lines = file.text, list[tuple[int, int]]()
    how: How = "exact"
    for number, edit in enumerate(edits, 1):
        try:
            done, text = _apply(file, text, edit)
        except ToolError as error:
            if len(edits) == 1:
                raise
            gap = "\n" if "\n" in str(error) else " "  # behind lines of the file it would look like one
            which = f"Edit {number} of {len(edits)}"
            raise MatchError(f"{which}: {error}{gap}None of the edits was made.") from error
        lines = _shifted(lines, done) + done.lines
        how = done.how if how == "exact" else how
    return Edit(file.encode(text), tuple(sorted(lines)), how)


class _Done(msgspec.Struct, frozen=True):
    lines: list[tuple[int, int]]
    grown: list[tuple[int, int]]
    """(line in the new text, how many lines were added there) of each place."""
    how: How


def _apply(file: Text, text: str, edit: Replacement) -> tuple[_Done, str]:
    old, new = plain(edit.old_string), plain(edit.new_string)
    if not old.strip():
        raise MatchError("old_string is empty. Give the lines to replace; `write` makes a whole file.")
    if old == new:
        raise MatchError("old_string and new_string are the same; nothing to change.")
    how, fits = find(text, old, new)
    if not fits:
        raise MatchError(_missing(text, old, new))
    if len(fits) == MOST:
        raise MatchError(f"old_string fits {MOST} places or more. Give more of the text, or use sed.")
    if len(fits) > 1 and not (edit.replace_all and how not in ("elision", "similarity")):
        raise MatchError(_ambiguous(text, fits, how))
    places = spans(fits)
    if left := next(filter(None, (placeholder(place.fresh, text) for place in places)), ""):
        raise MatchError(f"new_string leaves code out ({left!r}). Write it in full, or edit less.")
    pieces: list[str] = []
    done, row, lines, grown = 0, 1, [], []
    for place in places:
        kept = text[done : place.start]
        row += kept.count("\n")
        lines.append((row, row + place.fresh.removesuffix("\n").count("\n")))
        added = place.fresh.count("\n")
        grown.append((row, added - text.count("\n", place.start, place.end)))
        row += added
        pieces += [kept, place.fresh]
        done = place.end
    result = "".join([*pieces, text[done:]])
    file.encode(result)
    return _Done(lines, grown, how), result


def _shifted(lines: list[tuple[int, int]], done: _Done) -> list[tuple[int, int]]:
    """Lines of earlier edits where a later one moved them to."""
    moved = []
    for first, last in lines:
        for at, grown in done.grown:
            if at <= first:
                first, last = first + grown, last + grown
        moved.append((first, last))
    return moved


def _ambiguous(text: str, fits: Sequence[Fit], how: How) -> str:
    numbers = [
        line_at(text, next(p for p in fit if p not in fits[0] or fit is fits[0]).start) for fit in fits
    ]
    if how == "elision":
        odd = next(a for a, b in zip(fits[0], fits[1], strict=True) if a != b)
        other = next(b for a, b in zip(fits[0], fits[1], strict=True) if a != b)
        numbers = [line_at(text, odd.start), line_at(text, other.start)]
    shown = ", ".join(map(str, numbers[:_SHOWN])) + (", ..." if len(numbers) > _SHOWN else "")
    ask = "." if how in ("elision", "similarity") else ", or set replace_all."
    return f"old_string fits {len(fits)} places, lines {shown}. Add lines around it{ask}"


def _missing(text: str, old: str, new: str) -> str:
    if len(parts(old)) > 1 and len(parts(old)) != len(parts(new)):
        return "old_string leaves lines out with `...`; new_string must do so at the same points."
    return f"old_string is not in the file.{nearest(text, old)}"


def nearest(text: str, old: str) -> str:
    """The lines that look most like `old`, and the first that differs, with arrows for tabs."""
    from rapidfuzz import fuzz, process

    lines = [line.rstrip("\r")[:_NEAR_CHARS] for line in text.split("\n")[:_NEAR_LINES]]
    wanted = [line[:_NEAR_CHARS] for line in old.strip("\n").splitlines()[:_NEAR_WANTED]]
    anchor = max(range(len(wanted)), key=lambda i: len(wanted[i].strip()))
    likely = process.extract(
        wanted[anchor].strip(), [line.strip() for line in lines], scorer=fuzz.ratio, limit=5
    )
    best, score = 0, 0.0
    for start in (max(index - anchor, 0) for _, _, index in likely):
        alike = fuzz.ratio("\n".join(wanted), "\n".join(lines[start : start + len(wanted)]))
        if alike > score:
            best, score = start, alike
    if score < 50:
        return " Read the file again."
    found = lines[best : best + len(wanted)]
    shown = "\n".join(f"{best + i + 1}\t{line}" for i, line in enumerate(found[:20]))
    return f" The nearest lines are:\n{shown}{_difference(found, wanted, best)}"


def _difference(found: Sequence[str], wanted: Sequence[str], before: int) -> str:
    rows = list(enumerate(zip(wanted, found, strict=False), before + 1))
    for number, (yours, own) in rows:
        if yours.strip() != own.strip():
            return f"\nLine {number} differs from yours: {yours.strip()[:200]}"
    for number, (yours, own) in rows:
        if yours.rstrip() != own.rstrip():
            mine, theirs = (line.replace("\t", "→").replace(" ", "·")[:200] for line in (yours, own))
            return f"\nLine {number} is indented otherwise: {theirs} (yours: {mine})"
    if len(found) < len(wanted):
        return f"\nThe file ends there; yours goes on: {wanted[len(found)].strip()[:200]}"
    return ""
