"""Files that have no name any more and still take room on the disk: who has them open, and how much it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Dict, Set, Tuple

_IN_MEMORY = ("/tmp", "/dev/shm")
"""Where /tmp is no file system of its own, as on the host, its files are the disk's."""


class Held:
    """What some processes hold: `blocks` by file, and whether that is `all` of it.

    There are ways to hold a file that do not show how large it is: a mapping, a message that nobody has
    taken from its socket yet, and a process that hides its descriptors (PR_SET_DUMPABLE).
    """

    def __init__(self, root: str, pids: Iterable[int]) -> None:
        self._elsewhere = _memory() - {os.stat(root).st_dev}
        self.blocks: Dict[Tuple[int, int], int] = {}
        self.all = True
        mapped: Set[Tuple[int, int]] = set()
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended
                try:
                    self._opened(pid)
                    mapped |= self._mapped(pid)
                except PermissionError:
                    self.all = False
        self.all &= mapped <= set(self.blocks)

    def _opened(self, pid: int) -> None:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                status = os.stat(f"/proc/{pid}/fd/{name}")
                if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                    if status.st_dev not in self._elsewhere:
                        self.blocks[status.st_dev, status.st_ino] = status.st_blocks
                elif stat.S_ISSOCK(status.st_mode):
                    with open(f"/proc/{pid}/fdinfo/{name}", "rb") as file:
                        self.all &= not any(
                            line.startswith(b"scm_fds:") and int(line.split()[1]) for line in file
                        )

    def _mapped(self, pid: int) -> Set[Tuple[int, int]]:
        """(device, inode) of the files without a name that a process has mapped."""
        found = set()
        with open(f"/proc/{pid}/maps", "rb") as file:
            for line in file:
                if line.endswith(b" (deleted)\n"):
                    device, inode = line.split(None, 5)[3:5]
                    major, minor = (int(part, 16) for part in device.split(b":"))
                    if os.makedev(major, minor) not in self._elsewhere:
                        found.add((os.makedev(major, minor), int(inode)))
        return found


def _memory() -> Set[int]:
    """The devices of what is in memory, which has limits of its own."""
    devices = set()
    for path in _IN_MEMORY:
        with suppress(OSError):
            devices.add(os.stat(path).st_dev)
    descriptor = os.memfd_create("device")
    devices.add(os.fstat(descriptor).st_dev)
    os.close(descriptor)
    return devices
