"""A patch: whole files before and after, and the text that `git apply` accepts."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

REGULAR, EXECUTABLE, SYMLINK = 0o100644, 0o100755, 0o120000


def git_mode(mode: int) -> int:
    """The mode git keeps for a regular file's or symlink's st_mode."""
    if stat.S_ISLNK(mode):
        return SYMLINK
    return EXECUTABLE if mode & 0o100 else REGULAR


def merge_mode(mode: int, kept: int | None) -> int:
    """The st_mode for git's `mode`: permissions of the file that is replaced (`kept`), its executable bit."""
    if kept is None or not stat.S_ISREG(kept) or mode == SYMLINK:
        return mode
    bits = kept & 0o777
    if git_mode(kept) != mode:
        bits = bits & ~0o111 if mode == REGULAR else bits | (bits & 0o444) >> 2 | 0o100
    return stat.S_IFREG | bits


class FileChange(msgspec.Struct, frozen=True):
    """What happened to one path. `old` and `new` are whole contents (a symlink's is its target)."""

    path: str
    """Relative to the tree, with `/`; bytes that are not UTF-8 as surrogate escapes."""
    old: bytes | None
    """None: the path did not exist."""
    new: bytes | None
    """None: the path is deleted."""
    old_mode: int | None
    """0o100644, 0o100755 or 0o120000; None when `old` is."""
    new_mode: int | None
    text: bytes
    """This path's part of a git patch."""

    @property
    def kind(self) -> Literal["add", "modify", "delete"]:
        if self.old is None:
            return "add"
        return "delete" if self.new is None else "modify"


class Patch(msgspec.Struct, frozen=True):
    """Changes against a workspace's base, at most one a path, sorted by path."""

    changes: tuple[FileChange, ...] = ()

    @property
    def text(self) -> bytes:
        """A git patch (binary, full index, no renames); a part of it is a patch too."""
        return b"".join(change.text for change in self.changes)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(change.path for change in self.changes)

    @property
    def empty(self) -> bool:
        return not self.changes

    @property
    def additions(self) -> int:
        """Lines added; binary files count as none."""
        return sum(_count(change.text)[0] for change in self.changes)

    @property
    def deletions(self) -> int:
        return sum(_count(change.text)[1] for change in self.changes)

    def only(self, paths: Collection[str]) -> Patch:
        """The same patch with nothing but these paths."""
        return Patch(tuple(change for change in self.changes if change.path in paths))

    def without(self, paths: Collection[str]) -> Patch:
        return Patch(tuple(change for change in self.changes if change.path not in paths))


def split_patch(text: bytes) -> list[bytes]:
    """The sections of a git patch, one a `diff --git` line.

    No line of content can look like that line: in a hunk each has a mark before it, and base85 has no space.
    """
    starts = [0] if text.startswith(b"diff --git ") else []
    at = text.find(b"\ndiff --git ")
    while at >= 0:
        starts.append(at + 1)
        at = text.find(b"\ndiff --git ", at + 1)
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def sort_key(path: str) -> bytes:
    """Git's order of paths: by bytes."""
    return path.encode("utf-8", "surrogateescape")


def join_sections(changes: Iterable[FileChange], text: bytes) -> Patch:
    """Give each change (sorted by `sort_key`) its section of `text`; a change of type has two."""
    sections = iter(split_patch(text))
    done = []
    for change in changes:
        part = next(sections)
        if change.kind == "modify" and stat.S_IFMT(change.old_mode or 0) != stat.S_IFMT(change.new_mode or 0):
            part += next(sections)
        done.append(msgspec.structs.replace(change, text=part))
    if next(sections, None) is not None:
        raise ValueError("git wrote more sections than there are changes")
    return Patch(tuple(done))


def _count(section: bytes) -> tuple[int, int]:
    added = removed = 0
    in_hunk = False
    for line in section.split(b"\n"):
        if line.startswith((b"@@ ", b"diff --git ")):
            in_hunk = line.startswith(b"@@ ")
        elif in_hunk:
            added += line.startswith(b"+")
            removed += line.startswith(b"-")
    return added, removed
