"""One candidate's folder: filled from the base, compared with it, made like it again.

Comparing does not read what is known to be equal: a file whose stamp (inode, size, times, mode) is as it was
when it was last seen equal to the base.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

from sandbox.base import FileConflict, FileMissing, SandboxError
from sandbox.beneath import Beneath, Owner, Stamp, check_path, stamp
from sandbox.freeze import RACY_NS, Base, apply_changes, is_environment
from sandbox.harvest import Harvest, harvest
from sandbox.layers import Fork, Layers
from sandbox.naming import a_few, plain
from sandbox.patch import FileChange, Patch, git_mode
from sandbox.rules import is_cache, is_dependency
from sandbox.shadow import Shadow
from sandbox.snapshot import Snapshots
from sandbox.store import Store
from sandbox.tree import Copier, Listing, Verdict, relock, remove_path, remove_tree, settle, walk

MAX_NEW_FILE = 20 * 1024**2
"""A new file over this is left out of a patch."""
MAX_PATCH = 256 * 1024**2
_IGNORE_FILE_BYTES = 1024**2


class Candidate:
    """Blocking. One method at a time."""

    def __init__(self, base: Base, shadow: Shadow, store: Store, place: Path, owner: Owner | None) -> None:
        self._base = base
        self._shadow = shadow
        self._place = place
        self._owner = owner
        self.tree = self.place = place / "tree"
        self._mount: Fork | None = None
        self._equal: dict[str, Stamp] = {}
        self.snapshots = Snapshots(
            base, store, shadow, self._open, lambda path, how: self._equal.get(path) == how
        )

    def fill(self, parent: Candidate | None, patch: Patch | None) -> None:
        """Make the folder: as `parent` is, or as the base is with `patch` applied."""
        self._base.check()
        self._place.mkdir(mode=0o700)
        if self._base.layers is None:
            self._copy(parent)
        else:
            self._show(parent, self._base.layers)
        if parent is not None:
            self._check_mount_points()
        if patch:
            self.apply(patch)

    def _check_mount_points(self) -> None:
        """Raise PathEscape when a symlink is in the way of one, which the parent may have put there.

        bubblewrap would follow it, and make the mount point on the host.
        """
        with self._open() as tree:
            for path in self._base.listing.hollow:
                with contextlib.suppress(FileMissing), tree.folder(path):
                    pass

    def _show(self, parent: Candidate | None, layers: Layers) -> None:
        if parent is None or parent._mount is None:
            self._mount = layers.fork(self._place)
            self._mount.mount()
            self._equal = dict(self._base.stamps)
        else:
            self._mount = parent._mount.child(self._place)
            self._mount.mount(parent._mount)
            self._equal = dict(parent._equal)
        self.tree = self._mount.tree

    def _copy(self, parent: Candidate | None) -> None:
        self.tree.mkdir(mode=0o700)
        if self._owner is not None and os.geteuid() == 0:
            os.chown(self.tree, *self._owner)
        source = parent.tree if parent else self._base.tree
        with Beneath(source, unlock=parent is not None) as origin, self._open() as target:
            listing = walk(origin) if parent else self._base.listing
            copier = Copier(origin, target)
            done, failed = copier.copy(listing)
            relock(origin, listing)
            for path, why in (failed | (listing.left_out if parent else {})).items():
                raise SandboxError(f"cannot copy {path!r} into a fork: {why}")
            copier.finish(listing)
        if parent is None:
            self._equal = {path: stamp(info) for path, info in done.items()}
        else:
            known = parent._equal
            self._equal = {
                path: stamp(info)
                for path, info in done.items()
                if known.get(path) == stamp(listing.files[path])
            }
        settle(max((info.st_ctime_ns for info in done.values()), default=0))

    def _open(self) -> Beneath:
        return Beneath(self.tree, self._owner, unlock=True)

    def apply(self, patch: Patch) -> None:
        """Put a patch into a folder that is still as the base is."""
        with Beneath(self._base.tree) as base, self._open() as target:
            self._apply(target, patch)
            Copier(base, target).finish(self._base.listing)
        self.forget(patch.paths)

    def _apply(self, target: Beneath, patch: Patch) -> None:
        for change in patch.changes:
            check_path(change.path)
        with Beneath(self._base.tree) as base:
            for change in patch.changes:
                mode = self._base.mode(change.path)
                if mode != change.old_mode or (mode and base.read(change.path).data != change.old):
                    raise FileConflict(change.path, f"{change.path!r} is not what the patch was made from")
        apply_changes(target, patch, self._base.listing)

    def forget(self, paths: tuple[str, ...]) -> None:
        """These may no longer be equal to the base."""
        for path in paths:
            self._equal.pop(path, None)

    def diff(self) -> tuple[Patch, list[str]]:
        """The patch against the base, and what was left out of it that a person should know."""
        self._base.check()
        started = time.time_ns()
        files = self._base.listing.files
        changes: list[FileChange] = []
        notes: list[str] = []
        with self._open() as tree, Beneath(self._base.tree) as base:
            listing = walk(tree, self._pick)
            for path in listing.left_out.keys() & self._base.listing.folders.keys():
                raise SandboxError(f"cannot read {path!r} in the candidate: {listing.left_out[path]}")
            if apart := {p: why for p, why in listing.left_out.items() if p not in self._base.withheld}:
                path, why = next(iter(apart.items()))
                notes.append(f"left out of the patch: {a_few(apart, 3)} ({why})")
            new = self._new_files(tree, listing, notes)
            room = MAX_PATCH
            for path in (*files, *new):
                info = listing.files.get(path)
                if path in self._base.added or self._is_equal(path, listing):
                    continue
                change, seen = self._compare(path, tree, base, info is not None)
                if change is not None:
                    changes.append(change)
                    room -= len(change.old or b"") + len(change.new or b"")
                elif seen is not None and seen.st_ctime_ns < started - RACY_NS:
                    self._equal[path] = stamp(seen)
                if room < 0:
                    raise SandboxError(f"the candidate changed more than {MAX_PATCH // 1024**2} MB")
            relock(tree, listing)
        return self._shadow.render(changes), notes

    def _compare(
        self, path: str, tree: Beneath, base: Beneath, there: bool
    ) -> tuple[FileChange | None, os.stat_result | None]:
        """The change at a path, or None and how the file was when it was read and found equal."""
        if ".git" in path.split("/"):
            return None, None
        old_mode = self._base.mode(path)
        old = None if old_mode is None else base.read(path).data
        new, new_mode, seen = None, None, None
        if there:
            try:
                new, seen, _ = tree.read(path, MAX_PATCH)
                new_mode = git_mode(seen.st_mode)
            except FileMissing:
                pass
        if (old, old_mode) == (new, new_mode):
            return None, seen
        return FileChange(path, old, new, old_mode, new_mode, b""), None

    def _pick(self, path: str, name: str, is_folder: bool, parent: int) -> Verdict:
        """Leave out git's own files, litter, what the base leaves out, and new folders of dependencies."""
        if name == ".git" or path in self._base.withheld or is_cache(name, is_folder):
            return Verdict.SKIP
        if is_folder and path not in self._base.listing.folders:
            return Verdict.SKIP if is_dependency(name) or is_environment(name, parent) else Verdict.TAKE
        return Verdict.TAKE

    def _new_files(self, tree: Beneath, listing: Listing, notes: list[str]) -> list[str]:
        """Files that the base has not and that belong into a patch."""
        new = self._new(listing)
        ignored = self._ignored(tree, listing, new)
        kept = []
        for path in new:
            if path in ignored:
                continue
            if listing.files[path].st_size > MAX_NEW_FILE:
                notes.append(f"left out of the patch: {plain(path)} (new, over {MAX_NEW_FILE // 1024**2} MB)")
            else:
                kept.append(path)
        return kept

    def _new(self, listing: Listing) -> list[str]:
        return [p for p in listing.files if p not in self._base.listing.files and not p.endswith(".pyc")]

    def _ignored(self, tree: Beneath, listing: Listing, new: list[str]) -> set[str]:
        return ignored(self._shadow, tree, listing, new)

    def harvest(self, place: Path) -> Harvest:
        """Copy to the new folder `place` what is to be kept of a set-up that ran here."""
        with self._open() as tree, Beneath(self._base.tree) as base:

            def sort(listing: Listing) -> tuple[list[str], list[str]]:
                new = self._new(listing)
                ignored = self._ignored(tree, listing, new)
                changed = [
                    path
                    for path in self._base.listing.files
                    if not self._is_equal(path, listing)
                    and self._compare(path, tree, base, path in listing.files)[0] is not None
                ]
                return sorted(ignored), sorted([*changed, *(path for path in new if path not in ignored)])

            return harvest(tree, self._base, place, self._owner, sort)

    def reset(self) -> None:
        """Make the folder equal to the base, ignored files, litter and empty folders included."""
        base = self._base.listing
        mount_points = set(base.hollow)

        def pick(path: str, name: str, is_folder: bool, parent: int) -> Verdict:
            return Verdict.HOLLOW if is_folder and path in mount_points else Verdict.TAKE

        with self._open() as tree, Beneath(self._base.tree) as origin:
            found = walk(tree, pick)
            for path in (*found.folders, *found.files, *found.special, *found.left_out):
                wanted = base.folders if path in found.folders else base.files
                if path and path not in wanted and path.rpartition("/")[0] in base.folders:
                    with tree.folder(path.rpartition("/")[0]) as fd:
                        remove_tree(fd, path.rpartition("/")[2])
            stale = {p: i for p, i in base.files.items() if not self._is_equal(p, found)}
            for path in stale:
                tree.remove(path)
            copier = Copier(origin, tree)
            done, _ = copier.copy(Listing(base.folders, stale, base.hollow))
            copier.finish(base)
        self._equal |= {path: stamp(info) for path, info in done.items()}
        settle(max((info.st_ctime_ns for info in done.values()), default=0))

    def _is_equal(self, path: str, found: Listing) -> bool:
        info = found.files.get(path)
        return info is not None and self._equal.get(path) == stamp(info)

    def remove(self) -> None:
        self._equal.clear()
        if self._mount is not None:
            self._mount.remove()
        else:
            remove_path(self._place)


def ignored(shadow: Shadow, tree: Beneath, listing: Listing, paths: list[str]) -> set[str]:
    """Those of `paths` that the ignore files which are there now ignore."""
    rules: dict[str, bytes] = {}
    for folder in {parent for path in paths for parent in _parents(path)}:
        path = f"{folder}/.gitignore" if folder else ".gitignore"
        info = listing.files.get(path)
        if info is not None and stat.S_ISREG(info.st_mode) and info.st_size <= _IGNORE_FILE_BYTES:
            rules[path] = tree.read(path, _IGNORE_FILE_BYTES).data
    return shadow.ignored(paths, rules)


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:n]) for n in range(len(parts) + 1)]
