"""Where an edit means to go, and the edited bytes. Pure.

A ladder, each rung tried only when the one above finds nothing: the exact text; the same but for white space
at line ends (also CRLF); the same lines at another indentation, the new text then being moved with them; the
text without the line numbers that `read` shows, in the line that they name. Two places that fit are never
edited unless all are asked for. Bytes outside of the edited region stay as they are, whatever the encoding.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
from rapidfuzz import fuzz

from tools.base import ToolError

How = Literal["exact", "white space", "indentation", "line numbers"]

_NUMBER = re.compile(r"^ *(\d+)\t", re.MULTILINE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NEAR_LINES = 20_000


class MatchError(ToolError):
    """The text to replace is not there, is there more than once, or is no text to look for."""


class Text(msgspec.Struct, frozen=True):
    """A file's text, and what is needed to write it back byte for byte."""

    text: str
    encoding: str
    bom: bytes = b""

    def encode(self, text: str) -> bytes:
        try:
            return self.bom + text.encode(self.encoding, "surrogatepass" if self.bom else "strict")
        except UnicodeEncodeError as error:
            wrong = error.object[error.start : error.end][:10]
            raise ToolError(f"The file is {self.encoding}, which has no {wrong!r}.") from None


class Edit(msgspec.Struct, frozen=True):
    """An edit that was made."""

    data: bytes
    lines: tuple[tuple[int, int], ...]
    """First and last line of each edited place, in the new text."""
    how: How


class _Place(msgspec.Struct, frozen=True):
    """A region of the text and what goes there, before line ends are made the file's."""

    start: int
    end: int
    fresh: str


def decode(data: bytes) -> Text:
    """By byte-order mark, else UTF-8, else Latin-1, which any bytes are. Raises ToolError for binary data."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return Text(data[len(bom) :].decode(encoding, "surrogatepass"), encoding, bom)
            except UnicodeDecodeError as error:
                raise ToolError(f"The file is damaged {encoding}: {error}.") from None
    if b"\0" in data:
        raise ToolError("The file is binary, not text.")
    try:
        return Text(data.decode(), "utf-8")
    except UnicodeDecodeError:
        return Text(data.decode("latin-1"), "latin-1")


def encode_like(before: bytes, text: str) -> bytes:
    """A whole new text in the encoding, byte-order mark and line ends of the file that it replaces."""
    file = decode(before)
    ends = file.text.count("\n")
    if ends and file.text.count("\r\n") == ends:
        text = _plain(text).replace("\n", "\r\n")
    return file.encode(text)


def apply_edit(data: bytes, old: str, new: str, *, replace_all: bool = False) -> Edit:
    """Replace `old` by `new` in a file's bytes. Raises MatchError, worded for the model."""
    file = decode(data)
    text, old, new = file.text, _plain(old), _plain(new)
    if not old.strip():
        raise MatchError("old_string is empty. Give the lines to replace; `write` makes a whole file.")
    if old == new:
        raise MatchError("old_string and new_string are the same; nothing to change.")
    how, places = _find(text, old, new)
    if not places:
        raise MatchError(f"old_string is not in the file.{_nearest(text, old)}")
    if len(places) > 1 and not replace_all:
        numbers = ", ".join(str(_line(text, place.start)) for place in places[:10])
        raise MatchError(
            f"old_string fits {len(places)} places, lines {numbers}. Add lines around it, or set replace_all."
        )
    result, lines = _replaced(text, places)
    return Edit(file.encode(result), lines, how)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _find(text: str, old: str, new: str) -> tuple[How, list[_Place]]:
    rungs: list[tuple[How, Callable[[], Iterator[_Place]]]] = [
        ("exact", lambda: _exact(text, old, new)),
        ("white space", lambda: _loose_ends(text, old, new)),
        ("indentation", lambda: _reindented(text, old, new)),
    ]
    rungs.append(("line numbers", lambda: _unnumbered(text, old, new)))
    for how, rung in rungs:
        if places := list(rung()):
            return how, places
    return "exact", []


def _exact(text: str, old: str, new: str) -> Iterator[_Place]:
    """Overlapping finds count: they are places that fit, too."""
    at = text.find(old)
    while at >= 0:
        yield _Place(at, at + len(old), new)
        at = text.find(old, at + 1)


def _loose_ends(text: str, old: str, new: str) -> Iterator[_Place]:
    *heads, last = old.split("\n")
    pattern = "".join(re.escape(line.rstrip()) + r"[ \t]*\r?\n" for line in heads) + re.escape(last.rstrip())
    if last != last.rstrip():
        pattern += r"[ \t]*(?=\r?\n|\Z)"
    if heads and not heads[0].strip():
        pattern = r"(?m:^)" + pattern
    for match in re.finditer(f"(?=({pattern}))", text):
        yield _Place(match.start(1), match.end(1), new)


def _unnumbered(text: str, old: str, new: str) -> Iterator[_Place]:
    """Lines copied together with their numbers; where the first number says and nowhere else."""
    numbers = [_NUMBER.match(line) for line in old.removesuffix("\n").split("\n")]
    if not all(numbers) or numbers[0] is None:
        return
    fresh = new.removesuffix("\n").split("\n")
    if all(_NUMBER.match(line) for line in fresh):
        new = _NUMBER.sub("", new)
    for place in _loose_ends(text, _NUMBER.sub("", old), new):
        if _line(text, place.start) == int(numbers[0][1]):
            yield place


def _reindented(text: str, old: str, new: str) -> Iterator[_Place]:
    """Whole lines that are those of `old`, all moved by the same indentation."""
    if new:
        # whole lines: the last line end stays whether or not it was given
        old, new = old.removesuffix("\n"), new.removesuffix("\n") if old.endswith("\n") else new
    ends_line = old.endswith("\n")
    wanted = old.removesuffix("\n").split("\n")
    margin = _margin(wanted)
    shape = [line.removeprefix(margin).rstrip() for line in wanted]
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    stripped = [line.strip() for line in lines]
    first = shape[0].strip()
    for index in range(len(lines) - len(wanted) + 1):
        if stripped[index] != first:
            continue
        window = lines[index : index + len(wanted)]
        indent = _margin(window)
        if [line.removeprefix(indent).rstrip() for line in window] == shape:
            end = starts[index + len(wanted)] - 1
            last = lines[index + len(wanted) - 1]
            stop = min(end + 1, len(text)) if ends_line else end - (1 if last.endswith("\r") else 0)
            yield _Place(starts[index], stop, _moved(new, margin, indent))


def _margin(lines: list[str]) -> str:
    """The indentation that all lines have in common."""
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip()]
    if not indents:
        return ""
    shortest = min(indents, key=len)
    while not all(indent.startswith(shortest) for indent in indents):
        shortest = shortest[:-1]
    return shortest


def _moved(text: str, old: str, new: str) -> str:
    """The text with the indentation `new` in the place of `old`."""
    rows = []
    for row in text.split("\n"):
        indent = row[: len(row) - len(row.lstrip(" \t"))]
        rest = row.removeprefix(old) if row.startswith(old) else row[len(indent) :]
        rows.append(new + rest if row.strip() else "")
    return "\n".join(rows)


def _replaced(text: str, places: list[_Place]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text with every place replaced, in the line ends that the place has; overlapping ones once."""
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    done, row = 0, 1
    for place in places:
        if place.start < done:
            continue
        kept, fresh = text[done : place.start], place.fresh.replace("\n", _line_end(text, place))
        row += kept.count("\n")
        spans.append((row, row + fresh.removesuffix("\n").count("\n")))
        row += fresh.count("\n")
        parts += [kept, fresh]
        done = place.end
    return "".join([*parts, text[done:]]), tuple(spans)


def _line_end(text: str, place: _Place) -> str:
    """The line end of the region, else of the line before it, else of the line that it is in."""
    at = text.find("\n", place.start, place.end)
    if at < 0:
        at = text.rfind("\n", 0, place.start)
    if at < 0:
        at = text.find("\n", place.end)
    return "\r\n" if at > 0 and text[at - 1] == "\r" else "\n"


def _nearest(text: str, old: str) -> str:
    """The lines that look most like `old`, and the first that differs."""
    lines, wanted = text.splitlines()[:_NEAR_LINES], old.strip("\n").splitlines()
    anchor = max(range(len(wanted)), key=lambda i: len(wanted[i].strip()))
    likeness = [fuzz.ratio(wanted[anchor].strip(), line.strip()) for line in lines]
    order = sorted(range(len(lines)), key=lambda i: -likeness[i])[:5]
    best, score = 0, 0.0
    for start in (max(i - anchor, 0) for i in order):
        alike = fuzz.ratio("\n".join(wanted), "\n".join(lines[start : start + len(wanted)]))
        if alike > score:
            best, score = start, alike
    if score < 50:
        return " Read the file again."
    found = lines[best : best + len(wanted)]
    shown = "\n".join(f"{best + i + 1}\t{line}" for i, line in enumerate(found[:20]))
    pairs = zip(wanted, found, strict=False)
    differing = next(((best + i + 1, a) for i, (a, b) in enumerate(pairs) if a.strip() != b.strip()), None)
    note = f"\nLine {differing[0]} differs from yours: {differing[1].strip()}" if differing else ""
    return f" The nearest lines are:\n{shown}{note}"
