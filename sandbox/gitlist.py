"""What git lists of a folder: tracked files, and untracked ones that it does not ignore.

Ignored folders are not entered, however much is in them. Git runs on a copy of the index in a repository of
our own (`sandbox.shadow`), so nothing that the user's repository configures takes part. The rules are those
of the `.gitignore` files and of `info/exclude`, not those of the user's own settings. A repository within the
folder, a submodule too, is listed by its own index and rules.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from sandbox.base import FileError, PathEscape, SandboxError
from sandbox.beneath import Beneath, check_path
from sandbox.gitdir import GitDir, git_dir, is_file
from sandbox.gitview import exclude_rules, object_format
from sandbox.naming import plain
from sandbox.rules import is_litter
from sandbox.shadow import TIMEOUT_S, Names, Shadow

MAX_REPOSITORIES = 200
MAX_INDEX = 512 * 1024**2
"""Bytes of all indexes together; that of a million files has a fifth of it."""
_COUNTED, _LOOKED_INTO = 10_000, 200
"""Files counted in a left-out folder, and such folders looked into, so that the largest can be named."""


class Listed(msgspec.Struct):
    """Paths are relative to the listed folder."""

    names: dict[str, set[str]] = {}
    """Folder -> names in it that git lists or that lead there, and those of ignored folders."""
    ignored_folders: frozenset[str] = frozenset()
    ignored_files: Counter[str] = msgspec.field(default_factory=Counter)
    """Folder -> how many ignored files lie directly in it."""
    left_out: dict[str, str] = {}
    """Path -> why, of what git listed and no one may follow."""

    def names_in(self, path: str) -> Collection[str] | None:
        """For `tree.walk`: a nested repository's own `.git` is taken whole."""
        return None if ".git" in path.split("/") else self.names.get(path, ())

    def most_ignored(self, tree: Path, shown: Iterable[str]) -> str:
        """The largest of what is left out, for a person; folders in `shown` are there after all."""
        counts = Counter(self.ignored_files)
        folders = sorted(path for path in self.ignored_folders.difference(shown) if not is_litter(path))
        for folder in folders[:_LOOKED_INTO]:
            counts[folder] += sum(islice(_files(tree / folder), _COUNTED))
        named = [f"{plain(folder) or '.'} ({_said(count)})" for folder, count in counts.most_common(3)]
        more = len(counts) + len(folders[_LOOKED_INTO:]) - len(named)
        return ", ".join(named) + (f" and {more:,} more" if more else "")


def enclosing(tree: Path) -> tuple[Path, GitDir] | None:
    """The work tree that `tree` is or lies in, and its git directory."""
    for folder in (tree, *tree.parents):
        if git := git_dir(folder):
            return folder, git
        if is_file(folder / ".git"):
            return None
    return None


def list_tree(
    tree: Path, state: Path, *, most: int = MAX_REPOSITORIES, timeout_s: float = TIMEOUT_S
) -> Listed:
    """List a folder without symlinks in its path; the work is done in a new folder below `state`.

    Raises SandboxError when git cannot, or not in `timeout_s` a run, or when there are more than `most`
    repositories.
    """
    outer = enclosing(tree)
    if outer is None:
        raise SandboxError(
            f"`--copy git` needs a git repository, and {tree} is in none whose git directory can be trusted:"
            " use `--copy all`, or make it one with `git init`"
        )
    listed = Listed()
    ignored: set[str] = set()
    todo = [("", *outer)]
    repositories = 0
    room = MAX_INDEX
    work = state / "listing"
    work.mkdir(exist_ok=True, mode=0o700)
    with TemporaryDirectory(dir=work) as place:
        while todo:
            at, top, git = todo.pop()
            repositories += 1
            if repositories > most:
                raise SandboxError(
                    f"{tree} holds more than {most} repositories;"
                    " use `--copy all`, or start in a smaller folder"
                )
            shadow = Shadow(Path(place, str(repositories)), object_format(git))
            room -= _give_index(shadow, git, room)
            try:
                found = shadow.listing(top, tree / at, timeout_s)
            except SandboxError as error:
                raise SandboxError(f"{error}; use `--copy all`") from error
            for inner in _add_all(listed, ignored, tree, at, found):
                if own := git_dir(tree / inner):
                    todo.append((inner, tree / inner, own))
                else:
                    listed.left_out[inner] = "a repository whose git directory is not surely its own"
    listed.ignored_folders = frozenset(ignored)
    if not listed.names and next(_files(tree), 0):
        raise SandboxError(f"git lists nothing in {tree}: {outer[0]} ignores it; use `--copy all`")
    if os.path.lexists(tree / ".git"):
        listed.names.setdefault("", set()).add(".git")
    return listed


def _give_index(shadow: Shadow, git: GitDir, room: int) -> int:
    """Copy what git needs of the repository: its own ignore rules and its index; returns the index's size."""
    shadow.exclude(exclude_rules(git))
    size = 0
    try:
        with Beneath(git.own) as files:
            for name in ["index", *sorted(path.name for path in git.own.glob("sharedindex.*"))]:
                if is_file(git.own / name):
                    data = files.read(name, room - size).data
                    shadow.keep(name, data)
                    size += len(data)
    except FileError as error:
        raise SandboxError(f"the index in {git.own} cannot be read: {error}; use `--copy all`") from error
    return size


def _add_all(listed: Listed, ignored: set[str], tree: Path, at: str, found: Names) -> list[str]:
    """Add what the repository of `tree`/`at` lists; returns the repositories within it."""
    start = f"{at}/" if at else ""
    repositories = []
    for path in found.files:
        listed_at = _add(listed, start + path)
        if not listed_at or not (path.endswith("/") or path in found.links):
            continue
        folder = tree / listed_at
        if os.path.lexists(folder / ".git") and folder.resolve() == folder:  # no symlink on the way
            repositories.append(listed_at)
            listed.names.setdefault(listed_at, set()).add(".git")
    outer = ""
    for path in sorted(found.ignored):  # git names a folder and what is in it
        if outer and path.startswith(outer):
            continue
        if path.endswith("/"):
            outer = path
            if listed_at := _add(listed, start + path):
                ignored.add(listed_at)
        else:
            listed.ignored_files[(start + path).rpartition("/")[0]] += 1
    return repositories


def _add(listed: Listed, path: str) -> str:
    """Make the names on the way to `path` known; returns it without a slash at its end, "" if it is no good.

    An index is the repository's word too: it may name what lies outside of the folder.
    """
    path = path.removesuffix("/")
    try:
        check_path(path)
    except PathEscape as error:
        listed.left_out[path] = str(error)
        return ""
    inner = path
    while inner:
        folder, _, name = inner.rpartition("/")
        names = listed.names.setdefault(folder, set())
        if name in names:
            break
        names.add(name)
        inner = folder
    return path


def _files(folder: Path) -> Iterator[int]:
    """1 for each file below a folder."""
    todo = [str(folder)]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    yield 1


def _said(count: int) -> str:
    if count >= _COUNTED:
        return f"over {_COUNTED:,} files"
    return f"{count:,} file{'' if count == 1 else 's'}"
