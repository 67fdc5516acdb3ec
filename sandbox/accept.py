"""Applying a patch to the user's own tree: all of it or nothing, and nothing of the user's lost.

First everything is checked and merged in memory. Then the pre-images and a journal are on disk before the
first file is touched; each file is replaced by a rename. An error puts everything back at once, a crash is
put back by `recover`. A finished journal stays beside its pre-images.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from pathlib import Path

import msgspec

from sandbox.base import FileConflict, NotRegular, SandboxError
from sandbox.beneath import Beneath, Content, Owner, check_link, check_path
from sandbox.patch import EXECUTABLE, REGULAR, SYMLINK, FileChange, Patch, git_mode, merge_mode
from sandbox.rules import is_sensitive
from sandbox.shadow import Shadow

_JOURNAL, _DONE, _UNDONE = "journal.json", "done.json", "undone.json"


class Accepted(msgspec.Struct, frozen=True):
    """What an accepted patch did to the user's tree."""

    paths: tuple[str, ...]
    """Paths that were written or removed; those that were already so are not among them."""
    highlighted: tuple[str, ...]
    """Paths of the patch that can run code or steer tools: hooks, CI, conftest.py, build files, settings."""
    merged: tuple[str, ...] = ()
    """Paths that the user had edited meanwhile; both sides' changes are in them now."""


class AcceptConflict(FileConflict):
    """The user's tree changed where the patch does, and nothing was written. `paths` are all such paths."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(
            paths[0], "changed in your folder as well as in the patch: " + ", ".join(map(repr, paths))
        )
        self.paths = paths


class _Step(msgspec.Struct):
    """One path's way from `before` to `after`; all of it is written to the journal. Paths are bytes there."""

    path: bytes
    temp: str
    before: str | None
    """Identity of what was there, None when nothing was."""
    after: str | None
    kept: str = ""
    """Name of the pre-image's file."""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0

    @property
    def name(self) -> str:
        return os.fsdecode(self.path)


class _Journal(msgspec.Struct):
    tree: bytes
    steps: list[_Step]
    new_folders: list[bytes]
    """Folders that the patch makes, outer first."""
    old_folders: dict[str, int]
    """Folders (hexadecimal names) that may vanish as their last file does -> mode."""


class _Write(msgspec.Struct):
    """A planned write: `data` None removes. `seen` is what was there at planning."""

    path: str
    seen: Content | None
    data: bytes | None
    mode: int
    merged: bool = False


def accept_patch(tree: Path, patch: Patch, accepts: Path, shadow: Shadow) -> Accepted:
    """Apply `patch` to `tree`; journal and pre-images go to a new folder in `accepts`. Blocking.

    Raises PathEscape or NotRegular for what no patch may touch, AcceptConflict, or SandboxError; in each case
    the tree is as it was.
    """
    for change in patch.changes:
        _check(change)
    owner = tree.stat()
    with Beneath(tree) as user:
        writes = _plan(user, patch, shadow)
        if writes:
            place = accepts / uuid.uuid4().hex
            place.mkdir(parents=True, mode=0o700)
            journal = _write_journal(tree, user, writes, place)
            try:
                for write, step in zip(writes, journal.steps, strict=True):
                    _perform(user, write, step, (owner.st_uid, owner.st_gid))
            except BaseException as error:
                _roll_back(user, journal, place)
                (place / _JOURNAL).rename(place / _UNDONE)
                if isinstance(error, OSError) and not isinstance(error, SandboxError):
                    raise SandboxError(f"nothing was applied: {error}") from error
                raise
            (place / _JOURNAL).rename(place / _DONE)
            _sync_folder(place)
    return Accepted(
        tuple(sorted(write.path for write in writes)),
        tuple(path for path in patch.paths if is_sensitive(path)),
        tuple(write.path for write in writes if write.merged),
    )


def recover(state: Path) -> tuple[str, ...]:
    """Put back what an accept had done when it was cut off; returns the paths. Blocking."""
    restored: list[str] = []
    for file in sorted((state / "accepts").glob(f"*/{_JOURNAL}")):
        journal = msgspec.json.decode(file.read_bytes(), type=_Journal)
        with Beneath(Path(os.fsdecode(journal.tree))) as user:
            restored += _roll_back(user, journal, file.parent)
        file.rename(file.with_name(_UNDONE))
    return tuple(restored)


def _check(change: FileChange) -> None:
    check_path(change.path)
    for data, mode in ((change.old, change.old_mode), (change.new, change.new_mode)):
        if (data is None) != (mode is None) or mode not in (None, REGULAR, EXECUTABLE, SYMLINK):
            raise NotRegular(change.path, f"not a regular file or symlink: {change.path!r}")
    if change.new is not None and change.new_mode == SYMLINK:
        check_link(change.path, os.fsdecode(change.new))


def _plan(user: Beneath, patch: Patch, shadow: Shadow) -> list[_Write]:
    """Every write, removals first, each compared with what the user has now."""
    writes: list[_Write] = []
    conflicts: list[str] = []
    gone = {change.path for change in patch.changes if change.new is None}
    for change in sorted(patch.changes, key=lambda change: change.new is not None):
        seen = _current(user, change.path, gone)
        before = (seen.data, git_mode(seen.stat.st_mode)) if seen else (None, None)
        if before == (change.new, change.new_mode):
            continue
        if before == (change.old, change.old_mode):
            writes.append(_Write(change.path, seen, change.new, _final_mode(change, seen)))
        elif (merged := _merge(change, seen, shadow)) is not None:
            if seen and merged == seen.data and _final_mode(change, seen) == seen.stat.st_mode:
                continue
            writes.append(_Write(change.path, seen, merged, _final_mode(change, seen), merged=True))
        else:
            conflicts.append(change.path)
    if conflicts:
        raise AcceptConflict(tuple(sorted(conflicts)))
    return writes


def _current(user: Beneath, path: str, gone: set[str]) -> Content | None:
    """The user's file or symlink at a path as it will be met once the paths in `gone` are removed."""
    if any(path.startswith(parent + "/") for parent in gone):
        return None
    info = user.stat(path)
    if info is None:
        return None
    if stat.S_ISDIR(info.st_mode) and any(parent.startswith(path + "/") for parent in gone):
        return None
    return user.read(path)


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


def _identity(data: bytes, mode: int) -> str:
    kind = f"{stat.S_IFMT(mode):o} {stat.S_IMODE(mode) & 0o777 if stat.S_ISREG(mode) else 0:o}"
    return hashlib.sha256(kind.encode() + b"\0" + data).hexdigest()


def _write_journal(tree: Path, user: Beneath, writes: list[_Write], place: Path) -> _Journal:
    """Save the pre-images, then the journal, and make both last."""
    steps = []
    for number, write in enumerate(writes):
        after = None if write.data is None else _identity(write.data, write.mode)
        step = _Step(os.fsencode(write.path), f".pawl-{place.name}-{number}", None, after)
        if write.seen is not None:
            info = write.seen.stat
            step.before, step.kept = _identity(write.seen.data, info.st_mode), f"{number}.before"
            step.mode, step.uid, step.gid, step.mtime_ns = (
                info.st_mode,
                info.st_uid,
                info.st_gid,
                info.st_mtime_ns,
            )
            _save(place / step.kept, write.seen.data)
        steps.append(step)
    new_folders: dict[str, None] = {}
    old_folders: dict[str, int] = {}
    gone = {write.path for write in writes if write.data is None}
    for write in writes:
        for folder in _folders(write.path):
            replaced = any(folder == path or folder.startswith(path + "/") for path in gone)
            there = None if replaced else user.stat(folder)
            if there is None:
                new_folders[folder] = None
            elif write.data is None:
                old_folders[os.fsencode(folder).hex()] = stat.S_IMODE(there.st_mode)
    journal = _Journal(os.fsencode(tree), steps, [os.fsencode(f) for f in new_folders], old_folders)
    _save(place / "journal.new", msgspec.json.encode(journal))
    (place / "journal.new").rename(place / _JOURNAL)
    _sync_folder(place)
    return journal


def _perform(user: Beneath, write: _Write, step: _Step, owner: Owner) -> None:
    info = write.seen.stat if write.seen else None
    try:
        if write.data is not None:
            owner = (info.st_uid, info.st_gid) if info else owner
            user.put(
                write.path, write.data, write.mode, owner=_owner(owner), temp=step.temp, sync=True, seen=info
            )
        elif info is not None:
            user.remove(write.path, sync=True, seen=info)
            user.prune(write.path)
    except FileConflict:
        raise AcceptConflict((write.path,)) from None


def _owner(owner: Owner) -> Owner | None:
    """Only root gives files away; anybody else's are their own."""
    return owner if os.geteuid() == 0 else None


def _roll_back(user: Beneath, journal: _Journal, place: Path) -> list[str]:
    """Undo the steps that were done, last first; a file that is not as the step left it is left alone."""
    restored = []
    for step in reversed(journal.steps):
        _drop_temp(user, step)
        if _seen_identity(user, step.name) != step.after or step.before == step.after:
            continue
        if step.before is None:
            user.remove(step.name, sync=True)
        else:
            _restore_folders(user, step.name, journal)
            data = (place / step.kept).read_bytes()
            user.put(
                step.name,
                data,
                step.mode,
                owner=_owner((step.uid, step.gid)),
                mtime_ns=step.mtime_ns,
                temp=step.temp,
                sync=True,
            )
        restored.append(step.name)
        _drop_folders(user, journal)
    _drop_folders(user, journal)
    return restored


def _seen_identity(user: Beneath, path: str) -> str | None:
    try:
        content = user.read(path)
    except (FileNotFoundError, PermissionError):
        return None
    except NotRegular:
        return ""
    return _identity(content.data, content.stat.st_mode)


def _drop_temp(user: Beneath, step: _Step) -> None:
    head = step.name.rpartition("/")[0]
    with contextlib.suppress(PermissionError):
        user.remove(f"{head}/{step.temp}" if head else step.temp)


def _drop_folders(user: Beneath, journal: _Journal) -> None:
    """Remove the folders that the patch made, when they are empty."""
    for folder in reversed(journal.new_folders):
        head, _, name = os.fsdecode(folder).rpartition("/")
        with contextlib.suppress(OSError), user.folder(head) as fd:
            os.rmdir(name, dir_fd=fd)


def _restore_folders(user: Beneath, path: str, journal: _Journal) -> None:
    """Make the folders above a path again where they are missing, with the modes they had."""
    for folder in _folders(path):
        if user.stat(folder) is None:
            with user.folder(folder, create=True) as fd:
                mode = journal.old_folders.get(os.fsencode(folder).hex(), 0o755)
                Path(f"/proc/self/fd/{fd}").chmod(mode)


def _folders(path: str) -> list[str]:
    """The folders above a path, outer first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _save(file: Path, data: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
