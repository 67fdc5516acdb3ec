"""A file system that is not the kernel's own, for tests of trees on a network mount.

    python -m tests.support.fuse FOLDER KIND CMD...

mounts one of kind `fuse.KIND` at FOLDER, which holds the file `a.py`, runs CMD and gives its exit code. With
`gone:` before KIND the server has ended before CMD starts, as when a network goes away. Needs root and a
mount namespace of its own, as `unshare --mount` makes it. It speaks linux/fuse.h, 7.31.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path

FILES = {1: ("", b""), 2: ("a.py", b"x = 1\n")}
"""Node -> name and content; 1 is the folder that holds the rest."""
(LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE) = (1, 2, 3, 14, 15, 17, 18)
(FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET) = (25, 26, 27, 28, 29, 36, 42)
_HEADER = struct.Struct("<IIQQIIIHH")
_ROOT = 1


def attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o644
    return struct.pack("<6Q10I", node, len(FILES[node][1]), 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def entries() -> bytes:
    found = b""
    for at, (node, (name, _)) in enumerate(FILES.items(), start=1):
        if name:
            found += struct.pack("<QQII", node, at, len(name), stat.S_IFREG >> 12) + name.encode()
            found += bytes(-len(found) % 8)
    return found


def answer(opcode: int, node: int, body: bytes) -> bytes | int | None:
    """The payload, an errno, or None for what has no reply."""
    if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
        return None
    if opcode == INIT:
        return struct.pack("<4IHHIIHHI28x", 7, 31, 65536, 0, 12, 9, 65536, 1, 16, 0, 0)
    if opcode == LOOKUP:
        found = next((n for n, (name, _) in FILES.items() if name.encode() == body.rstrip(b"\0")), None)
        return (
            errno.ENOENT if found is None else struct.pack("<4QII", found, 0, 1, 1, 0, 0) + attributes(found)
        )
    if opcode == GETATTR:
        return struct.pack("<QII", 1, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("<QII", 0, 0, 0)
    if opcode in (READ, READDIR):
        _, offset, size = struct.unpack_from("<QQI", body)
        if opcode == READDIR:
            return b"" if offset else entries()
        return FILES[node][1][offset : offset + size]
    if opcode == STATFS:
        return struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
    return b"" if opcode in (RELEASE, RELEASEDIR, FLUSH) else errno.ENOSYS


def serve(device: int) -> None:
    """Answer the kernel until it unmounts."""
    while True:
        try:
            request = os.read(device, 128 * 1024)
        except OSError as error:
            if error.errno == errno.ENOENT:  # the request was taken back
                continue
            return
        _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
        said = answer(opcode, node, request[_HEADER.size :])
        if said is not None:
            failed, payload = (said, b"") if isinstance(said, int) else (0, said)
            os.write(device, struct.pack("<IiQ", 16 + len(payload), -failed, unique) + payload)


def main(folder: str, kind: str, *command: str) -> int:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    kind, gone = kind.removeprefix("gone:"), kind.startswith("gone:")
    if libc.mount(b"test", os.fsencode(folder), f"fuse.{kind}".encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), "cannot mount")
    server = os.fork()
    if server == 0:
        serve(device)
        os._exit(0)
    os.close(device)
    try:
        if gone:
            Path(folder).stat()  # the server has begun
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)
        return subprocess.run(command, check=False).returncode
    finally:
        if not gone:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
