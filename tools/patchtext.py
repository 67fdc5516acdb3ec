"""Patches as models write them: the envelope of `*** Begin Patch`, and unified diffs. Pure.

Sources: the envelope as OpenAI describes it for its GPT-4.1 models (`apply_patch`); unified diffs as POSIX
`diff -u` and git write them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from tools.base import ToolError

_HEAD = re.compile(r"\*\*\* (Add|Update|Delete) File: (.+)")
_NUMBERS = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NOWHERE = "/dev/null"
_ENVELOPE_FORM = (
    "Not a patch. It goes: *** Begin Patch, *** Update File: PATH (or Add File, Delete File), @@, lines that "
    "begin with a space, - or +, *** End Patch."
)


class Hunk(msgspec.Struct, frozen=True):
    """Lines that stand together. They keep their line feed; the last one of a file may have none."""

    old: list[str]
    new: list[str]
    at: int = 0
    """Line from 1 where `old` is said to begin (of an insertion: the line before it); 0 for not said."""
    below: tuple[str, ...] = ()
    """Lines that come before it, the outermost first: `@@ class A`, `@@ def f`."""
    numbered: bool = False


class FilePatch(msgspec.Struct, frozen=True):
    """What a patch does to one file."""

    kind: Literal["add", "update", "delete"]
    path: str
    moved_to: str = ""
    hunks: tuple[Hunk, ...] = ()
    content: str = ""
    """The whole text of an added file."""


_HEREDOC = re.compile(r"apply_patch\s*<<-?\s*['\"]?(\w+)['\"]?\s*")
"""The command around a patch that some models were taught."""


def parse(patch: str) -> list[FilePatch]:
    """What a patch does, file by file. Raises ToolError when it is none."""
    rows = patch.strip("\n").split("\n")
    if rows[0].startswith("```") and rows[-1].startswith("```"):
        rows = rows[1:-1]
    if all(row.endswith("\r") for row in rows[:2]):
        rows = [row.removesuffix("\r") for row in rows]
    if (command := _HEREDOC.fullmatch(rows[0])) and rows[-1] == command[1]:
        rows = rows[1:-1]
    found = _envelope(rows) if any(row.startswith("*** ") for row in rows[:3]) else _unified(rows)
    paths = [path for one in found for path in (one.path, one.moved_to) if path]
    if double := next((path for path in paths if paths.count(path) > 1), ""):
        raise ToolError(f"The patch names {double} more than once. Put all its hunks below one head.")
    return found


def _envelope(rows: Sequence[str]) -> list[FilePatch]:
    found: list[FilePatch] = []
    at = 0
    while at < len(rows):
        row = rows[at].rstrip()
        head = _HEAD.fullmatch(row)
        if head is None:
            if row.strip() and row not in ("*** Begin Patch", "*** End Patch"):
                raise ToolError(f"{_ENVELOPE_FORM} Line {at + 1} is none of these: {row[:80]!r}")
            at += 1
            continue
        at += 1
        moved = ""
        if at < len(rows) and rows[at].startswith("*** Move to: "):
            moved = rows[at].removeprefix("*** Move to: ").strip()
            at += 1
        end = next((k for k in range(at, len(rows)) if _ends_file(rows[k])), len(rows))
        found.append(_file(head[1], head[2].strip(), moved, rows[at:end]))
        at = end
    if not found:
        raise ToolError(_ENVELOPE_FORM)
    return found


def _ends_file(row: str) -> bool:
    return row.rstrip() == "*** End Patch" or bool(_HEAD.fullmatch(row.rstrip()))


def _file(kind: str, path: str, moved: str, body: Sequence[str]) -> FilePatch:
    if kind == "Delete":
        return FilePatch("delete", path)
    if kind == "Add":
        wrong = [row for row in body if row and not row.startswith("+")]
        if wrong:
            raise ToolError(f"Each line of the new file {path} begins with +, not as in {wrong[0][:80]!r}.")
        rows = [row[1:] for row in body if row]
        return FilePatch("add", path, content="".join(f"{row}\n" for row in rows))
    return FilePatch("update", path, moved, tuple(_sections(body, path)))


def _sections(body: Sequence[str], path: str) -> list[Hunk]:
    hunks: list[Hunk] = []
    below: list[str] = []
    lines: list[str] = []

    def close() -> None:
        if lines:
            hunks.append(_hunk(lines, below=tuple(below)))
            lines.clear()
            below.clear()

    for row in body:
        if row.startswith("@@"):
            close()
            if heading := re.sub(r"^@@(?: -\d+(?:,\d+)? \+\d+(?:,\d+)? @@.*)?", "", row).strip(" @"):
                below.append(heading)
        elif row.rstrip() == "*** End of File":
            close()
        elif row[:1] in (" ", "+", "-", ""):
            lines.append(row)
        else:
            raise ToolError(f"A line of {path} begins with neither space, - nor +: {row[:80]!r}")
    close()
    return hunks


def _hunk(lines: Sequence[str], at: int = 0, *, below: tuple[str, ...] = (), numbered: bool = False) -> Hunk:
    """Blank lines are context that lost its space; at the end they belong to nothing."""
    rows = list(lines)
    while rows and not rows[-1]:
        rows.pop()
    sides: dict[str, list[str]] = {"-": [], "+": []}
    last = ""
    for row in rows:
        mark, line = row[:1] or " ", row[1:] + "\n"
        for side in "-+" if mark == " " else last if mark == "\\" else mark:
            if mark == "\\":
                sides[side][-1] = sides[side][-1].removesuffix("\n")
            else:
                sides[side].append(line)
        last = "-+" if mark == " " else mark if mark != "\\" else last
    return Hunk(sides["-"], sides["+"], at, below, numbered)


def _unified(rows: Sequence[str]) -> list[FilePatch]:
    found: list[FilePatch] = []
    at = 0
    while at < len(rows):
        row = rows[at]
        if row.startswith("rename from ") and rows[at + 1 : at + 2]:
            old, new = (name.partition(" ")[2].partition(" ")[2] for name in rows[at : at + 2])
            found.append(FilePatch("update", old, new))
        elif _is_head(rows, at):
            one, at = _file_of(rows, at)
            if found and found[-1].moved_to and found[-1].path == one.path:
                found.pop()
            found.append(one)
            continue
        at += 1
    if not found:
        raise ToolError("Not a patch: neither *** Begin Patch nor the --- and +++ lines of a unified diff.")
    return found


def _is_head(rows: Sequence[str], at: int) -> bool:
    return (
        rows[at].startswith("--- ")
        and at + 1 < len(rows)
        and rows[at + 1].startswith("+++ ")
        and (at + 2 == len(rows) or rows[at + 2].startswith(("@@", "diff ")) or not rows[at + 2].strip())
    )


def _file_of(rows: Sequence[str], at: int) -> tuple[FilePatch, int]:
    before, after = (rows[at + k][4:].partition("\t")[0].strip() for k in (0, 1))
    if before.startswith("a/") or after.startswith("b/"):
        before, after = before.removeprefix("a/"), after.removeprefix("b/")
    at += 2
    hunks: list[Hunk] = []
    while at < len(rows) and rows[at].startswith("@@"):
        numbers = _NUMBERS.match(rows[at])
        end = _counted(rows, at + 1, numbers) if numbers else 0
        end = end or _marked(rows, at + 1)
        start = int(numbers[1]) if numbers else 0
        hunks.append(_hunk(rows[at + 1 : end], start, numbered=numbers is not None))
        at = end
        while at < len(rows) and not rows[at].strip():
            at += 1
    if after == _NOWHERE:
        return FilePatch("delete", before), at
    if before == _NOWHERE:
        return FilePatch("add", after, content="".join(row for hunk in hunks for row in hunk.new)), at
    moved = after if after != before else ""
    return FilePatch("update", before, moved, tuple(hunks)), at


def _counted(rows: Sequence[str], at: int, numbers: re.Match[str]) -> int:
    """End of a hunk that is as long as its head says; 0 when it is not."""
    old, new = int(numbers[2] or 1), int(numbers[4] or 1)
    while (old > 0 or new > 0) and at < len(rows):
        mark = rows[at][:1] or " "
        if mark not in " +-\\":
            return 0
        old -= mark in " -"
        new -= mark in " +"
        at += 1
    if at < len(rows) and rows[at].startswith("\\"):
        at += 1
    following = at == len(rows) or not rows[at] or rows[at].startswith(("@@", "diff ")) or _is_head(rows, at)
    return at if (old, new) == (0, 0) and following else 0


def _marked(rows: Sequence[str], at: int) -> int:
    """End of the lines that have the mark of a hunk."""
    while at < len(rows) and (rows[at][:1] in (" ", "+", "-", "\\", "")) and not _is_head(rows, at):
        at += 1
    return at
