"""The frozen base: one exact copy of the user's tree, from which every candidate starts."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from sandbox.base import Mount, SandboxError
from sandbox.beneath import Beneath, Owner, Stamp, stamp
from sandbox.gitlist import Listed, enclosing, list_tree
from sandbox.gitview import git_mounts, pointer
from sandbox.layers import Layers
from sandbox.naming import a_few, plain
from sandbox.nested import clean_nested
from sandbox.patch import Patch, git_mode, merge_mode
from sandbox.rules import DENIED, is_cache, is_denied, is_dependency
from sandbox.tree import (
    MAX_FILES,
    Copier,
    Listing,
    TooLarge,
    Verdict,
    every_name,
    relock,
    remove_path,
    settle,
    walk,
)

T = TypeVar("T")

RACY_NS = 50_000_000
"""A file that was changed so short a time before may be changed again without another stamp."""
MANY_FILES = 50_000
"""With more, each freeze and each fork takes seconds: the person is told where they are."""
_SPARE_BYTES = 1024**3


class Intake(msgspec.Struct, frozen=True):
    """What of the user's tree is copied."""

    by: Literal["all", "git"] = "all"
    """All of it, or only what git lists: tracked files, and untracked ones that it does not ignore."""
    deny: tuple[str, ...] = DENIED
    """Names (shell patterns) that are left out."""
    many: int = MANY_FILES
    most: int = MAX_FILES
    """With more files than this the tree is refused."""


EVERYTHING = Intake()


class Base(msgspec.Struct):
    """A frozen copy. Only an accepted patch and `refresh` change it."""

    tree: Path
    owner: Owner | None
    listing: Listing = msgspec.field(default_factory=Listing)
    """What the copy holds, with the stats that the user's files had."""
    mounts: tuple[Mount, ...] = ()
    """Read-only views of the user's tree, for what is not copied."""
    withheld: frozenset[str] = frozenset()
    """Paths in the user's tree that are not in the copy; a file there is never part of a patch."""
    stamps: dict[str, Stamp] = {}
    """Of the copy's files; with `layers`, also of a fork's as long as it has not changed them."""
    seen: dict[str, Stamp] = {}
    """Of the user's files as they were copied, less those that may have changed unseen."""
    layers: Layers | None = None
    """What forks are mounted on; None when they are copies."""
    added: frozenset[str] = frozenset()
    """What only a set-up made: files and folders in the copy, in no patch."""
    whole: bool = True
    """False once a change broke off in the middle: no fork is made before a refresh, which copies anew."""

    def mode(self, path: str) -> int | None:
        """Git's mode of a file, None when there is none."""
        info = self.listing.files.get(path)
        return None if info is None else git_mode(info.st_mode)

    def advance(self, patch: Patch) -> None:
        """Make a patch that the user accepted part of the base."""
        hollow = set(self.listing.hollow)

        def pick(path: str, name: str, is_folder: bool, parent: int) -> Verdict:
            return Verdict.HOLLOW if path in hollow else Verdict.TAKE

        def change(copy: Beneath) -> None:
            apply_changes(copy, patch, self.listing)
            self.listing = walk(copy, pick)
            relock(copy, self.listing)

        self.change(change)
        for path in patch.paths:
            self.seen.pop(path, None)

    def change(self, change: Callable[[Beneath], T]) -> T:
        """Let `change` work on the copy; with layers it makes a new one, and forks go on as they are."""
        if self.layers is None:
            self.whole = False
            with Beneath(self.tree, self.owner, unlock=True) as copy:
                changed = change(copy)
            self.whole = True
            return changed
        changed = self.layers.add(change)
        self.tree, self.stamps = self.layers.view, self.layers.stamps()
        return changed

    def check(self) -> None:
        """Raise SandboxError when a change broke off in the middle."""
        if not self.whole:
            raise SandboxError(
                "the copy of the folder is not whole, for a change to it broke off; start anew"
            )

    def clear(self) -> None:
        """Let the copy hold nothing."""
        remove_path(self.tree)
        self.tree.mkdir(mode=0o700)
        self.listing, self.stamps, self.seen = Listing(), {}, {}


def apply_changes(target: Beneath, patch: Patch, listing: Listing) -> None:
    """Put a patch's files into a copy of the base; files in `listing` keep their permissions."""
    for change in patch.changes:
        if change.new is None:
            target.remove(change.path)
            target.prune(change.path)
    for change in patch.changes:
        if change.new is not None and change.new_mode is not None:
            info = listing.files.get(change.path)
            target.put(change.path, change.new, merge_mode(change.new_mode, info.st_mode if info else None))


class Choice:
    """Decides what of the user's tree is copied, and remembers why the rest is not."""

    def __init__(self, deny: tuple[str, ...], state: str, listed: Listed | None) -> None:
        self._deny = deny
        self._state = state
        self.listed = listed
        self._ignored = listed.ignored_folders if listed else frozenset()
        self.denied: list[str] = []
        self.dependencies: list[str] = []
        self.git: list[str] = []

    def __call__(self, path: str, name: str, is_folder: bool, parent: int) -> Verdict:
        if is_cache(name, is_folder) or path == self._state:
            return Verdict.SKIP
        if name == ".git" and path == name:
            self.git.append(path)
            return Verdict.HOLLOW if is_folder else Verdict.SKIP
        if is_folder and (is_dependency(name) or is_environment(name, parent)):
            self.dependencies.append(path)
            return Verdict.HOLLOW
        if path in self._ignored:
            return Verdict.SKIP
        if is_denied(name, self._deny):
            self.denied.append(path)
            return Verdict.SKIP
        nested = path.rpartition("/")[0]
        return Verdict.SKIP if name == "hooks" and nested.endswith("/.git") else Verdict.TAKE


def is_environment(name: str, parent: int) -> bool:
    """True for a virtual environment's folder."""
    try:
        return stat.S_ISREG(os.stat(f"{name}/pyvenv.cfg", dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _dependency(folder: str) -> Mount:
    return Mount(folder, folder, by_parts=Path(folder, "pyvenv.cfg").is_file())


def freeze(
    tree: Path, place: Path, view: Path, intake: Intake, state: Path, owner: Owner | None = None
) -> tuple[Base, list[str]]:
    """Copy `tree` into the new folder `place`; returns the base and what the person should be told.

    `view` is a new folder for what is shown instead of parts of git's; `state`, which holds all of the
    workspace, is skipped when inside.
    """
    first = place / "tree"
    first.mkdir(mode=0o700, parents=True)
    base = Base(first, owner)
    return base, refresh(base, tree, view, intake, state)


def look(source: Beneath, tree: Path, intake: Intake, state: Path) -> tuple[Listing, Choice]:
    """List what of the user's tree is to be copied. Raises SandboxError when that is too much."""
    listed = list_tree(tree, state) if intake.by == "git" else None
    inner = str(state.relative_to(tree)) if state.is_relative_to(tree) else ""
    choice = Choice(intake.deny, inner, listed)
    try:
        listing = walk(source, choice, listed.names_in if listed else every_name, most=intake.most)
    except TooLarge as error:
        raise SandboxError(f"{error}; most are in {_most(error.seen)}: {_advice(tree, intake)}") from None
    if pointer(tree):
        listing.files[".git"] = (tree / ".git").lstat()
    return listing, choice


def is_current(base: Base, tree: Path, intake: Intake, state: Path) -> bool:
    """True when nothing says that the user's tree has changed since it was copied; contents are not read."""
    with Beneath(tree) as source:
        listing, _ = look(source, tree, intake, state)
    old = base.listing
    return (
        base.whole
        and not _stale(base, listing)
        and not old.files.keys() - listing.files.keys() - base.added
        and {path: mode for path, mode in _modes(old).items() if path not in base.added} == _modes(listing)
        and set(old.hollow) - base.added == set(listing.hollow)
    )


def refresh(base: Base, tree: Path, view: Path, intake: Intake, state: Path) -> list[str]:
    """Make the base what the user's tree is now, copying only what has another stamp than it had.

    Returns what the person should be told. `view` as for `freeze`, new each time.
    """
    started = time.time_ns()
    with Beneath(tree) as source:
        listing, choice = look(source, tree, intake, state)
        if not base.whole:
            base.clear()
        stale = _stale(base, listing)
        check_space(sum(info.st_size for info in stale.values()), base.tree.parent)
        leads = pointer(tree)
        done, failed = base.change(
            lambda target: _update(source, target, base.listing, listing, stale, leads)
        )
    failed |= listing.left_out | dict.fromkeys(listing.special, "a socket, FIFO or device")
    failed |= choice.listed.left_out if choice.listed else {}
    listing.files = {p: info for p, info in listing.files.items() if p in done or p not in stale}
    base.seen = {
        path: stamp(info) for path, info in listing.files.items() if info.st_ctime_ns < started - RACY_NS
    }
    base.listing = listing
    if base.layers is None:
        kept = {path: base.stamps[path] for path in listing.files if path not in done}
        base.stamps = kept | {path: stamp(info) for path, info in done.items()}
    mounts = [_dependency(str(tree / path)) for path in choice.dependencies]
    base.mounts = (*git_mounts(tree, str(tree), view, base.owner), *mounts)
    base.withheld = frozenset((*failed, *choice.denied, *choice.dependencies, *choice.git))
    base.added = frozenset()
    settle(max((info.st_ctime_ns for info in done.values()), default=0))
    reasons: dict[str, list[str]] = {}
    for path, why in failed.items():
        reasons.setdefault(why, []).append(path)
    notes = [f"left out: {a_few(paths)} ({why})" for why, paths in reasons.items()]
    if choice.listed and (most := choice.listed.most_ignored(tree, choice.dependencies)):
        notes.append(f"not in the sandbox, as git ignores it: {most}")
    if len(listing.files) > intake.many:
        notes.append(
            f"the folder has {len(listing.files):,} files, which makes freezing and comparing it slow;"
            f" most are in {_most(listing)}: {_advice(tree, intake)}"
        )
    if choice.denied:
        notes.append(f"kept from the model as possible secrets: {a_few(choice.denied)}")
    return notes


def _stale(base: Base, listing: Listing) -> dict[str, os.stat_result]:
    """Files of the listing that the base has not, or not as they are now."""
    seen = base.seen
    return {path: info for path, info in listing.files.items() if seen.get(path) != stamp(info)}


def _modes(listing: Listing) -> dict[str, int]:
    return {path: info.st_mode & 0o777 for path, info in listing.folders.items()}


def _update(
    source: Beneath,
    target: Beneath,
    old: Listing,
    new: Listing,
    stale: dict[str, os.stat_result],
    leads: str | None,
) -> tuple[dict[str, os.stat_result], dict[str, str]]:
    """Make `target`, which holds `old`, hold `new`; returns what `Copier.copy` does.

    `leads` is what is written into the copy of a `.git` file.
    """
    gone = [path for path in old.files if path in stale or path not in new.files]
    for path in gone:
        target.remove(path)
    folders = [*old.hollow, *reversed(old.folders)]
    gone_folders = [path for path in folders if path not in new.folders and path not in new.hollow]
    for path in gone_folders:
        head, _, name = path.rpartition("/")
        with target.folder(head) as fd:
            os.rmdir(name, dir_fd=fd)
    copier = Copier(source, target)
    done, failed = copier.copy(Listing(new.folders, stale, new.hollow))
    clean_nested(target, stale, new)
    if leads and ".git" in stale:
        target.put(".git", leads.encode(), stat.S_IFREG | 0o644)
    was = _modes(old)
    touched = {path.rpartition("/")[0] for path in (*gone, *gone_folders, *stale)}
    touched |= {path for path, mode in _modes(new).items() if was.get(path) != mode}
    copier.finish(Listing({path: info for path, info in new.folders.items() if path in touched}))
    return done, failed


def _most(listing: Listing) -> str:
    """Where most of a tree is."""
    inside: Counter[str] = Counter()
    for path in listing.files:
        inside[path.split("/", 1)[0] if "/" in path else "."] += 1
    return ", ".join(f"{plain(folder)} ({count:,})" for folder, count in inside.most_common(3))


def _advice(tree: Path, intake: Intake) -> str:
    """What makes less of a large tree."""
    smaller = "move data sets and build output out of it, or start in a smaller folder"
    if intake.by == "git" or enclosing(tree) is None:
        return smaller
    return (
        f"leave out what git ignores with `--copy git` (to keep it so: pawl config set copy git), {smaller}"
    )


def check_space(needed: int, place: Path) -> None:
    """Raise SandboxError when a copy of so many bytes in `place` would leave too little free."""
    free = shutil.disk_usage(place).free
    if free < needed + _SPARE_BYTES:
        raise SandboxError(
            f"a copy of the folder needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free at {place}; "
            "make room there, or set PAWL_HOME to another disk"
        )
