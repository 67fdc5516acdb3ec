"""What pawls that are no more left behind, and what set-ups made: found first, removed only when asked.

Never among it: whatever a living pawl holds (its workspace is locked), pre-images of accepted patches, unless
of one that was cut off and cannot be put back, and session logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import stat
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from sandbox import kept
from sandbox.base import BackendName, Orphan, SandboxError
from sandbox.journal import cut_off, hopeless
from sandbox.open import known_backends, load
from sandbox.rejected import KEPT_DAYS, outdated
from sandbox.sweep import COPIES, held, sweep
from sandbox.tree import remove_path


class Leftover(msgspec.Struct, frozen=True):
    """One thing to remove. `bytes` is what it takes on the disk."""

    kind: str
    name: str
    bytes: int
    remove: Callable[[], Awaitable[None]]


async def leftovers(state: Path) -> list[Leftover]:
    """All that can be removed: containers; in `state` copies, set-ups, shared folders, old patches."""
    found: list[Leftover] = []
    for name in known_backends():
        backend = await asyncio.to_thread(load, name)  # type: ignore[arg-type]
        found += [_container(name, orphan) for orphan in await backend.orphans()]  # type: ignore[arg-type]
    kinds = (_copies, _given_up, _set_up, _shared, _rejected)
    return [*found, *await asyncio.to_thread(lambda: [left for kind in kinds for left in kind(state)])]


def _container(name: BackendName, orphan: Orphan) -> Leftover:
    return Leftover(name, orphan.label, orphan.bytes, functools.partial(load(name).remove, orphan))


# --- workspaces --------------------------------------------------------------------------------------------


def _copies(state: Path) -> Iterator[Leftover]:
    workspaces = state / "workspaces"
    for place in sorted(workspaces.iterdir()) if workspaces.is_dir() else ():
        copies = [place / name for name in COPIES if (place / name).exists()]
        if copies and (place / "lock").exists() and not in_use(place):
            sweep = functools.partial(_sweep, place)
            yield Leftover("workspace", f"copies of session {place.name}", sum(map(size, copies)), sweep)


async def _sweep(place: Path) -> None:
    """Undo a cut-off accept and remove the copies, of this and all others that nobody uses."""
    await asyncio.to_thread(sweep, place.parent)
    if any((place / name).exists() for name in COPIES):
        raise SandboxError(f"{place} has come into use, or cannot be changed")


def _given_up(state: Path) -> Iterator[Leftover]:
    """Old contents of files whose accept was cut off and cannot be put back any more."""
    for file in sorted(file for place in (state / "workspaces").glob("*") for file in cut_off(place)):
        place = file.parents[2]
        why = ""
        with contextlib.suppress(OSError):
            why = hopeless(file)
        if why and not in_use(place):
            name = f"old contents of a change that was cut off, {file.parent}: {why}"
            remove = functools.partial(asyncio.to_thread, _give_up, place, file)
            yield Leftover("accept", name, size(file.parent), remove)


def _give_up(place: Path, file: Path) -> None:
    with held(place) as ours:
        if (place / "lock").exists() and not ours:
            raise SandboxError(f"{place} has come into use")
        remove_path(file.parent)


def in_use(place: Path) -> bool:
    """True while a pawl holds the workspace in this folder, and when it cannot be told."""
    if not (place / "lock").exists():
        return False
    with held(place, os.O_RDONLY) as ours:
        return not ours


# --- set-ups -----------------------------------------------------------------------------------------------


def _set_up(state: Path) -> Iterator[Leftover]:
    """Each result that no pawl uses now; a set-up that is wanted again makes it anew."""
    for old in kept.unused(state / kept.FOLDER):
        day = datetime.fromtimestamp(old.used_at).strftime("%Y-%m-%d")
        name = f"for {old.project}, last used {day}" if old.project else f"unfinished, {old.place.name}"
        remove = functools.partial(asyncio.to_thread, kept.remove, old)
        yield Leftover("set-up", name, size(old.place), remove)


# --- folders that sandboxes share --------------------------------------------------------------------------


def _shared(state: Path) -> Iterator[Leftover]:
    """Made-up /etc folders and homes; kept while any pawl has a workspace, for its sandboxes may use them."""
    workspaces = state / "workspaces"
    if workspaces.is_dir() and any(in_use(place) for place in workspaces.iterdir()):
        return
    for folder in sorted(path for kind in ("etc-*", "home-*", "removed-*") for path in state.glob(kind)):
        yield Leftover("folder", str(folder), size(folder), functools.partial(take_away, folder))


def _rejected(state: Path) -> Iterator[Leftover]:
    """Patches that nobody applied while they were kept; the next session would remove them as well."""
    for file in outdated(state):
        remove = functools.partial(asyncio.to_thread, file.unlink, missing_ok=True)
        yield Leftover("patch", f"{file}, over {KEPT_DAYS} days old", size(file), remove)


async def take_away(folder: Path) -> None:
    """Away at once, so that nobody finds it half empty, then removed."""
    gone = folder.with_name(f"removed-{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(FileNotFoundError):
        await asyncio.to_thread(folder.rename, gone)
        await asyncio.to_thread(remove_path, gone)


def size(path: Path) -> int:
    """Bytes on the disk of a file, or of a folder with all that is in it; no symlink or mount is followed."""
    total = 0
    todo = [path]
    while todo:
        here = todo.pop()
        with contextlib.suppress(OSError):
            info = here.lstat()
            if info.st_dev != path.lstat().st_dev:
                continue
            total += info.st_blocks * 512
            if stat.S_ISDIR(info.st_mode):
                todo += here.iterdir()
    return total


async def remove(leftover: Leftover) -> str:
    """Remove one thing; returns why not, or an empty string."""
    try:
        await leftover.remove()
    except (SandboxError, OSError) as error:
        return str(error)
    return ""
