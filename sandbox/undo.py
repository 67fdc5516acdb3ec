"""Undo of an accept: the user's files as they were before it, all of them or none.

It is a change like the accept itself, under a journal of its own whose pre-images are what the accept wrote:
an error or a crash in the middle leaves the accept as it was, and it can be undone again.
"""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.accept import AcceptConflict
from sandbox.base import FileConflict, FileError, SandboxError
from sandbox.beneath import Beneath
from sandbox.journal import (
    DONE,
    UNDONE,
    Journal,
    Step,
    Write,
    begin,
    current,
    drop_folders,
    finish,
    identity,
    load,
    restore_folders,
    roll_back,
    seen_identity,
    sync_folder,
)

REVERTED = "reverted.json"
"""Name of an accept's journal once it was undone, and of the undo's own."""


def undoable(state: Path) -> tuple[str, ...]:
    """The paths of the last accept in a workspace's state that was not undone yet; () when there is none."""
    file = _last(state)
    return tuple(sorted(step.name for step in load(file).steps)) if file else ()


def split(state: Path) -> tuple[str, ...]:
    """Those of them that had further names (hard links), which an undo does not join again."""
    file = _last(state)
    return tuple(sorted(step.name for step in load(file).steps if step.links > 1)) if file else ()


def undo_accept(state: Path) -> tuple[str, ...]:
    """Undo that accept; returns the paths put back. Blocking.

    Raises AcceptConflict when the user has edited one of its files since, or SandboxError; in each case the
    user's tree is as it was.
    """
    file = _last(state)
    if file is None:
        return ()
    accept = load(file)
    tree = Path(os.fsdecode(accept.tree))
    with Beneath(tree) as user:
        planned = _plan(user, accept, file.parent)
        if planned:
            place, journal = begin(tree, user, [write for write, _ in planned], state / "accepts")
            try:
                for (write, old), step in zip(planned, journal.steps, strict=True):
                    _perform(user, write, old, step.temp, accept)
            except BaseException as error:
                roll_back(user, journal, place)
                finish(place, UNDONE)
                if isinstance(error, OSError) and not isinstance(error, SandboxError):
                    raise SandboxError(f"nothing was undone: {error}") from error
                raise
            # in this order: a crash in between leaves files that need nothing more and an accept that says so
            finish(place, REVERTED)
    file.rename(file.with_name(REVERTED))
    sync_folder(file.parent)
    return tuple(sorted(write.path for write, _ in planned))


def _last(state: Path) -> Path | None:
    return max((state / "accepts").glob(f"*/{DONE}"), default=None)


def _plan(user: Beneath, accept: Journal, place: Path) -> list[tuple[Write, Step]]:
    """Each write with the accept's step that it takes back, last first; what is so already needs none."""
    if all((seen_identity(user, step.name) or None) == step.before for step in accept.steps):
        return []
    planned = []
    conflicts = []
    gone = {step.name for step in accept.steps if step.before is None}
    for step in reversed(accept.steps):
        try:
            seen = current(user, step.name, gone)
        except FileError:
            conflicts.append(step.name)
            continue
        now = identity(seen.data, seen.stat.st_mode) if seen else None
        if now == step.before:
            continue
        if now != step.after:
            conflicts.append(step.name)
            continue
        data = None if step.before is None else (place / step.kept).read_bytes()
        if data is not None and identity(data, step.mode) != step.before:
            raise SandboxError(f"the copy of {step.name!r} from before was damaged; nothing was undone")
        planned.append((Write(step.name, seen, data, step.mode), step))
    if conflicts:
        raise AcceptConflict(tuple(sorted(conflicts)), "changed in your folder since the patch was applied")
    return planned


def _perform(user: Beneath, write: Write, old: Step, temp: str, accept: Journal) -> None:
    info = write.seen.stat if write.seen else None
    try:
        if write.data is not None:
            restore_folders(user, write.path, accept)
            user.put(
                write.path,
                write.data,
                write.mode,
                owner=old.owner,
                mtime_ns=old.mtime_ns,
                attributes=old.extended,
                temp=temp,
                sync=True,
                seen=info,
            )
        elif info is not None:
            user.remove(write.path, sync=True, seen=info)
        drop_folders(user, accept)
    except FileConflict:
        raise AcceptConflict((write.path,), "changed in your folder since the patch was applied") from None
