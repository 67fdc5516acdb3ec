"""What the sandbox sees of the user's `.git`: everything read-only, less what could hold a secret or run.

The configuration is read by us, as text; git itself is not asked.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from sandbox.base import Mount

_SECTION = re.compile(r'\s*\[\s*([A-Za-z0-9.-]+)\s*("(?:[^"\\]|\\.)*")?\s*\](.*)')
_ENTRY = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*([A-Za-z0-9._/-]*)\s*)?(?:[;#].*)?$")
_KEPT = {
    "core": ("repositoryformatversion", "filemode", "bare", "symlinks", "ignorecase", "worktree"),
    "extensions": ("objectformat", "refstorage"),
}


def safe_config(text: str) -> str:
    """Only the entries that say how the repository is stored: no remotes, hooks, filters or includes."""
    kept: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        if match := _SECTION.match(line):
            section = "" if match[2] else match[1].lower()
            line = match[3]
        entry = _ENTRY.match(line)
        if entry and entry[1].lower() in _KEPT.get(section, ()):
            value = "true" if entry[2] is None else entry[2]
            kept.setdefault(section, []).append(f"\t{entry[1].lower()} = {value}\n")
    return "".join(f"[{name}]\n{''.join(lines)}" for name, lines in kept.items())


def object_format(tree: Path) -> str:
    """`sha256` when the tree's own repository says so, else `sha1`."""
    config = tree / ".git" / "config"
    text = _read(config) if _is(config, stat.S_ISREG) else ""
    return "sha256" if re.search(r"objectformat = sha256$", safe_config(text), re.M | re.I) else "sha1"


def exclude_rules(tree: Path) -> bytes:
    """The ignore rules that the user keeps in the repository, outside the tree."""
    file = tree / ".git" / "info" / "exclude"
    return file.read_bytes() if _is(file, stat.S_ISREG) else b""


def git_mounts(tree: Path, root: str, view: Path) -> tuple[Mount, ...]:
    """Mounts, outer first, that show `tree/.git` at `root/.git`; () when it is not a plain folder.

    `view` is a new folder of ours for the files that are shown instead of the user's.
    """
    git = tree / ".git"
    if not _is(git, stat.S_ISDIR) or not _is(git / "config", stat.S_ISREG):
        return ()
    empty = view / "empty"
    empty.mkdir(parents=True, mode=0o755)
    mounts = [Mount(str(git), f"{root}/.git")]
    for folder in _repositories(git):
        inside = f"{root}/.git/{folder.relative_to(git)}".removesuffix("/.")
        for name in ("config", "config.worktree"):
            if _is(folder / name, stat.S_ISREG):
                safe = view / f"config-{len(mounts)}"
                safe.write_text(safe_config(_read(folder / name)))
                safe.chmod(0o644)
                mounts.append(Mount(str(safe), f"{inside}/{name}"))
        if _is(folder / "hooks", stat.S_ISDIR):
            mounts.append(Mount(str(empty), f"{inside}/hooks"))
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


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.lstat().st_mode)
    except OSError:
        return False


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace")
