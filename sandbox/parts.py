"""A tool's folder, shown by its parts: files that may hold a person's tokens are not among them.

An empty file mounted over such a file would hide it only until the host replaces it: the kernel takes a mount
away from a name that is renamed over or removed elsewhere, and a file that is made later has none. So the
folder itself is not shown, only what was found in it, each part by a mount of its own on an empty file
system. Whatever the host renames or makes beside the parts while the sandbox lives has no way into it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sandbox.base import Mount

SECRETS = (
    ".condarc",
    ".netrc",
    ".npmrc",
    ".pypirc",
    "cargo/config.toml",
    "cargo/credentials",
    "cargo/credentials.toml",
    "condarc",
    "etc/npmrc",
    "etc/pip.conf",
    "etc/uv/uv.toml",
    "pip.conf",
)
"""Files of a tool's folder that may hold a person's tokens; `cargo` as where /usr/local has it."""


def has_parts(folder: Path) -> bool:
    """True for a prefix, where installers look for such files; packages and caches are shown whole."""
    whole = folder.name == "site-packages"
    return not whole and ((folder / "bin").is_dir() or (folder / "pyvenv.cfg").is_file())


def laid_out(mounts: Iterable[Mount]) -> list[Mount]:
    """The mounts to make, outer ones first: those by parts are an empty file system and their parts.

    Of several with one target the last counts.
    """
    chosen = ordered(mounts)
    closed = {Path(mount.target) for mount in chosen if mount.by_parts}
    for mount in chosen:
        closed |= _secrets(mount) if mount.by_parts else set()
    made: list[Mount] = []
    for mount in chosen:
        made += _parts(mount, closed) if mount.by_parts else [mount]
    return ordered(made)


def ordered(mounts: Iterable[Mount]) -> list[Mount]:
    """Outer mounts first, so that none hides an inner one; of several with one target the last."""
    by_target = {mount.target: mount for mount in mounts}
    return sorted(by_target.values(), key=lambda mount: mount.target.rstrip("/").count("/"))


def _secrets(mount: Mount) -> set[Path]:
    """By their paths inside, wherever in the folder a link of such a name leads."""
    real, target = Path(mount.source).resolve(), Path(mount.target)
    found = {target / name for name in SECRETS}
    for name in SECRETS:
        file = (real / name).resolve()
        if file.is_relative_to(real):
            found.add(target / file.relative_to(real))
    return found


def _parts(mount: Mount, closed: set[Path]) -> Iterator[Mount]:
    yield Mount("", mount.target)
    real = Path(mount.source).resolve()
    yield from _below(real, real, Path(mount.target), closed)


def _below(root: Path, folder: Path, target: Path, closed: set[Path]) -> Iterator[Mount]:
    """What is in a folder, whole where nothing below is closed. A link is followed inside of `root` only."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            inside = target / entry.name
            real = Path(entry.path).resolve()
            shown = Path(os.path.normpath(target / os.path.relpath(real, folder)))
            if not real.is_relative_to(root) or not {inside, shown}.isdisjoint(closed):
                continue
            if not entry.name.isprintable() or not (real.is_dir() or real.is_file()):
                continue
            if not any(each.is_relative_to(shown) for each in closed):
                yield Mount(str(real), str(inside))
            elif not entry.is_symlink():
                yield from _below(root, real, inside, closed)
