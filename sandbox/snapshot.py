"""Snapshots of one candidate: everything in its folder, and back to it exactly.

A snapshot reads only what changed: a file whose stamp is as it was when it was last read is what it was then.
A stamp is trusted when its change time lies before the clock tick in which reading began, because every later
write gets a later one.

A restore replaces each file by a rename, so a crash leaves each one old or new, and the next restore mends
the rest. What no snapshot could bring back is not removed unless it is in the way: see `Snapshot.left_out`.

A large file that is as in the base is not read: it is borrowed from there, whatever its size.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import msgspec

from sandbox.base import FileError, SandboxError
from sandbox.beneath import Beneath, Content, Stamp, open_regular, stamp
from sandbox.freeze import Base, is_environment
from sandbox.patch import FileChange, Patch, git_mode
from sandbox.rules import is_dependency
from sandbox.shadow import Shadow
from sandbox.store import Manifest, Node, Store
from sandbox.tree import Listing, Verdict, relock, remove_tree, settle, walk

LARGE = 20 * 1024**2
"""A file over this is borrowed from the base as long as it is the base's."""
MAX_FILE = 256 * 1024**2
"""A file over this that is not the base's is left out of snapshots."""
_SPECIAL = "a socket, FIFO or device"
_NONE: Stamp = (0, 0, 0, 0, 0)


class Snapshot(msgspec.Struct, frozen=True):
    """A fork's whole state at one moment; good for as long as its workspace is open."""

    id: int
    label: str
    files: int
    """Regular files and symlinks."""
    bytes: int
    left_out: dict[str, str]
    """Path -> why it is not in the snapshot: too large, installed packages, a device. A restore leaves it
    alone unless something of the snapshot belongs in its place."""
    unkept: dict[str, Stamp]
    """Those that are no mere trouble with reading, and how a file was: a change of one is seen."""
    links: tuple[tuple[str, ...], ...]
    """Paths that are one file."""

    def unlike(self, other: Snapshot) -> tuple[str, ...]:
        """Paths of what is not kept where the two differ, sorted."""
        paths = self.unkept.keys() | other.unkept.keys()
        return tuple(sorted(path for path in paths if self.unkept.get(path) != other.unkept.get(path)))


class Snapshots:
    """Takes and restores them. Blocking. One method at a time."""

    def __init__(
        self,
        base: Base,
        store: Store,
        shadow: Shadow,
        open_tree: Callable[[], Beneath],
        is_base: Callable[[str, Stamp], bool],
    ) -> None:
        """`is_base` is true for a path and a stamp that are known to be equal to the base's file."""
        self._base = base
        self._is_base = is_base
        self._store = store
        self._shadow = shadow
        self._open = open_tree
        self._last = 0
        """Number of the newest snapshot taken or restored here, and what it holds."""
        self._manifest: Manifest = {}
        self._entered: set[str] = set()
        """Folders that a snapshot has held: they stay in, whatever they become."""
        self._known: dict[str, tuple[Stamp, Node]] = {}

    def take(self, label: str) -> Snapshot:
        """Raises SandboxError when the folder is over the size that pawl handles, OSError on a full disk."""
        with self._open() as tree:
            listing = walk(tree, self._pick)
            left_out = self._left_out(listing)
            if "" in left_out:
                raise SandboxError(f"cannot read the candidate's folder: {left_out['']}")
            try:
                manifest = self._fill(tree, listing, left_out)
            finally:
                relock(tree, listing)
        self._known = {path: known for path, known in self._known.items() if path in manifest}
        self._remember(self._store.save(self._last, self._manifest, manifest), manifest)
        sizes = [node.size for node in manifest.values() if node.key]
        unkept = {path: stamp(info) for path, info in listing.files.items() if path in left_out}
        unkept |= dict.fromkeys(
            (*listing.special, *(path for path in listing.hollow if path in left_out)), _NONE
        )
        return Snapshot(
            self._last, label, len(sizes), sum(sizes), left_out, unkept, _links(listing, manifest)
        )

    def _fill(self, tree: Beneath, listing: Listing, left_out: dict[str, str]) -> Manifest:
        manifest = {
            path: Node(stat.S_IFDIR | listing.locked.get(path, info.st_mode) & 0o777)
            for path, info in listing.folders.items()
        }
        stale = {}
        for path, info in listing.files.items():
            known = self._known.get(path)
            node = known[1] if known is not None and known[0] == stamp(info) else self._borrow(path, info)
            if node is not None:
                manifest[path] = node
                left_out.pop(path, None)
            elif path not in left_out:
                stale[path] = info
        return manifest | self._read(tree, stale, left_out)

    def _borrow(self, path: str, info: os.stat_result) -> Node | None:
        """The node of a large file that is the base's; None when it is not, or that is not known."""
        if info.st_size <= LARGE or not self._is_base(path, stamp(info)):
            return None
        with Beneath(self._base.tree) as base:
            there = base.stat(path)
        if there is None:
            return None
        key = self._store.borrow(path, stamp(there))
        self._known[path] = stamp(info), (node := _node(info, key, info.st_size))
        return node

    def restore(self, snapshot: Snapshot) -> None:
        """Make the folder what it was. Nothing may run in it meanwhile; a FileError says that it did."""
        wanted = self._store.manifest(snapshot.id)
        borrowed = []
        self._entered |= {path for path, node in wanted.items() if not node.key}
        temp = f".pawl-{uuid.uuid4().hex}"
        with self._open() as tree:
            found = walk(tree, self._pick)
            for path, node in wanted.items():
                if node.key in self._store.borrowed and not self._is(path, node, found):
                    with self._content(node):
                        pass  # it is there: said before anything is changed
            large = {path for path, info in found.files.items() if not self._is_held(path, info)}
            _remove_others(tree, found, wanted, snapshot.left_out, large)
            folders = sorted(path for path, node in wanted.items() if not node.key)
            for path in sorted(
                {*folders, *self._base.listing.hollow} - found.folders.keys() - {*found.hollow}
            ):
                _make_folder(tree, path)
            for path, node in wanted.items():
                if node.key and not self._is(path, node, found):
                    with self._content(node) as data:
                        tree.put(path, data, node.mode, mtime_ns=node.mtime_ns, temp=temp)
                    if node.key in self._store.borrowed:
                        borrowed.append(path)
            for paths in snapshot.links:
                _link(tree, paths, temp)
            for path in reversed(folders):
                with tree.folder(path) as fd:
                    _set_mode(fd, wanted[path].mode)
            made = {path: info for path in borrowed if (info := tree.stat(path)) is not None}
        settle(max((info.st_ctime_ns for info in made.values()), default=0))
        self._known |= {path: (stamp(info), wanted[path]) for path, info in made.items()}
        self._remember(snapshot.id, wanted)

    @contextlib.contextmanager
    def _content(self, node: Node) -> Iterator[bytes | BinaryIO]:
        """What belongs into the file of a node. Raises SandboxError when it is not there any more."""
        if node.key not in self._store.borrowed:
            yield self._store.get(node.key)
            return
        path, there = self._store.borrowed[node.key]
        with Beneath(self._base.tree) as base, base.open(path) as stream:
            if stamp(os.fstat(stream.fileno())) != there:
                raise SandboxError(f"{path!r} cannot be put back: it has been accepted in another form since")
            yield stream

    def touched(self, a: Snapshot, b: Snapshot) -> tuple[str, ...]:
        """Paths that differ in kind, content or mode, sorted; a folder's ends in `/`."""
        before, after = self._store.manifest(a.id), self._store.manifest(b.id)
        found = []
        for path in before.keys() | after.keys():
            old, new = before.get(path), after.get(path)
            if old is None or new is None or (old.mode, old.key) != (new.mode, new.key):
                node = new or old
                found.append(path if node is not None and node.key else f"{path or '.'}/")
        return tuple(sorted({*found, *a.unlike(b)}))

    def changes(self, a: Snapshot, b: Snapshot) -> Patch:
        """What leads from one to the other, as far as a patch can say it: no folders, nothing in a `.git`."""
        before, after = self._store.manifest(a.id), self._store.manifest(b.id)
        changes = []
        for path in before.keys() | after.keys():
            if before.get(path) == after.get(path) or ".git" in path.split("/"):
                continue
            old, new = self._side(before.get(path)), self._side(after.get(path))
            if old != new:
                changes.append(FileChange(path, old[0], new[0], old[1], new[1], b""))
        return self._shadow.render(changes)

    def _side(self, node: Node | None) -> tuple[bytes | None, int | None]:
        if node is None or not node.key:
            return None, None
        with self._content(node) as content:
            return content if isinstance(content, bytes) else content.read(), git_mode(node.mode)

    def _remember(self, number: int, manifest: Manifest) -> None:
        self._last, self._manifest = number, manifest
        self._entered |= {path for path, node in manifest.items() if not node.key}

    def _pick(self, path: str, name: str, is_folder: bool, parent: int) -> Verdict:
        if not is_folder or path in self._base.listing.folders or path in self._entered:
            return Verdict.TAKE
        hollow = path in self._hollow or is_dependency(name) or is_environment(name, parent)
        return Verdict.HOLLOW if hollow else Verdict.TAKE

    @property
    def _hollow(self) -> list[str]:
        """Mount points: what is seen there inside is the user's, read-only."""
        return self._base.listing.hollow

    def _left_out(self, listing: Listing) -> dict[str, str]:
        left_out = dict(listing.left_out)
        left_out |= {
            path: "a folder of installed packages" for path in listing.hollow if path not in self._hollow
        }
        left_out |= dict.fromkeys(listing.special, _SPECIAL)
        for path, info in listing.files.items():
            if info.st_size > MAX_FILE:
                left_out[path] = f"over {MAX_FILE // 1024**2} MB"
        return left_out

    def _read(self, tree: Beneath, files: dict[str, os.stat_result], left_out: dict[str, str]) -> Manifest:
        """Nodes of these files, their contents kept; what cannot be read goes to `left_out`."""
        nodes: Manifest = {}
        started = settle(max((info.st_ctime_ns for info in files.values()), default=0))
        for folder, paths in groupby(files, key=lambda path: path.rpartition("/")[0]):
            try:
                with tree.folder(folder) as fd:
                    for path in paths:
                        content = _content(fd, path, files[path], tree.unlock, left_out)
                        if content is None:
                            continue
                        nodes[path] = node = _file(content, self._store)
                        if content.stat.st_ctime_ns < started:
                            self._known[path] = stamp(content.stat), node
            except FileError as error:
                left_out[folder] = str(error)
        return nodes

    def _is_held(self, path: str, info: os.stat_result) -> bool:
        """True when a snapshot can bring the file back."""
        known = self._known.get(path)
        return (
            info.st_size <= MAX_FILE
            or (known is not None and known[0] == stamp(info))
            or self._borrow(path, info) is not None
        )

    def _is(self, path: str, node: Node, found: Listing) -> bool:
        info, known = found.files.get(path), self._known.get(path)
        return info is not None and known == (stamp(info), node)


def _content(
    folder: int, path: str, info: os.stat_result, unlock: bool, left_out: dict[str, str]
) -> Content | None:
    """A file's content and how it was afterwards; None when it is gone or was put into `left_out`."""
    name = path.rpartition("/")[2]
    try:
        if stat.S_ISLNK(info.st_mode):
            target = os.readlink(os.fsencode(name), dir_fd=folder)
            return Content(target, os.stat(name, dir_fd=folder, follow_symlinks=False))
        fd = open_regular(folder, name, unlock=unlock)
        with os.fdopen(fd, "rb", buffering=0) as stream:
            data = stream.read(MAX_FILE + 1) or b""
            info = os.fstat(fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        left_out[path] = error.strerror or str(error)
        return None
    if len(data) <= MAX_FILE:
        return Content(data, info)
    left_out[path] = f"over {MAX_FILE // 1024**2} MB"
    return None


def _file(content: Content, store: Store) -> Node:
    return _node(content.stat, store.add(content.data), len(content.data))


def _node(info: os.stat_result, key: bytes, size: int) -> Node:
    mode = info.st_mode if stat.S_ISLNK(info.st_mode) else stat.S_IFREG | info.st_mode & 0o777
    return Node(mode, info.st_mtime_ns, key, size)


def _links(listing: Listing, manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    """The paths of a listing that are one file."""
    same: dict[tuple[int, int], list[str]] = {}
    for path, info in listing.files.items():
        if info.st_nlink > 1 and path in manifest:
            same.setdefault((info.st_dev, info.st_ino), []).append(path)
    return tuple(tuple(paths) for paths in same.values() if len(paths) > 1)


def _link(tree: Beneath, paths: tuple[str, ...], temp: str) -> None:
    """Make paths one file again that a restore has made equal."""
    inodes = [info.st_ino for path in paths if (info := tree.stat(path)) is not None]
    if len(set(inodes)) > 1:
        for path in paths[1:]:
            tree.link(paths[0], path, temp)


def _set_mode(folder: int, mode: int) -> None:
    if stat.S_IMODE(os.fstat(folder).st_mode) & 0o777 != mode & 0o777:
        Path(f"/proc/self/fd/{folder}").chmod(mode & 0o777)


def _make_folder(tree: Beneath, path: str) -> None:
    head, _, name = path.rpartition("/")
    with tree.folder(head, create=True) as fd:
        os.mkdir(name, 0o700, dir_fd=fd)
        tree.give(name, fd)


def _remove_others(
    tree: Beneath, found: Listing, wanted: Manifest, kept: dict[str, str], large: Collection[str]
) -> None:
    """Remove what the snapshot has not, but for files too large to be kept, and what is in the way."""

    files_kept = {path for path, why in kept.items() if why != _SPECIAL}

    def unwanted(path: str, kept: Collection[str] = kept) -> bool:
        return path not in wanted and not _within(path, kept)

    for path in found.files:
        node = wanted.get(path)
        stale = unwanted(path, files_kept) and path not in large
        if (node is not None and not node.key) or stale:
            tree.remove(path)
    for path in found.special:
        if path in wanted or unwanted(path):
            tree.remove(path)
    for path in (*found.hollow, *found.left_out, *reversed(found.folders)):
        node = wanted.get(path)
        head, _, name = path.rpartition("/")
        if node is not None and node.key:
            with tree.folder(head) as fd:
                remove_tree(fd, name)
        elif unwanted(path) and path in found.folders:
            # it stays when something that was left out is in it
            with contextlib.suppress(OSError), tree.folder(head) as fd:
                os.rmdir(name, dir_fd=fd)


def _within(path: str, places: Collection[str]) -> bool:
    while path and path not in places:
        path = path.rpartition("/")[0]
    return bool(path)
