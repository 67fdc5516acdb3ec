"""Who is whose: every process inside is a command's, a job's, a worker's, or nobody's and then dies with any.

A job has a supervisor that all its orphans fall to, so its processes are told by their ancestors alone. An
orphan of a command falls to the agent; its session or its tag tells whose it was. A tag may lie: it can name
another command, which keeps the liar alive until that one ends, but never a job.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Dict

from sandbox.pid1 import processes
from sandbox.pid1.records import Command, Worker

_FORK_S = 2.0
"""How long a fork may take: 0.1 s for each 10 GB or so, and as long as other processes have the CPU."""


class Family:
    """All children of the agent, and how they die."""

    def __init__(self) -> None:
        self.first = os.getpid() == 1
        self.commands: Dict[int, Command] = {}
        """Commands and jobs whose end is not yet told, by number."""
        self.workers: Dict[int, Worker] = {}
        """By pid."""
        self.childless = True
        self._reaped = 0
        self._wake_until = 0.0

    def end(self, command: Command) -> None:
        """Kill all that belongs to a command, now."""
        command.deadline = None
        if not self.first:
            killed, command.survivors = processes.exterminate(
                lambda: self.members(command, processes.living()), self.reap, command.pid
            )
        elif len(self.commands) == 1 and not self.workers:
            killed, command.survivors = processes.exterminate_all(self._reap_more)
        else:
            killed, command.survivors = processes.exterminate_some(
                lambda table: self.members(command, table), self.reap
            )
            self._wake_until = time.monotonic() + _FORK_S
        command.killed += killed
        self.reap()  # the last may have died after it was looked for
        if command.status is None and command.survivors:
            command.status = signal.SIGKILL  # it cannot be killed: report it rather than wait for ever

    def wake(self) -> None:
        """For a while after some were spared, let those run on whose fork took longer than that."""
        if time.monotonic() < self._wake_until:
            processes.wake()

    def end_all(self) -> None:
        """Kill every descendant, for an agent that is not PID 1 and therefore has to do it."""
        for command in self.commands.values():
            processes.send_group(command.pid, signal.SIGKILL)
        processes.exterminate(lambda: processes.below(processes.living(), os.getpid()), self.reap)

    def mine(self, table: processes.Table) -> set[int]:
        """Every process that the agent has to answer for."""
        me = os.getpid()
        return set(table) - {me} if self.first else processes.below(table, me)

    def members(self, command: Command, table: processes.Table) -> set[int]:
        """The processes of `table` that are this command's, or nobody's."""
        return {pid for pid in self.mine(table) if self.owner(pid, table) in (command.number, None)}

    def owner(self, pid: int, table: processes.Table) -> int | None:
        """Number of the request that a process is of: by its ancestors, its session, or its tag."""
        leaders = {command.pid: command for command in self.commands.values()}
        top = pid
        while top in table and top != os.getpid():
            if top in self.workers:
                return self.workers[top].number
            if top in leaders:
                return leaders[top].number
            pid, top = top, table[top].parent
        leader = leaders.get(table[pid].session)
        if leader is not None and not leader.job:
            return leader.number
        tag = processes.tag_of(pid) or ""
        named = self.commands.get(int(tag)) if tag.isdigit() else None
        return named.number if named is not None and not named.job else None

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if pid == 0:
                return
            self._reaped += 1
            for command in self.commands.values():
                if command.pid == pid:
                    command.status = status
            if pid in self.workers:
                self.workers[pid].status = status

    def _reap_more(self) -> tuple[int, bool]:
        before = self._reaped
        self.reap()
        return self._reaped - before, self.childless
