"""Overlay mounts: a folder that shows others, and keeps in one of its own what is changed in it.

    mount(tree, lowers, upper, work)    `tree` shows the `lowers`, the first on top, and writes to `upper`

The mounts are made on the host, where pawl itself, docker's daemon and bubblewrap all see them; that takes
root. They outlive a pawl that is killed: `unmount_below` belongs before every removal.
The options are explained in the kernel's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import ctypes
import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sandbox.beneath import Beneath, Owner
from sandbox.facts import mount_points
from sandbox.tree import Copier, Listing, relock, walk

_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MNT_DETACH = 2
_OPTIONS = "redirect_dir=on,index=off,metacopy=off"
_MARKS = ("trusted.overlay.opaque", "trusted.overlay.redirect")
"""What a folder of an upper layer says of those below it."""


def refusal(state: Path) -> str | None:
    """Why forks in this folder cannot be overlay mounts; None when they can, which was tried."""
    if os.geteuid() != 0:
        return "only root can mount"
    with tempfile.TemporaryDirectory(dir=state, prefix="overlay-") as place:
        lower, upper, work, tree = (Path(place) / name for name in ("lower", "upper", "work", "tree"))
        for folder in (lower, upper, work, tree):
            folder.mkdir()
        (lower / "file").touch()
        try:
            mount(tree, [lower], upper, work)
        except OSError as error:
            return f"the kernel refuses overlay mounts here: {error.strerror}"
        try:
            same = (tree / "file").stat().st_ino == (lower / "file").stat().st_ino
            (tree / "file").unlink()
        except OSError as error:
            return f"an overlay mount here cannot be written to: {error.strerror}"
        finally:
            unmount(tree)
    return None if same else "overlay mounts here give files other inode numbers"


def mount(tree: Path, lowers: Sequence[Path], upper: Path | None = None, work: Path | None = None) -> None:
    """Mount at `tree`; read-only without `upper` and `work`, which must be empty or used so before.

    Nothing may write to `lowers` as long as it is mounted. Raises OSError.
    """
    with ExitStack() as opened:

        def handle(folder: Path) -> str:
            """A short path without the characters that mean something in options."""
            fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, fd)
            return f"/proc/self/fd/{fd}"

        options = f"lowerdir={':'.join(map(handle, lowers))},{_OPTIONS}"
        flags = _MS_NOSUID | _MS_NODEV
        if upper is not None and work is not None:
            # volatile: a fork does not outlive a crash, so its files need not be synced
            options += f",upperdir={handle(upper)},workdir={handle(work)},volatile"
        else:
            flags |= _MS_RDONLY
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"pawl", os.fsencode(tree), b"overlay", ctypes.c_ulong(flags), options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), os.fspath(tree))


def unmount(tree: Path) -> None:
    """Take the mount away; it is no error when there is none. What has it open keeps it."""
    ctypes.CDLL(None).umount2(os.fsencode(tree), _MNT_DETACH)


def unmount_below(folder: Path) -> None:
    """Take all overlay mounts in a folder of ours away, as before its removal."""
    for point in mount_points("overlay"):
        if point.is_relative_to(folder):
            unmount(point)


def copy_upper(source: Path, target: Path, owner: Owner | None) -> None:
    """Copy what a mount has kept of changes into the new folder `target`, for another mount.

    Nothing may write through the mount meanwhile.
    """
    with Beneath(source, unlock=True) as origin, Beneath(target, owner) as copy:
        listing = walk(origin)
        copier = Copier(origin, copy)
        copier.copy(listing)
        for path in listing.special:
            info = origin.stat(path)
            if info is not None and is_whiteout(info):
                head, _, name = path.rpartition("/")
                with copy.folder(head) as fd:
                    os.mknod(name, stat.S_IFCHR, dir_fd=fd)
        _copy_marks(origin, copy, listing)
        copier.finish(listing)
        relock(origin, listing)


def is_whiteout(info: os.stat_result) -> bool:
    """True for the mark, in an upper layer, of what is no more."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _copy_marks(origin: Beneath, copy: Beneath, listing: Listing) -> None:
    for path in listing.folders:
        with origin.folder(path) as old, copy.folder(path) as new:
            for mark in set(os.listxattr(f"/proc/self/fd/{old}")).intersection(_MARKS):
                os.setxattr(f"/proc/self/fd/{new}", mark, os.getxattr(f"/proc/self/fd/{old}", mark))
