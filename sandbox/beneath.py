"""File operations under one folder that no symlink leads out of.

Every path is walked one component at a time by folder descriptors with O_NOFOLLOW, so a symlink that is
swapped in between check and use is refused and never followed. Paths are relative, with `/`; bytes that are
not UTF-8 are surrogate escapes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import EllipsisType
from typing import BinaryIO, NamedTuple

from sandbox.base import FileConflict, FileMissing, FileTooLarge, NotRegular, PathEscape

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1024**2
_ACCESS = "system.posix_acl_access"

Owner = tuple[int, int]
Stamp = tuple[int, int, int, int, int]


class Content(NamedTuple):
    """A regular file's bytes, or a symlink's target, and how it was when they were read."""

    data: bytes
    stat: os.stat_result
    attributes: Mapping[str, bytes] = {}
    """Extended attributes that a person may set, the access list among them."""


def stamp(info: os.stat_result) -> Stamp:
    """Changes whenever a file's content or mode does; nobody but the kernel sets the change time."""
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_mode


def check_path(path: str) -> None:
    """Raise PathEscape unless `path` is plainly relative, without `.`, `..`, NUL or a `.git` component."""
    if not path or "\0" in path or path.startswith("/"):
        raise PathEscape(path, f"not a relative path: {path!r}")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise PathEscape(path, f"not a plain path: {path!r}")
        if part.lower().rstrip(". ") in (".git", "git~1"):
            raise PathEscape(path, f"inside a git directory: {path!r}")


def check_link(path: str, target: str) -> None:
    """Raise PathEscape unless the symlink at `path` can only lead to a place inside the tree.

    `..` counts only at the start, where the folders it climbs are real ones; after a name it could climb from
    wherever another symlink leads.
    """
    parts = target.split("/")
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    rest = [part for part in parts[climbs:] if part not in ("", ".")]
    if target.startswith("/") or climbs > path.count("/") or ".." in rest:
        raise PathEscape(path, f"symlink {path!r} leads out of the tree: {target!r}")
    if rest:
        check_path("/".join(rest))


def open_regular(folder: int, name: str, *, unlock: bool = False) -> int:
    """Descriptor of a regular file in a folder; anything else is refused without waiting on it.

    `unlock` reads a file of ours that has no read permission, and leaves its mode as it was.
    """
    try:
        fd = os.open(name, _READ, dir_fd=folder)
    except PermissionError:
        if not unlock:
            raise
        fd = _open_locked(folder, name)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotRegular(name, f"not a regular file: {name!r}")
    return fd


def _open_locked(folder: int, name: str) -> int:
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        Path(f"/proc/self/fd/{handle}").chmod(mode | 0o400)
        try:
            return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            Path(f"/proc/self/fd/{handle}").chmod(mode)
    finally:
        os.close(handle)


class Beneath:
    """One folder, held open. Close it, or use it as a context manager."""

    def __init__(self, root: Path, owner: Owner | None = None, *, unlock: bool = False) -> None:
        """`owner` (uid, gid) is given to everything made here; it needs root.

        `unlock` makes folders that we own usable whatever their mode: for trees that a model works in.
        """
        self.unlock = unlock and os.geteuid() != 0
        self.unlocked: dict[tuple[int, int], int] = {}
        """(device, inode) of each folder that was made usable -> its mode before."""
        self.owner = owner if os.geteuid() == 0 else None
        self._fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Beneath:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    @contextlib.contextmanager
    def folder(self, path: str, *, create: bool = False) -> Iterator[int]:
        """Descriptor of a folder ("" is the root), made with mode 0755 when asked and missing.

        Raises FileMissing, or PathEscape when a symlink or a file is in the way.
        """
        fd = os.dup(self._fd)
        try:
            for part in path.split("/") if path else ():
                below = self._enter(fd, part, path, create)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    def _enter(self, fd: int, part: str, path: str, create: bool) -> int:
        try:
            below = os.open(part, _FOLDER, dir_fd=fd)
            if self.unlock and (mode := (info := os.fstat(below)).st_mode) & 0o700 != 0o700:
                self.unlocked.setdefault((info.st_dev, info.st_ino), mode)
                Path(f"/proc/self/fd/{below}").chmod(stat.S_IMODE(mode) | 0o700)
            return below
        except FileNotFoundError:
            if not create:
                raise FileMissing(path, f"no such folder: {path!r}") from None
        except NotADirectoryError:
            raise PathEscape(path, f"{part!r} on the way to {path!r} is not a folder") from None
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=fd)
        below = self._enter(fd, part, path, create=False)
        os.chmod(part, 0o755, dir_fd=fd)
        self.give(part, fd)
        return below

    @contextlib.contextmanager
    def _parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        head, _, name = path.rpartition("/")
        with self.folder(head, create=create) as fd:
            yield fd, name

    def give(self, name: str, folder: int, owner: Owner | None = None) -> None:
        owner = owner or self.owner
        if owner is not None:
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)

    def stat(self, path: str) -> os.stat_result | None:
        """What is at a path, a symlink not followed; None when nothing is. Raises PathEscape."""
        try:
            with self._parent(path) as (fd, name):
                return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def read(self, path: str, limit: int | None = None) -> Content:
        """A regular file's content or a symlink's target. Raises a FileError."""
        with self._parent(path) as (fd, name):
            try:
                info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISLNK(info.st_mode):
                    return Content(os.readlink(os.fsencode(name), dir_fd=fd), info)
                file = open_regular(fd, name, unlock=self.unlock)
            except FileNotFoundError:
                raise FileMissing(path, f"no such file: {path!r}") from None
        with os.fdopen(file, "rb") as stream:
            data = stream.read() if limit is None else stream.read(limit + 1)
            if limit is not None and len(data) > limit:
                raise FileTooLarge(path, f"{path!r} has more than {limit} bytes")
            return Content(data, os.fstat(file), _attributes(file))

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """A regular file, to be read. Raises a FileError."""
        with self._parent(path) as (fd, name):
            try:
                file = open_regular(fd, name, unlock=self.unlock)
            except FileNotFoundError:
                raise FileMissing(path, f"no such file: {path!r}") from None
        with os.fdopen(file, "rb") as stream:
            yield stream

    def link(self, source: str, path: str, temp: str) -> None:
        """Make `path`, which may be there, another name of the file `source`, atomically."""
        with self._parent(source) as (old, name), self._parent(path) as (new, other):
            os.link(name, temp, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
            os.rename(temp, other, src_dir_fd=new, dst_dir_fd=new)

    def put(
        self,
        path: str,
        data: bytes | BinaryIO,
        mode: int,
        *,
        owner: Owner | None = None,
        mtime_ns: int | None = None,
        attributes: Mapping[str, bytes] = {},
        temp: str = ".pawl-new",
        sync: bool = False,
        seen: os.stat_result | EllipsisType | None = ...,
    ) -> None:
        """Put a file or symlink in place atomically: `temp` beside it, then a rename; parents are made.

        `data` may be a file that is copied. `mode` is a whole st_mode, its type bits choose file or symlink.
        `sync` makes it last through a crash.
        `seen` is what must be there at the last moment (None: nothing), else FileConflict and no change.
        FileMissing says that the folder was removed meanwhile.
        """
        with self._parent(path, create=True) as (fd, name):
            try:
                if stat.S_ISLNK(mode) and isinstance(data, bytes):
                    os.symlink(data, os.fsencode(temp), dir_fd=fd)
                else:
                    _write(fd, temp, data, mode, sync, attributes)
                self.give(temp, fd, owner)
                if mtime_ns is not None:
                    os.utime(temp, ns=(mtime_ns, mtime_ns), dir_fd=fd, follow_symlinks=False)
                _expect(fd, name, path, seen)
                if seen is None:
                    _rename_new(fd, temp, name, path)
                else:
                    os.rename(temp, name, src_dir_fd=fd, dst_dir_fd=fd)
            except OSError as error:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temp, dir_fd=fd)
                if isinstance(error, FileNotFoundError):
                    raise FileMissing(path, f"the folder of {path!r} has just been removed") from None
                raise
            if sync:
                _sync(fd)

    def remove(self, path: str, *, sync: bool = False, seen: os.stat_result | EllipsisType = ...) -> None:
        """Remove a file or symlink; it is no error when it is gone. `seen` as for `put`."""
        with contextlib.suppress(FileNotFoundError), self._parent(path) as (fd, name):
            _expect(fd, name, path, seen)
            os.unlink(name, dir_fd=fd)
            if sync:
                _sync(fd)

    def prune(self, path: str) -> None:
        """Remove the folders above `path` that are empty, from the innermost out."""
        while path := path.rpartition("/")[0]:
            try:
                with self._parent(path) as (fd, name):
                    os.rmdir(name, dir_fd=fd)
            except FileNotFoundError:
                continue
            except OSError:
                return


def _expect(folder: int, name: str, path: str, seen: os.stat_result | EllipsisType | None) -> None:
    if isinstance(seen, os.stat_result):
        try:
            now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            raise FileConflict(path, f"{path!r} is gone") from None
        if stamp(now) != stamp(seen):
            raise FileConflict(path, f"{path!r} has just been changed")


def _rename_new(folder: int, temp: str, name: str, path: str) -> None:
    """Rename that replaces nothing: a link fails where a rename would overwrite."""
    try:
        os.link(temp, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise FileConflict(path, f"{path!r} has just been made") from None
    os.unlink(temp, dir_fd=folder)


def _attributes(file: int) -> dict[str, bytes]:
    try:
        names = [name for name in os.listxattr(file) if name.startswith("user.") or name == _ACCESS]
        return {name: os.getxattr(file, name) for name in names}
    except OSError:  # the file system has none
        return {}


def _write(
    folder: int,
    name: str,
    data: bytes | BinaryIO,
    mode: int,
    sync: bool,
    attributes: Mapping[str, bytes],
) -> None:
    fd = os.open(name, _CREATE, 0o600, dir_fd=folder)
    with os.fdopen(fd, "wb") as stream:
        if isinstance(data, bytes):
            stream.write(data)
        else:
            shutil.copyfileobj(data, stream, _CHUNK)
        stream.flush()
        for attribute, value in attributes.items():
            os.setxattr(fd, attribute, value)
        os.fchmod(fd, stat.S_IMODE(mode) & 0o777)  # after an access list, which has a mode of its own
        if sync:
            os.fsync(fd)


def _sync(folder: int) -> None:
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
