"""Overlay mounts of one workspace: made on the host by root, else in a namespace that a helper process holds.

On the host pawl itself, docker's daemon and bubblewrap all see them, and they outlive a pawl that is killed:
`unmount_below` belongs before every removal. In the namespace they are seen through the helper's /proc entry
and by what is started by way of `enter`; they are gone with the helper, which ends when pawl does.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sandbox import mounting
from sandbox.base import SandboxError
from sandbox.beneath import Beneath, Owner
from sandbox.facts import mount_points
from sandbox.programs import find, need
from sandbox.tree import Copier, Listing, relock, walk

_MARKS = tuple(f"{kind}.overlay.{mark}" for kind in ("trusted", "user") for mark in ("opaque", "redirect"))
"""What a folder of an upper layer says of those below it."""
_END_S = 2.0


class Mounts(Protocol):
    """Where a workspace's overlays are mounted. Blocking; may be used by several threads."""

    enter: tuple[str, ...]
    """Words before a command that is to see what is mounted."""

    def seen(self, path: Path) -> Path:
        """Where pawl finds a path that lies in a mount."""
        ...

    def mount(
        self, tree: Path, lowers: Sequence[Path], upper: Path | None = None, work: Path | None = None
    ) -> None:
        """See `mounting.mount`. Raises OSError."""
        ...

    def unmount(self, tree: Path) -> None: ...

    def close(self) -> None:
        """End the helper. Idempotent."""
        ...


class HostMounts:
    """Made by root."""

    enter: tuple[str, ...] = ()

    def seen(self, path: Path) -> Path:
        return path

    def mount(
        self, tree: Path, lowers: Sequence[Path], upper: Path | None = None, work: Path | None = None
    ) -> None:
        mounting.mount(*_words(tree, lowers, upper, work))

    def unmount(self, tree: Path) -> None:
        mounting.unmount(os.fspath(tree))

    def close(self) -> None: ...


class HeldMounts:
    """Made by a helper in namespaces of its own, for an ordinary user. Raises OSError when it cannot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helper = subprocess.Popen(
            [sys.executable, "-I", "-S", mounting.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        try:
            self._answer()
        except OSError:
            self.close()
            raise
        self._root = Path(f"/proc/{self._helper.pid}/root")
        pid = str(self._helper.pid)
        self.enter: tuple[str, ...] = (
            need("nsenter"),
            "--user",
            "--mount",
            "--target",
            pid,
            "--preserve-credentials",
            "--",
        )

    def seen(self, path: Path) -> Path:
        return self._root / path.relative_to("/")

    def mount(
        self, tree: Path, lowers: Sequence[Path], upper: Path | None = None, work: Path | None = None
    ) -> None:
        self._ask(_words(tree, lowers, upper, work))

    def unmount(self, tree: Path) -> None:
        self._ask((os.fspath(tree),))

    def close(self) -> None:
        assert self._helper.stdin is not None and self._helper.stdout is not None
        with self._lock:
            self._helper.stdin.close()
            self._helper.stdout.close()
            try:
                self._helper.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._helper.kill()
                self._helper.wait()

    def _ask(self, words: Sequence[object]) -> None:
        with self._lock:
            assert self._helper.stdin is not None
            if self._helper.stdin.closed:
                return
            self._helper.stdin.write(json.dumps(words).encode() + b"\n")
            self._helper.stdin.flush()
            self._answer()

    def _answer(self) -> None:
        assert self._helper.stdout is not None
        line = self._helper.stdout.readline()
        if not line:
            raise OSError("no user namespace can be made")
        if error := int(line):
            raise OSError(error, os.strerror(error))


def _words(
    tree: Path, lowers: Sequence[Path], upper: Path | None, work: Path | None
) -> tuple[str, list[str], str | None, str | None]:
    return (
        os.fspath(tree),
        [os.fspath(lower) for lower in lowers],
        None if upper is None else os.fspath(upper),
        None if work is None else os.fspath(work),
    )


def open_mounts(state: Path) -> Mounts | str:
    """Mounts for a workspace in this folder, or why its forks cannot be overlays; it is tried."""
    mounts: Mounts
    if os.geteuid() == 0:
        mounts = HostMounts()
    elif find("nsenter") is None:
        return "nsenter is not installed"
    else:
        try:
            mounts = HeldMounts()
        except OSError as error:
            return error.strerror or str(error)
    if (why := _refusal(mounts, state)) is not None:
        mounts.close()
        return why
    return mounts


def kind_of_forks(state: Path) -> str:
    """What forks in this folder are, for a person."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        mounts = open_mounts(state)
    except OSError as error:
        return f"not known: {error}"
    if isinstance(mounts, str):
        return f"copies ({mounts})"
    mounts.close()
    return "overlay mounts"


def _refusal(mounts: Mounts, state: Path) -> str | None:
    with tempfile.TemporaryDirectory(dir=state, prefix="overlay-") as place:
        lower, upper, work, tree = (Path(place) / name for name in ("lower", "upper", "work", "tree"))
        for folder in (lower, lower / "folder", upper, work, tree):
            folder.mkdir()
        (lower / "file").touch()
        try:
            mounts.mount(tree, [lower], upper, work)
        except OSError as error:
            return f"the kernel refuses overlay mounts here: {error.strerror}"
        try:
            file, folder = mounts.seen(tree) / "file", mounts.seen(tree) / "folder"
            same = file.stat().st_ino == (lower / "file").stat().st_ino
            file.unlink()
            folder.rmdir()
            folder.mkdir()  # needs extended attributes, which not every file system has
        except OSError as error:
            return f"an overlay mount cannot be used here: {error.strerror}"
        finally:
            mounts.unmount(tree)
            (work / "work").chmod(0o700)
    return None if same else "an overlay mount gives files other inode numbers here"


def unmount_below(folder: Path) -> None:
    """Take all overlays that are mounted on the host in a folder of ours away, as before its removal."""
    for point in mount_points("overlay"):
        if point.is_relative_to(folder):
            mounting.unmount(os.fspath(point))


def copy_upper(source: Path, target: Path, owner: Owner | None) -> list[str]:
    """Copy what a mount has kept of changes into the new folder `target`, for another mount.

    Nothing may write through the mount meanwhile. Returns the sockets, FIFOs and devices, which are not
    copied: what the layers have in their place must be removed. Raises SandboxError when the rest cannot be
    copied whole.
    """
    special = []
    with Beneath(source, unlock=True) as origin, Beneath(target, owner) as copy:
        listing = walk(origin)
        try:
            copier = Copier(origin, copy)
            _, failed = copier.copy(listing)
            for path, why in (failed | listing.left_out).items():
                raise SandboxError(f"cannot copy {path!r} into a fork: {why}")
            for path in listing.special:
                info = origin.stat(path)
                if info is not None and is_whiteout(info):
                    head, _, name = path.rpartition("/")
                    with copy.folder(head) as fd:
                        os.mknod(name, stat.S_IFCHR, dir_fd=fd)
                else:
                    special.append(path)
            _copy_marks(origin, copy, listing)
            copier.finish(listing)
        finally:
            relock(origin, listing)
    return special


def is_whiteout(info: os.stat_result) -> bool:
    """True for the mark, in an upper layer, of what is no more."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _copy_marks(origin: Beneath, copy: Beneath, listing: Listing) -> None:
    for path in listing.folders:
        with origin.folder(path) as old, copy.folder(path) as new:
            for mark in set(os.listxattr(f"/proc/self/fd/{old}")).intersection(_MARKS):
                os.setxattr(f"/proc/self/fd/{new}", mark, os.getxattr(f"/proc/self/fd/{old}", mark))
