"""The frozen base: one exact copy of the user's tree, from which every candidate starts."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from pathlib import Path

import msgspec

from sandbox.base import Mount, SandboxError
from sandbox.beneath import Beneath, Owner, Stamp, stamp
from sandbox.gitview import git_mounts, safe_config
from sandbox.layers import Layers
from sandbox.patch import Patch, git_mode, merge_mode
from sandbox.rules import is_cache, is_denied, is_dependency
from sandbox.tree import Copier, Listing, Verdict, relock, settle, walk

MANY_FILES = 50_000
"""With more, each freeze and each fork takes seconds: the person is told where they are."""
_SPARE_BYTES = 1024**3


class Base(msgspec.Struct):
    """A frozen copy. Only an accepted patch changes it."""

    tree: Path
    listing: Listing
    """What the copy holds, with the stats that the user's files had."""
    mounts: tuple[Mount, ...]
    """Read-only views of the user's tree, for what is not copied."""
    withheld: frozenset[str]
    """Paths in the user's tree that are not in the copy; a file there is never part of a patch."""
    stamps: dict[str, Stamp]
    """Of the copy's files; with `layers`, also of a fork's as long as it has not changed them."""
    layers: Layers | None = None
    """What forks are mounted on; None when they are copies."""

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

        if self.layers is None:
            with Beneath(self.tree, unlock=True) as copy:
                change(copy)
        else:
            self.layers.add(change)
            self.tree, self.stamps = self.layers.view, self.layers.stamps()


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


class _Choice:
    """Decides what of the user's tree is copied, and remembers why the rest is not."""

    def __init__(self, deny: tuple[str, ...], state: str) -> None:
        self._deny = deny
        self._state = state
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


def freeze(
    tree: Path, place: Path, view: Path, deny: tuple[str, ...], state: Path, owner: Owner | None = None
) -> tuple[Base, list[str]]:
    """Copy `tree` into the new folder `place`; returns the base and what the person should be told.

    `view` is a new folder for what is shown instead of parts of `.git`; `state` is skipped when inside.
    """
    choice = _Choice(deny, str(state.relative_to(tree)) if state.is_relative_to(tree) else "")
    with Beneath(tree) as source:
        listing = walk(source, choice)
        _check_space(listing, place.parent)
        first = place / "tree"
        first.mkdir(mode=0o700, parents=True)
        with Beneath(first, owner) as target:
            copier = Copier(source, target)
            done, failed = copier.copy(listing)
            _clean_nested(target, listing)
            copier.finish(listing)
    failed |= listing.left_out | dict.fromkeys(listing.special, "a socket, FIFO or device")
    listing.files = {path: info for path, info in listing.files.items() if path in done}
    mounts = [Mount(str(tree / path), f"{tree}/{path}") for path in choice.dependencies]
    withheld = frozenset((*failed, *choice.denied, *choice.dependencies, *choice.git))
    shown = (*git_mounts(tree, str(tree), view), *mounts)
    base = Base(first, listing, shown, withheld, {path: stamp(info) for path, info in done.items()})
    settle(max((info.st_ctime_ns for info in done.values()), default=0))
    notes = [f"left out: {path} ({why})" for path, why in failed.items()]
    if len(listing.files) > MANY_FILES:
        notes.append(_many(listing))
    if choice.denied:
        notes.append(f"kept from the model as possible secrets: {', '.join(choice.denied)}")
    return base, notes


def _many(listing: Listing) -> str:
    """What is slow about a large tree, and where most of it is."""
    inside: Counter[str] = Counter()
    for path in listing.files:
        inside[path.split("/", 1)[0] if "/" in path else "."] += 1
    most = ", ".join(f"{folder} ({count:,})" for folder, count in inside.most_common(3))
    return (
        f"the folder has {len(listing.files):,} files, which makes freezing it and each fork slow; most are"
        f" in {most}: move data out, or start in a smaller folder"
    )


def _check_space(listing: Listing, place: Path) -> None:
    needed = sum(info.st_size for info in listing.files.values())
    free = shutil.disk_usage(place).free
    if free < needed + _SPARE_BYTES:
        raise SandboxError(
            f"a copy of the folder needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free at {place}; "
            "make room there, or set PAWL_HOME to another disk"
        )


def _clean_nested(target: Beneath, listing: Listing) -> None:
    """Take what may hold a secret out of the configuration of nested repositories in the copy."""
    for path, info in listing.files.items():
        if path.endswith(("/.git/config", "/.git/config.worktree")) and stat.S_ISREG(info.st_mode):
            text = target.read(path).data.decode("utf-8", "replace")
            target.put(path, safe_config(text).encode(), info.st_mode, mtime_ns=info.st_mtime_ns)
