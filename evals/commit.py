"""Files that are there whole or not at all, and that the first writer keeps.

`commit` writes beside the target, brings that to the disk, and gives it the target's name by a hard link:
the link fails when the name is taken, also over NFS, and nobody ever reads half a file.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PREFIX, _SUFFIX = ".part-", ".tmp"
_counter = itertools.count()


class CannotWrite(Exception):
    """Nothing was half-written; once it is mended the run can be resumed. Exit code 1."""

    exit_code = 1
    remedy = "mend that, then `pawl eval resume` goes on where it stopped"


class DiskFull(CannotWrite):
    remedy = "make room there, then `pawl eval resume` goes on where it stopped"


def commit(target: Path, content: bytes) -> bool:
    """Create `target` with `content`, durably; False when it was there first. Raises CannotWrite."""
    with writing(target), _part(target, content) as part:
        try:
            os.link(part, target)
        except FileExistsError:
            return False
        sync_folder(target.parent)
    return True


def replace(target: Path, content: bytes, *, durable: bool = True) -> None:
    """Create or replace `target` whole. Raises CannotWrite.

    What is not durable can be made again: it survives a kill of the process, but not one of the machine.
    """
    with writing(target), _part(target, content, durable) as part:
        part.replace(target)
        if durable:
            sync_folder(target.parent)


def write(target: Path, content: bytes) -> None:
    """Create `target` under a name that nobody else knows of: what is half there does not count yet.

    Its content is durable, its name is once its folder is synced. Raises CannotWrite; then it is not there.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fill(target, content, durable=True)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk. Raises CannotWrite."""
    with writing(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def parts(folder: Path) -> list[Path]:
    """What writers that were killed left behind in a folder."""
    return list(folder.glob(f"{_PREFIX}*{_SUFFIX}"))


@contextlib.contextmanager
def _part(target: Path, content: bytes, durable: bool = True) -> Iterator[Path]:
    """A file beside `target` with `content`, on the disk; gone at the end, however it ends."""
    part = target.with_name(f"{_PREFIX}{socket.gethostname()}-{os.getpid()}-{next(_counter)}{_SUFFIX}")
    try:
        _fill(part, content, durable)
        yield part
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _fill(path: Path, content: bytes, durable: bool) -> None:
    with path.open("xb", buffering=0) as file:
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        if durable:
            os.fsync(file.fileno())


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn the system's errors into CannotWrite, those of a full disk into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"the disk is full ({error.strerror}): {target} was not written") from error
        raise CannotWrite(f"{target} cannot be written: {error.strerror or error}") from error
