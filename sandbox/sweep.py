"""Tidying up after pawls that are no more: cut-off accepts are put back, copies removed.

What one workspace left behind never stands in another's way: what cannot be put back is told and stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sandbox.base import SandboxError
from sandbox.journal import recover
from sandbox.naming import plain
from sandbox.overlay import unmount_below
from sandbox.tree import remove_path

COPIES = ("forks", "base", "view", "shadow", "listing", "snapshots")
"""What a workspace keeps in its state folder while it is open."""


class Swept(msgspec.Struct, frozen=True):
    """What tidying up came to."""

    restored: tuple[str, ...] = ()
    """Paths of the user's that were put back."""
    stuck: tuple[str, ...] = ()
    """A sentence for each workspace that could not be tidied up, with its remedy."""

    @property
    def told(self) -> list[str]:
        """A line for the person for each thing that was put back."""
        return [f"put back after an accept that was cut off: {plain(path)}" for path in self.restored]


def sweep(folder: Path) -> Swept:
    """Tidy up what nobody uses in `folder`, which holds the states of many workspaces. Blocking."""
    restored: list[str] = []
    stuck: list[str] = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        with held(place) as ours:
            if not ours:
                continue
            try:
                restored += recover(place)
            except SandboxError as error:
                stuck.append(str(error))
            try:
                remove_copies(place)
                if not any((place / "accepts").glob("*")):
                    remove_path(place)
            except (SandboxError, OSError) as error:
                stuck.append(f"{place} cannot be tidied up: {error}")
    return Swept(tuple(restored), tuple(stuck))


def remove_copies(state: Path) -> None:
    """Remove what a workspace keeps only while it is open."""
    unmount_below(state)
    for name in COPIES:
        remove_path(state / name)


@contextlib.contextmanager
def held(state: Path, mode: int = os.O_RDWR) -> Iterator[bool]:
    """Hold the lock of a workspace's state; False when there is none or another process has it.

    `mode` os.O_RDONLY is for who only wants to know, in a state that may be read-only.
    """
    try:
        lock = os.open(state / "lock", mode | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
