"""Make folders from tables, and take pictures of them to compare."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]

Node = tuple[int, bytes]
"""Git's mode and the content, or a symlink's target."""
Shape = dict[str, tuple[int, int | None, bytes]]


def git(folder: Path, *args: str) -> str:
    done = subprocess.run([*GIT, *args], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def make(root: Path, files: Mapping[str, bytes | str | Node]) -> Path:
    """Write files (content, or mode and content); parents are made."""
    root.mkdir(parents=True, exist_ok=True)
    for path, node in files.items():
        mode, data = node if isinstance(node, tuple) else (0o100644, node)
        content = data.encode() if isinstance(data, str) else data
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISLNK(mode):
            os.symlink(content, os.fsencode(file))
        else:
            file.write_bytes(content)
            file.chmod(mode & 0o777)
    return root


def nodes(root: Path, *, skip: tuple[str, ...] = (".git",)) -> dict[str, Node]:
    """Every file and symlink as a table that `make` would make it from; names in `skip` are left out."""
    found: dict[str, Node] = {}
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in skip]
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        for name in [*links, *(name for name in files if name not in skip)]:
            path = Path(folder) / name
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = (0o120000, os.readlink(os.fsencode(path)))
            elif path.is_file():
                found[key] = (0o100755 if path.stat().st_mode & 0o100 else 0o100644, path.read_bytes())
    return found


def picture(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below a folder, `.git` too: mode, times, inode, content. Equal only if untouched."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in ["", *names, *files]:
            path = Path(folder) / name
            info = path.lstat()
            content = b""
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(os.fsencode(path))
            elif stat.S_ISREG(info.st_mode):
                content = path.read_bytes()
            found[str(path.relative_to(root))] = (info.st_mode, info.st_mtime_ns, info.st_ino, content)
    return found


def shape(root: Path) -> Shape:
    """Every file, symlink and folder: mode, time of change of what is no folder, content."""
    return {
        path: (mode, None if stat.S_ISDIR(mode) else mtime, content)
        for path, (mode, mtime, _, content) in picture(root).items()
    }
