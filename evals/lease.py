"""Who works on what: one runner a folder, and a sign of life from each worker.

On one machine the kernel tells (flock, process ids). Between machines that share a folder a file's time of
change does: who holds it touches it every `BEAT_S`, and after three beats without a touch it is free.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from evals.commit import writing

BEAT_S = 10.0
"""Seconds between two signs of life."""
MISSED = 3
"""After so many beats without one, the holder counts as dead."""
_LENGTH = 256
"""Bytes of a lease; a host's name has at most 64."""


class RunBusy(Exception):
    """Another runner works on the folder. Exit code 1."""

    exit_code = 1
    remedy = "wait for it, or end it; its run can then be resumed"


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lease. `born` tells a process from a later one of the same id."""

    host: str
    pid: int
    born: str
    at: str
    """ISO 8601."""

    @classmethod
    def me(cls) -> Holder:
        pid = os.getpid()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), pid, born(pid), now)


def born(pid: int) -> str:
    """When a process was started, in the kernel's ticks with the boot's id; "" when it is no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        state, *fields = stat.rpartition(")")[2].split()
        return "" if state in "ZX" else f"{_boot()}:{fields[18]}"
    except OSError:
        return ""


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def alive(lease: Path, now: float) -> bool:
    """Whether the holder that a lease names may still be at it. `now` is the file system's time."""
    try:
        holder = msgspec.json.decode(lease.read_bytes(), type=Holder)
        touched = lease.stat().st_mtime
    except (OSError, msgspec.DecodeError):
        return False
    if holder.host == socket.gethostname():
        return born(holder.pid) == holder.born != ""
    return now - touched < MISSED * BEAT_S


@contextlib.contextmanager
def hold(lock: Path) -> Iterator[None]:
    """Be the only one that holds the lock file. Raises RunBusy with who holds it, CannotWrite."""
    with writing(lock):
        file = lock.open("a+b", buffering=0)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusy(_who(lock)) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise  # else there are no locks here, and the sign of life has to do
        with writing(lock):
            if alive(lock, file_system_time(lock.parent)):
                raise RunBusy(_who(lock))
            file.truncate(0)
            file.write(msgspec.json.encode(Holder.me()))
        try:
            with heartbeat(lock):
                yield
        finally:
            file.truncate(0)


@contextlib.contextmanager
def heartbeat(lease: Path) -> Iterator[None]:
    """Touch the lease every `BEAT_S` from a thread of its own."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(lease)

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def file_system_time(folder: Path) -> float:
    """The time that the file system puts on files: a server's clock may be another than ours."""
    probe = folder / f".part-clock-{socket.gethostname()}-{os.getpid()}.tmp"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _who(lock: Path) -> str:
    try:
        holder = msgspec.json.decode(lock.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return f"{lock.parent} is being worked on by another process"
    return f"{lock.parent} is being worked on by process {holder.pid} on {holder.host}, since {holder.at}"


def grant(lease: Path) -> bool:
    """Make a lease for this process; False when there is one. Raises CannotWrite."""
    with writing(lease):
        try:
            with lease.open("xb", buffering=0) as file:
                file.write(_mine())
        except FileExistsError:
            return False
        except OSError:
            lease.unlink(missing_ok=True)
            raise
    return True


def take_over(lease: Path) -> None:
    """Put this process into a lease that another one made for it, in one write over the same bytes.

    A new file in its place would be brought to the disk at once by some file systems.
    """
    with writing(lease), lease.open("r+b", buffering=0) as file:
        file.write(_mine())


def _mine() -> bytes:
    """A lease of this process; each is as long as any other."""
    return msgspec.json.encode(Holder.me()).ljust(_LENGTH)
