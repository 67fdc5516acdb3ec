"""Who passes a limit that no kernel holds here is ended by the agent, which looks every LOOK_S seconds."""

from __future__ import annotations

import time
from typing import Dict, List

from sandbox.pid1 import processes, usage
from sandbox.pid1.family import Family
from sandbox.pid1.frames import Header
from sandbox.pid1.records import Command

LOOK_S = 0.1
_PAUSE = 10
"""How much longer than the weighing of memory the time until the next one is."""


class Guard:
    """Looks at the disk, and at memory and processes where the host says that nobody else does."""

    def __init__(self, family: Family, disk: usage.Disk, limits: Header) -> None:
        self._family = family
        self._disk = disk
        self._watched = (
            ("processes", limits["crowd_watched"], limits["pids"]),
            ("memory", limits["memory_watched"], limits["memory_bytes"]),
        )
        self._harmless = 0
        self._weigh_at = 0.0

    def look(self) -> bool:
        """End what passes a limit; True when the workspace should be measured."""
        free = self._disk.free()
        for command in self._running():
            if self._disk.robs(command.free, free):
                self._pass(command, "host")
        if any(watched for _, watched, _ in self._watched):
            self._look_at_shares()
        return self._disk.suspicious(free)

    def measured(self, size: List[int]) -> None:
        """Hear how large the workspace is. All that runs is ended for it: who wrote is not known."""
        bound = self._disk.judge(size)
        for command in self._running() if bound else ():
            self._pass(command, bound)

    def _look_at_shares(self) -> None:
        """The command or job with the largest share of what is too much in all is ended."""
        table = processes.living()
        owners = {pid: self._family.owner(pid, table) for pid in self._family.mine(table)}
        shares = usage.shares(owners)
        for what, watched, most in self._watched:
            used = {owner: getattr(share, what) for owner, share in shares.items()}
            if what == "memory" and watched and sum(used.values()) > most:
                used = self._weighed(owners, sum(used.values()), most)
            running = self._running()
            if watched and running and sum(used.values()) > most:
                self._pass(max(running, key=lambda command: used.get(command.number, 0)), what)

    def _weighed(self, owners: Dict[int, int | None], counted: int, most: int) -> Dict[int | None, int]:
        """The memory of each owner, what forks share counted once; nothing while it cannot be too much.

        It takes its time: again at once only if what was `counted` grew by more than was left, else after a
        pause, for shared pages become private by being written, which the count does not tell.
        """
        began = time.monotonic()
        if counted <= self._harmless and began < self._weigh_at:
            return {}
        used = {owner: share.memory for owner, share in usage.shares(owners, weighed=True).items()}
        self._harmless = counted + most - sum(used.values())
        self._weigh_at = began + _PAUSE * (time.monotonic() - began)
        return used

    def _running(self) -> List[Command]:
        return [command for command in self._family.commands.values() if command.status is None]

    def _pass(self, command: Command, bound: str) -> None:
        if bound == "memory":
            command.oom = True
        else:
            command.bound = bound
        self._family.end(command)
