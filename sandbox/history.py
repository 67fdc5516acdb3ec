"""Undo and redo of what was done in a fork: a line of snapshots, and the place on it where the fork is."""

from __future__ import annotations

from sandbox.rules import is_litter
from sandbox.snapshot import Snapshot
from sandbox.workspace import Fork


class History:
    """One fork's. Record before and after each step; nothing may run in the fork meanwhile.

    What only test runners and compilers leave behind, and mere times, are no step of their own: they join the
    one before.
    """

    def __init__(self, fork: Fork) -> None:
        self._fork = fork
        self._states: list[Snapshot] = []
        self._at = 0
        self.lost: tuple[str, ...] = ()
        """What the last undo or redo could not make as it was: large files, installed packages, devices."""

    async def record(self, label: str) -> tuple[str, ...]:
        """Keep the fork as it is now, and forget what was undone before it.

        Returns the paths that changed since the last state; with none of them the history stays as it was.
        The first call only gives the state to go back to.
        """
        now = await self._fork.snapshot(label)
        if not self._states:
            self._states = [now]
            return ()
        touched = await self._fork.touched(self._states[self._at], now)
        if all(is_litter(path.rstrip("/")) for path in touched):
            self._states[self._at] = now
            return ()
        self._states[self._at + 1 :] = [now]
        self._at += 1
        return touched

    async def undo(self) -> tuple[str, ...]:
        """Go back over the last step that changed something; returns the paths, none when there is none."""
        return await self._go(-1)

    async def redo(self) -> tuple[str, ...]:
        """Do what was undone last once more; returns the paths, none when something else was done since."""
        return await self._go(+1)

    async def _go(self, way: int) -> tuple[str, ...]:
        self.lost = ()
        await self.record("now")
        at = self._at + way
        if not 0 <= at < len(self._states):
            return ()
        now, wanted = self._states[self._at], self._states[at]
        await self._fork.restore(wanted)
        self._at = at
        if wanted.unkept or now.unkept:
            # this state is from now on what could be made of it: what is left of a step is no new one
            self._states[at] = await self._fork.snapshot(wanted.label)
            self.lost = wanted.unlike(self._states[at])
        touched = await self._fork.touched(now, wanted)
        return tuple(path for path in touched if path not in self.lost)
