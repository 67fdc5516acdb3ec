"""Unified diffs as they are written, section by section: which paths, what was added and removed. Pure.

Nothing is applied here. A patch is hostile: paths are taken as text.
"""

from __future__ import annotations

import re

import msgspec

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_QUOTED = re.compile(rb'\\([abfnrtv"\\]|[0-7]{3})')
_ESCAPES = {b"a": 7, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11, b'"': 34, b"\\": 92}


class Section(msgspec.Struct):
    """One file's part of a patch."""

    old_path: str = ""
    """Relative; "" when the file is new."""
    new_path: str = ""
    """"" when the file is removed."""
    mode: int = 0
    """Git's mode afterwards where the patch says it, else 0."""
    binary: bool = False
    added: list[str] = []
    removed: list[str] = []

    @property
    def path(self) -> str:
        return self.new_path or self.old_path


def sections(text: bytes) -> list[Section]:
    """The parts of a patch in its order; lines that belong to none are left out."""
    found: list[Section] = []
    old_left = new_left = 0
    for line in text.split(b"\n"):
        if old_left > 0 or new_left > 0:
            mark, body = line[:1], line[1:].decode("utf-8", "surrogateescape")
            if mark == b"+":
                found[-1].added.append(body)
                new_left -= 1
            elif mark == b"-":
                found[-1].removed.append(body)
                old_left -= 1
            elif mark in (b" ", b""):
                old_left, new_left = old_left - 1, new_left - 1
            elif mark != b"\\":
                old_left = new_left = 0
            continue
        if line.startswith(b"diff --git "):
            old, new = _git_paths(line[len(b"diff --git ") :])
            found.append(Section(old, new))
        elif line.startswith(b"--- ") and not _in_git(found, line):
            found.append(Section(_path(line[4:])))
        elif found:
            old_left, new_left = _head(line, found[-1])
    return found


def _in_git(found: list[Section], line: bytes) -> bool:
    """True for the `---` line of a section that a `diff --git` line began: it says the same."""
    if not found or found[-1].added or found[-1].removed:
        return False
    last, path = found[-1], _path(line[4:])
    return path == "" or path in (last.old_path, last.new_path)


def _head(line: bytes, section: Section) -> tuple[int, int]:
    """Read one line of a head; (old, new) lines to come when it is a hunk's."""
    if line.startswith(b"@@ ") and (match := _HUNK.match(line)):
        return tuple(1 if group is None else int(group) for group in match.groups())  # type: ignore[return-value]
    if line.startswith(b"--- "):
        section.old_path = _path(line[4:])
    elif line.startswith(b"+++ "):
        section.new_path = _path(line[4:])
    elif line.startswith(b"new file mode "):
        section.old_path, section.mode = "", _mode(line)
    elif line.startswith(b"deleted file mode "):
        section.new_path = ""
    elif line.startswith((b"new mode ", b"index ")) and (mode := _mode(line)):
        section.mode = mode
    elif line.startswith((b"rename from ", b"copy from ")):
        section.old_path = _unquote(line.split(b" ", 2)[2])
    elif line.startswith((b"rename to ", b"copy to ")):
        section.new_path = _unquote(line.split(b" ", 2)[2])
    elif line.startswith((b"GIT binary patch", b"Binary files ")):
        section.binary = True
    return 0, 0


def _mode(line: bytes) -> int:
    last = line.rsplit(b" ", 1)[-1].strip()
    return int(last, 8) if re.fullmatch(rb"[0-7]{6}", last) else 0


def _git_paths(rest: bytes) -> tuple[str, str]:
    if rest.startswith(b'"'):
        words = re.findall(rb'"(?:[^"\\]|\\.)*"|\S+', rest)
        if len(words) == 2:
            return _path(words[0]), _path(words[1])
    half = (len(rest) - 1) // 2
    old, new = rest[:half], rest[half + 1 :]
    if old[2:] == new[2:]:
        return _path(old), _path(new)
    first, _, second = rest.partition(b" b/")
    return _path(first), _path(b"b/" + second)


def _path(raw: bytes) -> str:
    """A path of a `---` or `+++` line, without its `a/` or `b/`; "" for /dev/null."""
    name = _unquote(raw.rstrip(b"\r").split(b"\t", 1)[0])
    if name == "/dev/null":
        return ""
    return name.partition("/")[2] if name.startswith(("a/", "b/")) else name


def _unquote(raw: bytes) -> str:
    raw = raw.strip()
    if raw.startswith(b'"') and raw.endswith(b'"') and len(raw) > 1:
        raw = _QUOTED.sub(
            lambda m: bytes([_ESCAPES[m[1]] if m[1] in _ESCAPES else int(m[1], 8) & 255]), raw[1:-1]
        )
    return raw.decode("utf-8", "surrogateescape")


def paths(text: str) -> tuple[str, ...]:
    """All paths that a patch names, old and new, sorted."""
    found = sections(text.encode("utf-8", "surrogateescape"))
    return tuple(sorted({path for each in found for path in (each.old_path, each.new_path) if path}))
