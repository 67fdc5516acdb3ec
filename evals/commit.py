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
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    return commit_all([(target, content)])[0]


def commit_all(items: Sequence[tuple[Path, bytes]]) -> list[bool]:
    """Commit each, their folders brought to the disk once. Raises CannotWrite; then some may be committed."""
    made: list[bool] = []
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(_part(target, content)) for target, content in items]
        for part in parts:
            _sync(part)
        for (target, _), part in zip(items, parts, strict=True):
            with writing(target):
                try:
                    os.link(part, target)
                    made.append(True)
                except FileExistsError:
                    made.append(False)
        for folder in {target.parent for (target, _), new in zip(items, made, strict=True) if new}:
            _sync(folder)
    return made


def replace(target: Path, content: bytes, *, durable: bool = True) -> None:
    """Create or replace `target` whole. Raises CannotWrite.

    What is not durable can be made again: it survives a kill of the process, but not one of the machine.
    """
    with writing(target), _part(target, content) as part:
        if durable:
            _sync(part)
        part.replace(target)
        if durable:
            _sync(target.parent)


def write_all(files: Mapping[Path, bytes], folders: Iterable[Path] = ()) -> None:
    """Create each, durably, in folders that nobody else knows of: what is half there does not count yet.

    `folders` are further ones whose names are brought to the disk. Raises CannotWrite.
    """
    for target, content in files.items():
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _fill(target, content)
    for path in (*files, *{target.parent for target in files}, *folders):
        _sync(path)


def _sync(path: Path) -> None:
    """Bring a file's content, or the names in a folder, to the disk."""
    with writing(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def parts(folder: Path) -> list[Path]:
    """What writers that were killed left behind in a folder."""
    return list(folder.glob(f"{_PREFIX}*{_SUFFIX}"))


@contextlib.contextmanager
def _part(target: Path, content: bytes) -> Iterator[Path]:
    """A file beside `target` with `content`; gone at the end, however it ends."""
    part = target.with_name(f"{_PREFIX}{socket.gethostname()}-{os.getpid()}-{next(_counter)}{_SUFFIX}")
    try:
        with writing(target):
            _fill(part, content)
        yield part
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _fill(path: Path, content: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn the system's errors into CannotWrite, those of a full disk into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"the disk is full ({error.strerror}): {target} was not written") from error
        raise CannotWrite(f"{target} cannot be written: {error.strerror or error}") from error
