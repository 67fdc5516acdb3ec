"""Applying a patch to the user's own tree: all of it or nothing, and nothing of the user's lost.

First everything is checked and merged in memory; then it is done under a journal (`sandbox.journal`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from sandbox.base import FileConflict, FileError, NotRegular, SandboxError
from sandbox.beneath import Beneath, Content, Owner, check_link, check_path
from sandbox.journal import UNDONE, Step, Write, begin, current, finish, given_owner, roll_back
from sandbox.patch import EXECUTABLE, REGULAR, SYMLINK, FileChange, Patch, git_mode, merge_mode
from sandbox.rules import git_parts, is_sensitive
from sandbox.shadow import Shadow


class Accepted(msgspec.Struct, frozen=True):
    """What an accepted patch did to the user's tree."""

    paths: tuple[str, ...]
    """Paths that were written or removed; those that were already so are not among them."""
    highlighted: tuple[str, ...]
    """Paths of the patch that can run code or steer tools: hooks, CI, conftest.py, build files, settings,
    what steers an embedded repository."""
    merged: tuple[str, ...] = ()
    """Paths that the user had edited meanwhile; both sides' changes are in them now."""
    split: tuple[str, ...] = ()
    """Paths that had further names (hard links), which keep what was there: each file is replaced."""


class AcceptConflict(FileConflict):
    """The user's tree changed where the patch does, and nothing was written. `paths` are all such paths."""

    def __init__(
        self, paths: tuple[str, ...], what: str = "changed in your folder as well as in the patch"
    ) -> None:
        super().__init__(paths[0], f"{what}: {', '.join(map(repr, paths))}")
        self.paths = paths


def accept_patch(tree: Path, patch: Patch, accepts: Path, shadow: Shadow) -> Accepted:
    """Apply `patch` to `tree`; journal and pre-images go to a new folder in `accepts`. Blocking.

    Raises PathEscape or NotRegular for what no patch may touch, AcceptConflict, or SandboxError; in each case
    the tree is as it was.
    """
    for change in patch.changes:
        _check(change)
    owner = tree.stat()
    with Beneath(tree) as user:
        highlighted = _highlighted(user, patch)
        writes = _plan(user, patch, shadow)
        if writes:
            place, journal = begin(tree, user, writes, accepts)
            try:
                for write, step in zip(writes, journal.steps, strict=True):
                    _perform(user, write, step, (owner.st_uid, owner.st_gid))
            except BaseException as error:
                roll_back(user, journal, place)
                finish(place, UNDONE)
                if isinstance(error, OSError) and not isinstance(error, SandboxError):
                    why = error.strerror or str(error)
                    raise SandboxError(f"nothing was applied: cannot write in {tree}: {why}") from error
                raise
            finish(place)
    return Accepted(
        tuple(sorted(write.path for write in writes)),
        highlighted,
        tuple(write.path for write in writes if write.merged),
        tuple(sorted(write.path for write in writes if _is_split(write))),
    )


def _highlighted(user: Beneath, patch: Patch) -> tuple[str, ...]:
    """What of the patch is worth a second look, seen from the tree as it is before."""

    def exists(path: str) -> bool:
        try:
            return user.stat(path) is not None
        except FileError:
            return False

    git = git_parts([change.path for change in patch.changes if change.new is not None], exists)
    return tuple(path for path in patch.paths if path in git or is_sensitive(path))


def _check(change: FileChange) -> None:
    check_path(change.path)
    for data, mode in ((change.old, change.old_mode), (change.new, change.new_mode)):
        if (data is None) != (mode is None) or mode not in (None, REGULAR, EXECUTABLE, SYMLINK):
            raise NotRegular(change.path, f"not a regular file or symlink: {change.path!r}")
    if change.new is not None and change.new_mode == SYMLINK:
        check_link(change.path, os.fsdecode(change.new))


def _plan(user: Beneath, patch: Patch, shadow: Shadow) -> list[Write]:
    """Every write, removals first, each compared with what the user has now."""
    writes: list[Write] = []
    conflicts: list[str] = []
    gone = {change.path for change in patch.changes if change.new is None}
    for change in sorted(patch.changes, key=lambda change: change.new is not None):
        seen = current(user, change.path, gone)
        before = (seen.data, git_mode(seen.stat.st_mode)) if seen else (None, None)
        if before == (change.new, change.new_mode):
            continue
        if before == (change.old, change.old_mode):
            writes.append(Write(change.path, seen, change.new, _final_mode(change, seen)))
        elif (merged := _merge(change, seen, shadow)) is not None:
            if seen and merged == seen.data and _final_mode(change, seen) == seen.stat.st_mode:
                continue
            writes.append(Write(change.path, seen, merged, _final_mode(change, seen), merged=True))
        else:
            conflicts.append(change.path)
    if conflicts:
        raise AcceptConflict(tuple(sorted(conflicts)))
    return writes


def _final_mode(change: FileChange, seen: Content | None) -> int:
    """The user's permissions are kept; the executable bit changes only when the patch changes it."""
    mode = change.new_mode or 0
    if seen is None:
        return mode
    if change.new_mode == change.old_mode and stat.S_ISREG(mode) and stat.S_ISREG(seen.stat.st_mode):
        return seen.stat.st_mode
    return merge_mode(mode, seen.stat.st_mode)


def _merge(change: FileChange, seen: Content | None, shadow: Shadow) -> bytes | None:
    modes = (change.old_mode, change.new_mode, seen.stat.st_mode if seen else None)
    if seen is None or change.old is None or change.new is None:
        return None
    if not all(mode is not None and stat.S_ISREG(mode) for mode in modes):
        return None
    if change.old == seen.data or change.new == seen.data:
        return change.new
    return shadow.merge(change.old, seen.data, change.new)


def _is_split(write: Write) -> bool:
    info = write.seen.stat if write.seen else None
    return info is not None and stat.S_ISREG(info.st_mode) and info.st_nlink > 1 and write.data is not None


def _perform(user: Beneath, write: Write, step: Step, owner: Owner) -> None:
    info = write.seen.stat if write.seen else None
    try:
        if write.data is not None:
            owner = (info.st_uid, info.st_gid) if info else owner
            user.put(
                write.path,
                write.data,
                write.mode,
                owner=given_owner(owner),
                attributes=step.extended if stat.S_ISREG(write.mode) else {},
                temp=step.temp,
                sync=True,
                seen=info,
            )
        elif info is not None:
            user.remove(write.path, sync=True, seen=info)
            user.prune(write.path)
    except FileConflict:
        raise AcceptConflict((write.path,)) from None
