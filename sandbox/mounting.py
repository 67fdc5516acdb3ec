"""Overlay mounts by system call. Standard library alone, for it is also a program of its own.

Run as a program it makes a user namespace and a mount namespace, in which an ordinary user may mount, and
mounts there what it is told, until its stdin ends:

    stdin   one line [tree, [lower, ...], upper | null, work | null], or [tree] to unmount
    stdout  one line: the error number, 0 for none

The options are explained in the kernel's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REC, _MS_SLAVE = 1, 2, 4, 0x4000, 1 << 19
_MNT_DETACH = 2
_CLONE_NEWUSER, _CLONE_NEWNS = 0x10000000, 0x20000
OPEN = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def mount(
    tree: str, lowers: Sequence[str], upper: str | None = None, work: str | None = None, *, host: bool = True
) -> None:
    """Let `tree` show the `lowers`, the first on top, and keep what is changed in it in `upper`.

    Read-only without `upper` and `work`, which must be empty. Nothing may write to `lowers` meanwhile.
    `host` false: in a user namespace. Raises OSError.
    """
    with ExitStack() as opened:

        def handle(folder: str) -> str:
            """A short path, without the characters that mean something in options."""
            fd = os.open(folder, OPEN)
            opened.callback(os.close, fd)
            return f"/proc/self/fd/{fd}"

        # an ordinary user's marks are other attributes, and then no folder can be redirected
        marks = "redirect_dir=on" if host else "userxattr"
        options = f"lowerdir={':'.join(map(handle, lowers))},{marks},index=off,metacopy=off"
        flags = _MS_NOSUID | _MS_NODEV
        if upper is None or work is None:
            flags |= _MS_RDONLY
        else:
            # volatile: a fork does not outlive a crash, so its files need not be synced
            options += f",upperdir={handle(upper)},workdir={handle(work)},volatile"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"pawl", os.fsencode(tree), b"overlay", ctypes.c_ulong(flags), options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), tree)


def unmount(tree: str) -> None:
    """Take a mount away; it is no error when there is none. Who has something open in it keeps that."""
    ctypes.CDLL(None).umount2(os.fsencode(tree), _MNT_DETACH)


def _enter() -> None:
    """Go into namespaces of our own, in which we are root. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    if libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _serve() -> None:
    for line in sys.stdin:
        tree, *rest = json.loads(line)
        error = 0
        try:
            if rest:
                mount(tree, *rest, host=False)
            else:
                unmount(tree)
        except OSError as refused:
            error = refused.errno or -1
        print(error, flush=True)


if __name__ == "__main__":
    _enter()
    print(0, flush=True)
    _serve()
