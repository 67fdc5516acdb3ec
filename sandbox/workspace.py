"""The edited tree: the user's own is only read until a patch is accepted; candidates are worked on in forks.

    user's tree --freeze once--> base --copy--> fork --diff--> Patch --accept--> user's tree

All blocking work runs in threads. Everything lives in one state folder, which belongs to one workspace.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sandbox.accept import Accepted, accept_patch
from sandbox.base import Mount, SandboxError
from sandbox.beneath import Beneath, Owner
from sandbox.candidate import Candidate, ignored
from sandbox.facts import network_mount
from sandbox.freeze import EVERYTHING, Base, Intake, freeze, is_current, refresh
from sandbox.gitdir import git_dir
from sandbox.gitview import exclude_rules, object_format
from sandbox.harvest import Harvest, adopt
from sandbox.journal import recover
from sandbox.kept import Kept
from sandbox.layers import Layers
from sandbox.overlay import Mounts, open_mounts
from sandbox.patch import Patch
from sandbox.shadow import Shadow
from sandbox.snapshot import Snapshot
from sandbox.store import Store
from sandbox.sweep import Swept, held, remove_copies, sweep
from sandbox.tree import remove_path, spread
from sandbox.undo import undo_accept

T = TypeVar("T")


class Fork:
    """One candidate: a folder of its own that starts as the base, or as another fork, was."""

    def __init__(self, workspace: Workspace, label: str, candidate: Candidate) -> None:
        self._workspace = workspace
        self._candidate = candidate
        self._lock = asyncio.Lock()
        self.label = label
        self.tree: Path = candidate.tree
        """The folder on the host, as pawl sees it."""
        self.place: Path = candidate.place
        """The same as seen by what is started by way of `enter`."""
        self.enter = workspace.enter
        self.root = workspace.root
        """Where it appears inside a sandbox."""
        self.mounts: tuple[Mount, ...] = workspace.mounts
        """Read-only mounts, outer first; their mount points are there in `tree`."""

    async def diff(self) -> Patch:
        """What differs from the base, without run-time litter and new ignored files."""
        async with self._lock:
            patch, notes = await self._workspace.offload(self._candidate.diff)
        self._workspace.tell(notes)
        return patch

    async def snapshot(self, label: str) -> Snapshot:
        """Keep everything that is in the folder now, shell side effects and ignored files included."""
        async with self._lock:
            return await self._workspace.offload(lambda: self._candidate.snapshots.take(label))

    async def restore(self, snapshot: Snapshot) -> None:
        """Make the folder what it was then, in place: nothing may run in it meanwhile.

        The snapshot may be another fork's of the same workspace.
        """
        async with self._lock:
            await self._workspace.offload(lambda: self._candidate.snapshots.restore(snapshot))

    async def touched(self, a: Snapshot, b: Snapshot) -> tuple[str, ...]:
        """Paths that differ in kind, content or mode, sorted; a folder's ends in `/`."""
        return await self._workspace.offload(lambda: self._candidate.snapshots.touched(a, b))

    async def changes(self, a: Snapshot, b: Snapshot) -> Patch:
        """What leads from one snapshot to the other."""
        return await self._workspace.offload(lambda: self._candidate.snapshots.changes(a, b))

    async def fork(self, label: str) -> Fork:
        """An exact copy of this fork as it is now."""
        async with self._lock:
            return await self._workspace.add_fork(label, self._candidate, None)

    async def apply(self, patch: Patch) -> None:
        """Put a patch into the folder, in which nothing may have run yet.

        Raises FileConflict when it was not made against the base, PathEscape when it leads out of it.
        """
        async with self._lock:
            await self._workspace.offload(lambda: self._candidate.apply(patch))

    async def reset(self) -> None:
        """Make the folder what the base is, in place: nothing may run in it meanwhile."""
        async with self._lock:
            await self._workspace.offload(self._candidate.reset)

    async def harvest(self, place: Path) -> Harvest:
        """Copy to the new folder `place` what is to be kept of a set-up; nothing may run here any more."""
        async with self._lock:
            return await self._workspace.offload(lambda: self._candidate.harvest(place))

    async def aclose(self) -> None:
        """Remove the folder. Idempotent."""
        async with self._lock:
            await self._workspace.close(self._candidate)


class Workspace:
    """Made by `open`; end it with `aclose`."""

    def __init__(
        self,
        tree: Path,
        state: Path,
        owner: Owner | None,
        intake: Intake,
        overlay: bool,
        on_note: Callable[[str], None] | None,
    ) -> None:
        self.tree = tree
        self.root = str(tree)
        self.mounts: tuple[Mount, ...] = ()
        self.enter: tuple[str, ...] = ()
        """Words before a command that is to see the forks."""
        self._mounts: Mounts | None = None
        self.prefix: str | None = None
        """The folder inside with the programs that a set-up installed, if one did; see SandboxSpec."""
        self.env: dict[str, str] = {}
        """Variables for each sandbox, by which what a set-up made is found."""
        self._state = state
        self._owner = owner
        self._intake = intake
        self._overlay = overlay
        self._on_note = on_note
        self._candidates: list[Candidate] = []
        self._serial = 0
        self._told: set[str] = set()
        self._running: set[asyncio.Future[Any]] = set()
        self._accepting = asyncio.Lock()
        self._lock_fd = -1
        self._base: Base
        self._shadow: Shadow
        self._store: Store | None = None
        self._kept: Kept | None = None

    @classmethod
    async def open(
        cls,
        tree: Path,
        state: Path,
        *,
        owner: Owner | None = None,
        intake: Intake = EVERYTHING,
        overlay: bool = True,
        on_note: Callable[[str], None] | None = None,
    ) -> Workspace:
        """Freeze `tree`. `state` is this workspace's own folder; what a crash left there is undone first.

        `owner` (uid, gid) owns the forks when pawl runs as root. `intake` says what of the tree is copied.
        `overlay`: forks are overlay mounts where the kernel lets pawl make them, else copies.
        `on_note` hears one line for each thing that the person should know. Raises SandboxError.
        """
        tree, state = await asyncio.to_thread(lambda: (tree.resolve(), state.resolve()))
        workspace = cls(tree, state, owner, intake, overlay, on_note)
        try:
            workspace.tell(await workspace.offload(workspace._prepare))
        except BaseException:
            await workspace.aclose()
            raise
        return workspace

    @staticmethod
    async def recover(state: Path) -> tuple[str, ...]:
        """Undo an accept that a crash cut off; returns the paths put back. Also done by `open`.

        Raises SandboxError when it cannot be undone.
        """
        return await asyncio.to_thread(recover, state)

    @staticmethod
    async def undo_accept(state: Path) -> tuple[str, ...]:
        """Undo the last accept of a workspace that is not open; returns the paths put back.

        Raises AcceptConflict when the user has edited one of its files since: then nothing is changed.
        """
        return await asyncio.to_thread(_undo_accept, state)

    @staticmethod
    async def sweep(folder: Path) -> Swept:
        """Tidy up after crashes: `folder` holds the states of many workspaces, one each in a folder.

        Of those that nobody uses, a cut-off accept is undone and the copies are removed; pre-images stay.
        """
        return await asyncio.to_thread(sweep, folder)

    def _prepare(self) -> list[str]:
        if not self.tree.is_dir():
            raise SandboxError(f"not a folder: {self.tree}")
        self._state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        spread(self._state.parent)
        self._state.mkdir(exist_ok=True, mode=0o700)
        self._state.chmod(0o700)
        self._lock_fd = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_fd)
            self._lock_fd = -1
            raise SandboxError(f"another pawl is using {self._state}") from None
        notes = Swept(recover(self._state)).told
        self._clear()
        git = git_dir(self.tree)
        self._shadow = Shadow(self._state / "shadow", object_format(git))
        self._shadow.exclude(exclude_rules(git))
        self._store = Store(self._state / "snapshots")
        (self._state / "forks").mkdir(mode=0o700)
        base, told = freeze(
            self.tree, self._state / "base", self._view(), self._intake, self._state, self._owner
        )
        self._base = base
        if self._overlay and not isinstance(mounts := open_mounts(self._state), str):
            self._mounts, self.enter = mounts, mounts.enter
            base.layers = Layers(self._state / "base", base.tree, self._owner, mounts)
        self.mounts = base.mounts
        if kind := network_mount(self.tree):
            told.append(f"{self.tree} is on a network mount ({kind}): copying it is slow")
        return notes + told

    async def is_current(self) -> bool:
        """False when the user's tree has changed since it was frozen, by an accept too."""
        return await self.offload(lambda: is_current(self._base, self.tree, self._intake, self._state))

    async def refresh(self) -> None:
        """Make the base what the user's tree is now; what did not change is not copied again.

        No fork may be open: it would show what the user did as undone.
        """
        if self._candidates:
            raise SandboxError("the base cannot be refreshed below an open fork")
        self.tell(await self.offload(self._refresh))
        self.mounts = self._base.mounts

    def _refresh(self) -> list[str]:
        old = [*(self._state / "view").glob("*")]
        notes = refresh(self._base, self.tree, self._view(), self._intake, self._state)
        for view in old:
            remove_path(view)
        return notes

    def _view(self) -> Path:
        self._serial += 1
        return self._state / "view" / f"{self._serial}"

    async def fork(self, label: str, patch: Patch | None = None) -> Fork:
        """A new candidate: the base, with the patch alone when one is given.

        Raises FileConflict when the patch was not made against this base, PathEscape when it leads out of it.
        """
        return await self.add_fork(label, None, patch)

    async def add_fork(self, label: str, parent: Candidate | None, patch: Patch | None) -> Fork:
        self._serial += 1
        place = self._state / "forks" / f"{self._serial}-{re.sub(r'[^A-Za-z0-9_-]+', '-', label)[:40]}"
        assert self._store is not None
        candidate = Candidate(self._base, self._shadow, self._store, place, self._owner)
        self._candidates.append(candidate)
        try:
            await self.offload(lambda: candidate.fill(parent, patch))
        except SandboxError:
            await self.close(candidate)
            raise
        return Fork(self, label, candidate)

    async def close(self, candidate: Candidate) -> None:
        await self.offload(candidate.remove)
        with contextlib.suppress(ValueError):
            self._candidates.remove(candidate)

    @property
    def frozen(self) -> tuple[Path, tuple[str, ...]]:
        """Where the base lies, and the files in it."""
        return self._base.tree, tuple(self._base.listing.files)

    async def changed_since(self, moment: float) -> tuple[str, ...]:
        """Files of the base that the user has changed after `moment` (seconds since the epoch), sorted.

        The kernel's time of change tells, which nobody can set. What git ignores is left out; what is gone
        cannot be told. Before a set-up is adopted.
        """
        listing = self._base.listing
        new = [path for path, info in listing.files.items() if info.st_ctime_ns > moment * 1e9]

        def told() -> tuple[str, ...]:
            with Beneath(self._base.tree) as base:
                return tuple(sorted(set(new) - ignored(self._shadow, base, listing, new)))

        return await self.offload(told)

    @property
    def is_set_up(self) -> bool:
        """True after `adopt`."""
        return self._kept is not None

    async def adopt(self, kept: Kept) -> None:
        """Make what a set-up made part of the base, of which no fork may be open, until the next refresh.

        The result is let go of by `aclose`, and when another one comes.
        """
        if self._kept is not None:
            self._kept.close()
        self._kept = kept
        await self.offload(lambda: adopt(self._base, self.tree, kept))
        self.mounts = self._base.mounts
        self.prefix, self.env = kept.prefix(self.root), kept.env(self.root)

    async def accept(self, patch: Patch) -> Accepted:
        """Apply a patch to the user's tree, all of it or nothing; it becomes part of the base.

        Raises AcceptConflict (what the user edited meanwhile does not merge) or another FileError. A fork
        made before then shows the accepted change as missing, unless it has it itself.
        """
        async with self._accepting:
            return await self.offload(lambda: self._accept(patch))

    def _accept(self, patch: Patch) -> Accepted:
        accepted = accept_patch(self.tree, patch, self._state / "accepts", self._shadow)
        self._base.advance(patch)
        for candidate in self._candidates:
            candidate.forget(patch.paths)
        return accepted

    async def aclose(self) -> None:
        """Remove the forks and the base. Pre-images of accepted patches stay. Idempotent."""
        while self._running:
            await asyncio.wait(set(self._running))
        if self._lock_fd >= 0:
            await asyncio.to_thread(self._clear)
            if self._mounts is not None:
                await asyncio.to_thread(self._mounts.close)
            os.close(self._lock_fd)
            self._lock_fd = -1
        if self._kept is not None:
            self._kept.close()

    def _clear(self) -> None:
        if self._store is not None:
            self._store.close()
        remove_copies(self._state)

    def tell(self, notes: list[str]) -> None:
        """Each note once."""
        for note in notes:
            if self._on_note is not None and note not in self._told:
                self._told.add(note)
                self._on_note(note)

    async def offload(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread. A cancelled caller leaves it running; `aclose` waits for its end."""
        future = asyncio.ensure_future(asyncio.to_thread(work))
        self._running.add(future)
        future.add_done_callback(self._finished)
        try:
            return await asyncio.shield(future)
        except SandboxError:
            raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = f"; make room at {self._state}, or set PAWL_HOME to another disk" if full else ""
            raise SandboxError(f"workspace {self.tree}: {error}{advice}") from error

    def _finished(self, future: asyncio.Future[T]) -> None:
        self._running.discard(future)
        if not future.cancelled():
            future.exception()


def _undo_accept(state: Path) -> tuple[str, ...]:
    if not state.is_dir():
        return ()
    with held(state) as ours:
        if not ours:
            raise SandboxError(f"another pawl is using {state}; end it first")
        recover(state)
        try:
            return undo_accept(state)
        except SandboxError:
            raise
        except OSError as error:
            raise SandboxError(f"nothing was undone: {error}") from error
