"""What the sandbox sees of a git directory: everything read-only, less what could hold a secret or run.

A plain `.git` folder is shown where it is. That of a linked worktree or a submodule lies elsewhere on the
host: it is shown at a made-up place, and a made-up `.git` file leads there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from sandbox.base import FileError, Mount
from sandbox.gitdir import GitDir, entries, git_dir, is_file, is_folder, read_text

PLACE = "/.pawl/git"
"""Where the git directory of a linked worktree or a submodule is shown."""
_PLAIN = re.compile(r"[A-Za-z0-9._/-]*")
_KEPT = {
    "core": ("repositoryformatversion", "filemode", "bare", "symlinks", "ignorecase", "worktree"),
    "extensions": ("objectformat", "refstorage"),
}


def safe_config(text: str, *, without: Collection[tuple[str, str]] = ()) -> str:
    """Only the entries that say how the repository is stored: no remotes, hooks, filters or includes."""
    kept: dict[str, list[str]] = {}
    for section, key, given in entries(text):
        value = "true" if given is None else given
        if key in _KEPT.get(section, ()) and (section, key) not in without and _PLAIN.fullmatch(value):
            kept.setdefault(section, []).append(f"\t{key} = {value}\n")
    return "".join(f"[{name}]\n{''.join(lines)}" for name, lines in kept.items())


def object_format(git: GitDir | None) -> str:
    """`sha256` when the repository says so, else `sha1`."""
    try:
        text = read_text(git.common, "config") if git else ""
    except (FileError, OSError):
        text = ""
    return "sha256" if ("extensions", "objectformat", "sha256") in entries(text.lower()) else "sha1"


def exclude_rules(git: GitDir | None) -> bytes:
    """The ignore rules that the user keeps in the repository, outside the tree."""
    file = git.common / "info" / "exclude" if git else None
    return file.read_bytes() if file and is_file(file) else b""


def pointer(tree: Path) -> str | None:
    """What is in the `.git` file inside; None when there is none, but a folder or nothing."""
    git = git_dir(tree)
    if git is None or git.own == tree / ".git":
        return None
    return f"gitdir: {PLACE}/{git.own.relative_to(git.common)}".removesuffix("/.") + "\n"


def git_mounts(tree: Path, root: str, view: Path) -> tuple[Mount, ...]:
    """Mounts, outer first, that show the git directory of `tree`, which is at `root` inside; () without one.

    `view` is a new folder of ours for the files that are shown instead of the user's.
    """
    git = git_dir(tree)
    if git is None:
        return ()
    elsewhere = git.own != tree / ".git"
    place = PLACE if elsewhere else f"{root}/.git"
    empty = view / "empty"
    empty.mkdir(parents=True, mode=0o755)
    mounts = [Mount(str(git.common), place)]

    def instead(target: str, text: str) -> None:
        made = view / f"file-{len(mounts)}"
        made.write_text(text)
        made.chmod(0o644)
        mounts.append(Mount(str(made), target))

    for folder in _repositories(git.common):
        inside = f"{place}/{folder.relative_to(git.common)}".removesuffix("/.")
        # a submodule's own leads from where its git directory lies on the host
        without = [("core", "worktree")] if elsewhere and folder == git.common else []
        for name in ("config", "config.worktree"):
            if is_file(folder / name):
                instead(f"{inside}/{name}", safe_config(_read(folder / name), without=without))
        if is_folder(folder / "hooks"):
            mounts.append(Mount(str(empty), f"{inside}/hooks"))
    if git.own != git.common:
        instead(f"{place}/{git.own.relative_to(git.common)}/commondir", "../..\n")
    return tuple(mounts)


def _repositories(git: Path) -> list[Path]:
    """The git directory itself, those of its submodules at any depth, and those of linked worktrees."""
    found = [git]
    for kept in ("modules", "worktrees"):
        for folder, names, files in os.walk(git / kept):
            if "HEAD" in files:
                found.append(Path(folder))
                names[:] = [name for name in names if name == "modules"]
    return found


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace")
