"""Which git directory is a folder's own. It is read by us, as text; git itself is not asked.

A `.git` file is the repository's word and may name any folder, so it is believed only when that folder points
back: that of a linked worktree by its `gitdir` file, that of a submodule by `core.worktree`. Which folder
holds the objects follows from where that folder lies; a file in it that says otherwise makes it disbelieved.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sandbox.base import FileError
from sandbox.beneath import Beneath

MAX_TEXT = 1024**2
_SECTION = re.compile(r'\s*\[\s*([A-Za-z0-9.-]+)\s*("(?:[^"\\]|\\.)*")?\s*\](.*)')
_ENTRY = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*([^\"\\#;]*?)\s*)?(?:[;#].*)?$")


class GitDir(msgspec.Struct, frozen=True):
    """Absolute paths without symlinks, but for that of a plain `.git` folder."""

    own: Path
    """Holds HEAD and the index."""
    common: Path
    """Holds objects, refs and the configuration: `own` too, but in a linked worktree."""


def git_dir(tree: Path) -> GitDir | None:
    """The git directory of `tree` (absolute); None when it has none, or one that is not surely its own."""
    git = tree / ".git"
    if is_folder(git):
        return GitDir(git, git) if is_file(git / "config") else None
    try:
        return _pointed_to(tree.resolve(strict=True), git)
    except (OSError, RuntimeError, ValueError, FileError):
        return None


def _pointed_to(tree: Path, git: Path) -> GitDir | None:
    own = (tree / _line(git, "gitdir: ")).resolve(strict=True)
    linked = own.parent.name == "worktrees"
    common = own.parent.parent if linked else own
    back = _back_from_worktree(own, common) if linked else _back_from_submodule(own)
    apart = not common.is_relative_to(tree) and not tree.is_relative_to(common)
    whole = is_file(common / "config") and is_file(own / "HEAD") and is_folder(common / "objects")
    owners = {path.stat().st_uid for path in (tree, own, common)}
    return GitDir(own, common) if back == tree and apart and whole and len(owners) == 1 else None


def _back_from_worktree(own: Path, common: Path) -> Path | None:
    """The work tree that the folder of a linked worktree says it is of."""
    back = own / _line(own / "gitdir")
    ours = (own / _line(own / "commondir")).resolve(strict=True) == common
    return back.parent.resolve(strict=True) if ours and back.name == ".git" else None


def _back_from_submodule(own: Path) -> Path | None:
    """The work tree that a submodule's git directory says it is of."""
    for section, key, value in entries(read_text(own, "config")):
        if (section, key) == ("core", "worktree") and value:
            return (own / value).resolve(strict=True)
    return None


def entries(config: str) -> Iterator[tuple[str, str, str | None]]:
    """(section, key, value or None) of a configuration, in lower case but for the value; plain values only.

    Sections with a name of their own, such as remotes, are left out.
    """
    section = ""
    for line in config.splitlines():
        if match := _SECTION.match(line):
            section = "" if match[2] else match[1].lower()
            line = match[3]
        if section and (entry := _ENTRY.match(line)):
            yield section, entry[1].lower(), entry[2]


def read_text(folder: Path, name: str) -> str:
    """A file of a git directory, no symlink followed. Raises FileError."""
    with Beneath(folder) as beneath:
        return beneath.read(name, MAX_TEXT).data.decode("utf-8", "surrogateescape")


def _line(file: Path, start: str = "") -> str:
    """The one line of a file after `start`, which must be there."""
    text = read_text(file.parent, file.name).removesuffix("\n")
    if not is_file(file) or not text.startswith(start) or len(text) == len(start) or "\n" in text:
        raise ValueError(f"not as git writes it: {file}")
    return text.removeprefix(start)


def is_file(path: Path) -> bool:
    """Whether a regular file is there; a symlink is none."""
    return _has(path, stat.S_IFREG)


def is_folder(path: Path) -> bool:
    """Whether a folder is there; a symlink is none."""
    return _has(path, stat.S_IFDIR)


def _has(path: Path, kind: int) -> bool:
    try:
        return stat.S_IFMT(path.lstat().st_mode) == kind
    except (OSError, ValueError):
        return False
