"""The frozen base as layers for overlay mounts, so that a fork costs one mount whatever the tree's size.

Each accepted patch and each refresh is a further layer on top; a fork goes on standing on those that were
there when it was made.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sandbox.base import SandboxError
from sandbox.beneath import Beneath, Owner, Stamp, stamp
from sandbox.overlay import Mounts, copy_upper
from sandbox.tree import Copier, remove_path, remove_tree, walk

T = TypeVar("T")

MAX_LAYERS = 40
"""With more, they are copied into one; the kernel allows 500, and each costs every lookup a little."""


class Layers:
    """Blocking. `place` is a folder of its own, `first` the layer to begin with."""

    def __init__(self, place: Path, first: Path, owner: Owner | None, mounts: Mounts) -> None:
        self.mounts = mounts
        self._place = place
        self._owner = owner if os.geteuid() == 0 else None
        self._serial = 0
        self.stack: tuple[Path, ...] = (first,)
        """The newest first."""
        self._shown: Path | None = None
        """Where they are mounted when they are more than one."""
        self.view = first
        """A folder that shows all of them."""

    def add(self, change: Callable[[Beneath], T]) -> T:
        """Put a layer on top: what `change` does with the base, which stays as it was when that fails."""
        place = self._next("change")
        mounted = self.fork(place)
        try:
            mounted.mount()
            with Beneath(mounted.tree, self._owner, unlock=True) as tree:
                changed = change(tree)
        except BaseException:
            mounted.remove()
            raise
        self.mounts.unmount(place / "tree")
        try:
            self._show((mounted.upper, *self.stack))
        except BaseException:
            mounted.remove()
            raise
        if len(self.stack) > MAX_LAYERS:
            self._squash()
        return changed

    def fork(self, place: Path) -> Fork:
        """A fork of what is shown now, in the folder `place`; not mounted yet."""
        return Fork(self.mounts, place, self.stack, self._owner)

    def stamps(self) -> dict[str, Stamp]:
        """Of all files, as a fork shows them as long as it has not changed them."""
        with Beneath(self.view) as tree:
            return {path: stamp(info) for path, info in walk(tree).files.items()}

    def _show(self, stack: tuple[Path, ...]) -> None:
        place = None
        if len(stack) > 1:
            place = self._next("view")
            self.mounts.mount(place, stack)
        old, self._shown, self.stack = self._shown, place, stack
        self.view = stack[0] if place is None else self.mounts.seen(place)
        if old is not None:
            self.mounts.unmount(old)

    def _squash(self) -> None:
        """Copy the layers into one. When that fails, as on a full disk, they stay, and are tried again."""
        whole = self._next("whole")
        try:
            with Beneath(self.view) as layers, Beneath(whole, self._owner) as copy:
                listing = walk(layers)
                copier = Copier(layers, copy)
                _, failed = copier.copy(listing)
                copier.finish(listing)
            broken = bool(failed or listing.left_out)
        except (OSError, SandboxError):
            broken = True
        if broken:
            remove_path(whole)
        else:
            self._show((whole,))

    def _next(self, kind: str) -> Path:
        self._serial += 1
        place = self._place / f"{kind}-{self._serial}"
        place.mkdir(mode=0o700)
        return place


class Fork:
    """One mount: the layers, and a folder for what is changed."""

    def __init__(self, mounts: Mounts, place: Path, lowers: tuple[Path, ...], owner: Owner | None) -> None:
        self.tree = mounts.seen(place / "tree")
        self.upper = place / "upper"
        self._mounts = mounts
        self._place = place
        self._lowers = lowers
        self._owner = owner

    def mount(self, parent: Fork | None = None) -> None:
        """Show the layers, with the changes of `parent`, in which nothing may run meanwhile."""
        tree, work = self._place / "tree", self._place / "work"
        for folder in (tree, self.upper, work):
            folder.mkdir(mode=0o700)
        gone: list[str] = []
        if parent is not None:
            gone = copy_upper(parent.upper, self.upper, self._owner)
        else:
            _dress(self.upper, self._lowers[0], self._owner)
        self._mounts.mount(tree, self._lowers, self.upper, work)
        for path in gone:
            with Beneath(self.tree) as shown, shown.folder(path.rpartition("/")[0]) as fd:
                remove_tree(fd, path.rpartition("/")[2])

    def child(self, place: Path) -> Fork:
        """Another fork on the same layers."""
        return Fork(self._mounts, place, self._lowers, self._owner)

    def remove(self) -> None:
        """Take it away with all changes. Idempotent."""
        self._mounts.unmount(self._place / "tree")
        remove_path(self._place)


def _dress(folder: Path, like: Path, owner: Owner | None) -> None:
    """Give a new top folder what the copy of a tree has: usable by its owner, with the tree's times."""
    info = like.stat()
    if owner is not None:
        os.chown(folder, *owner)
    folder.chmod(info.st_mode & 0o777 | 0o700)
    os.utime(folder, ns=(info.st_atime_ns, info.st_mtime_ns))
