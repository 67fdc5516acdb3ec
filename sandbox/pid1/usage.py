"""How much of the disk, of memory and of processes is used, at little cost.

The file system's own counters tell when a walk over the workspace could find it too large. What grows faster
than the looks come passes a limit by a little.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Dict, List, NamedTuple, Set, Tuple

from sandbox.pid1.frames import Header
from sandbox.pid1.held import Held

_DEPTH = 200
_SLACK_BYTES = 16 * 1024 * 1024
"""What the host's disk may lose during a command without being laid to it."""
_WEIGHING_S = 0.1
_OOM_COUNTERS = (
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/proc/vmstat",
)
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Free(NamedTuple):
    """What a file system has left for the user."""

    bytes: int
    files: int


class Disk:
    """How much the workspace and the disk below it can still take."""

    def __init__(self, root: str, limits: Header) -> None:
        self._root = root
        self._most = Free(limits["workspace_bytes"], limits["workspace_files"])
        self._host_free = limits["host_free_bytes"]
        self._reference = self._opened = self.free()

    def free(self) -> Free:
        now = os.statvfs(self._root)
        return Free(now.f_bavail * now.f_frsize, now.f_favail)

    def suspicious(self, now: Free) -> bool:
        """True when so much was lost since the last measure that the workspace may be too large."""
        best = self._reference = Free(*map(max, zip(self._reference, now)))
        return any(then - left > most // 8 for then, left, most in zip(best, now, self._most))

    def judge(self, size: List[int]) -> str:
        """The bound that a measured (bytes, files) passes, or an empty text."""
        self._reference = self.free()
        over = [used > most for used, most in zip(size, self._most)]
        return "workspace" if over[0] else "files" if over[1] else ""

    def robs(self, began: Free, now: Free) -> bool:
        """True when a command that began with so much free has taken what the host is to keep."""
        return now.bytes < self._host_free and began.bytes - now.bytes > _SLACK_BYTES

    def measure(self, folder: int, pids: Iterable[int], began: int) -> Tuple[int, int]:
        """(bytes, files) below a folder and of removed files that `pids` hold; less once a limit is passed.

        Hard links count once and holes not at all. What cannot be told, for a tree is too deep or forbids to
        be read, or a process hides what it holds, is taken to be all that the disk has lost: since the
        sandbox was opened, or since its running commands began, with `began` bytes free.
        """
        count = _Count(self._most)
        whole = count.add(folder, _DEPTH)
        held = Held(self._root, pids)
        count.bytes += 512 * sum(held.blocks.values())
        count.files += len(held.blocks)
        if not whole or not held.all:
            lost = (began if whole else self._opened.bytes) - self.free().bytes
            count.bytes = max(count.bytes, lost)
        return count.bytes, count.files


class _Count:
    def __init__(self, most: Free) -> None:
        self.bytes = self.files = 0
        self._most = most
        self._linked: Set[Tuple[int, int]] = set()

    def add(self, folder: int, depth: int) -> bool:
        """Count what is below an open folder; False when something lies too deep, or forbids to be read."""
        whole = depth > 0
        for name in os.listdir(folder) if whole else ():
            if self.bytes > self._most.bytes or self.files > self._most.files:
                break
            with suppress(OSError):  # it is gone, or was swapped meanwhile
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                self._take(status)
                if stat.S_ISDIR(status.st_mode):
                    try:
                        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                    except PermissionError:
                        whole = False
                        continue
                    try:
                        whole &= self.add(inner, depth - 1)
                    finally:
                        os.close(inner)
        return whole

    def _take(self, status: os.stat_result) -> None:
        self.files += 1
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            place = status.st_dev, status.st_ino
            if place in self._linked:
                return
            self._linked.add(place)
        self.bytes += status.st_blocks * 512


class Share(NamedTuple):
    """What the processes of one command or job use."""

    processes: int
    memory: int


def shares(owners: Dict[int, int | None], weighed: bool = False) -> Dict[int | None, Share]:
    """The share of each owner, from the owner of each pid. Memory is what is private and no file's.

    A page that a fork left to several processes counts for each of them, unless it is `weighed`: then
    each has its part of it. That takes far longer, so after _WEIGHING_S the rest is counted as before.
    """
    found: Dict[int | None, Share] = {}
    deadline = time.monotonic() + _WEIGHING_S
    for pid, owner in owners.items():
        memory = _weighed(pid) if weighed and time.monotonic() < deadline else None
        if memory is None:
            memory = _counted(pid)
        before = found.get(owner, Share(0, 0))
        found[owner] = Share(before.processes + 1, before.memory + memory)
    return found


def _counted(pid: int) -> int:
    """Bytes of memory that are no file's; 0 of a process that is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _size, resident, shared = map(int, file.read().split()[:3])
    except OSError:
        return 0
    return (resident - shared) * _PAGE


def _weighed(pid: int) -> int | None:
    """The same, each page divided by the number of its users.

    None before Linux 5.4, and of a process that hides its memory (PR_SET_DUMPABLE).
    """
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss_Anon:"):
                return int(line.split()[1]) * 1024
    return None


class OutOfMemory:
    """The kernel's counter of the processes that it killed for memory here."""

    def __init__(self, counters: Tuple[str, ...] = _OOM_COUNTERS) -> None:
        """Of `counters` the first that is there."""
        self._file: int | None = None
        for path in counters:
            with suppress(OSError):
                self._file = os.open(path, os.O_RDONLY)
                break

    def count(self) -> int:
        """0 when the kernel does not tell."""
        if self._file is None:
            return 0
        for line in os.pread(self._file, 1 << 16, 0).split(b"\n"):
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return 0
