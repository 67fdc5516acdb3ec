"""Whole folders: list them, copy them exactly, remove them, with nothing followed out of them."""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from itertools import groupby, islice
from pathlib import Path

import msgspec

from sandbox.base import FileError, SandboxError
from sandbox.beneath import Beneath, open_regular, stamp
from sandbox.programs import need

MAX_FILES = 200_000
"""With more, a walk gives up: every copy and every comparison would take minutes."""
MAX_BYTES = 4 * 1024**3
MAX_DEPTH = 256
_FICLONE = 0x40049409
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _FS_TOPDIR = 0x80086601, 0x40086602, 0x20000
_COPY_AGAIN = 3
_MAX_SETTLE = 100
_CLOCK_REALTIME_COARSE = 5
"""The clock of file times; linux/time.h."""


class Verdict(enum.Enum):
    """What to do with a name that a walk meets."""

    TAKE = enum.auto()
    SKIP = enum.auto()
    HOLLOW = enum.auto()
    """A folder that is listed apart and not entered."""


Pick = Callable[[str, str, bool, int], Verdict]
"""(path, last component, is a folder, descriptor of the parent folder)"""


class Listing(msgspec.Struct):
    """What a folder holds. Paths are relative; a folder comes before what is in it; "" is the root."""

    folders: dict[str, os.stat_result] = {}
    files: dict[str, os.stat_result] = {}
    """Regular files and symlinks; those of one folder are neighbours."""
    hollow: list[str] = []
    special: list[str] = []
    """Sockets, FIFOs and devices."""
    locked: dict[str, int] = {}
    """Folder -> its own mode, where it had to be made usable first; see `relock`."""
    left_out: dict[str, str] = {}
    """Path -> why: what cannot be read, what is nested too deep."""


class TooLarge(SandboxError):
    """A tree is over the size that pawl handles. `seen` is what had been listed by then."""

    def __init__(self, seen: Listing, what: str) -> None:
        super().__init__(f"the folder has more than {what}")
        self.seen = seen


class _Named:
    """What an os.DirEntry tells, of a name that was not found by looking but given."""

    def __init__(self, name: str, folder: int) -> None:
        self.name = name
        self._info = os.stat(name, dir_fd=folder, follow_symlinks=False)

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return stat.S_ISDIR(self._info.st_mode)

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return self._info


_Entry = os.DirEntry[str] | _Named
Names = Callable[[str], Collection[str] | None]
"""(path of a folder) -> the names in it that count, None for all that are there"""


def every_name(path: str) -> None:
    """All that is there."""


def take_all(path: str, name: str, is_folder: bool, parent: int) -> Verdict:
    return Verdict.TAKE


def walk(
    root: Beneath, pick: Pick = take_all, names: Names = every_name, *, most: int = MAX_FILES
) -> Listing:
    """List a tree. Raises TooLarge, as soon as it has seen more than `most` files or MAX_BYTES."""
    listing = Listing()
    room = [most, MAX_BYTES]
    todo = [""]
    while todo:
        path = todo.pop()
        try:
            with root.folder(path) as fd, _scan(fd, names(path)) as (entries, scanned):
                listing.folders[path] = info = os.fstat(scanned)
                if (info.st_dev, info.st_ino) in root.unlocked:
                    listing.locked[path] = root.unlocked[info.st_dev, info.st_ino]
                found = sorted(islice(entries, most + 1), key=lambda entry: entry.name)
                for entry in found:
                    _look(listing, path, entry, scanned, pick, todo, room)
                    if room[1] < 0:
                        raise TooLarge(listing, f"{MAX_BYTES // 1024**3} GB")
                    if room[0] < 0:
                        break
                if room[0] < 0 or len(found) > most:
                    raise TooLarge(listing, f"{most:,} files")
        except FileNotFoundError:
            listing.folders.pop(path, None)
        except (PermissionError, NotADirectoryError) as error:
            listing.left_out[path] = error.strerror or str(error)
    return listing


def relock(root: Beneath, listing: Listing) -> None:
    """Give the folders that were made usable for a walk their own modes again, innermost first."""
    for path, mode in reversed(listing.locked.items()):
        with contextlib.suppress(FileError), root.folder(path) as fd:
            Path(f"/proc/self/fd/{fd}").chmod(stat.S_IMODE(mode))


@contextlib.contextmanager
def _scan(folder: int, names: Collection[str] | None) -> Iterator[tuple[Iterator[_Entry], int]]:
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        if names is not None:
            yield _named(names, fd), fd
            return
        with os.scandir(fd) as entries:
            yield entries, fd
    finally:
        os.close(fd)


def _named(names: Collection[str], folder: int) -> Iterator[_Named]:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            yield _Named(name, folder)


def _look(
    listing: Listing,
    folder: str,
    entry: _Entry,
    parent: int,
    pick: Pick,
    todo: list[str],
    room: list[int],
) -> None:
    path = f"{folder}/{entry.name}" if folder else entry.name
    is_folder = entry.is_dir(follow_symlinks=False)
    verdict = pick(path, entry.name, is_folder, parent)
    if verdict is Verdict.SKIP:
        return
    if verdict is Verdict.HOLLOW:
        listing.hollow.append(path)
    elif is_folder and path.count("/") >= MAX_DEPTH:
        listing.left_out[path] = f"nested deeper than {MAX_DEPTH} folders"
    elif is_folder:
        todo.append(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
                listing.files[path] = info
                room[0] -= 1
                room[1] -= info.st_size
            else:
                listing.special.append(path)


class Copier:
    """Copies a listing into a new folder: by reflink where the file system can, never by hard link."""

    def __init__(self, source: Beneath, target: Beneath) -> None:
        self._source = source
        self._target = target
        self._clone = True
        self._range = True

    def copy(self, listing: Listing) -> tuple[dict[str, os.stat_result], dict[str, str]]:
        """Copy folders (0700 until `finish`) and files; returns the copies' stats, and why others failed."""
        for path in (*listing.folders, *listing.hollow):
            if path:
                self._make_folder(path)
        done: dict[str, os.stat_result] = {}
        failed: dict[str, str] = {}
        for folder, paths in groupby(listing.files, key=lambda path: path.rpartition("/")[0]):
            try:
                with self._source.folder(folder) as source, self._target.folder(folder) as target:
                    for path in paths:
                        self._copy_one(path, source, target, listing.files[path], done, failed)
            except FileError as error:
                failed[folder] = str(error)
        return done, failed

    def finish(self, listing: Listing) -> None:
        """Give the folders their final modes and times, innermost first.

        The top stays open to its owner: the copy of a read-only folder is there to be worked in.
        """
        for path in reversed(listing.folders):
            info = listing.folders[path]
            mode = listing.locked.get(path, info.st_mode) & 0o777
            with contextlib.suppress(FileError), self._target.folder(path) as fd:
                handle = f"/proc/self/fd/{fd}"
                Path(handle).chmod(mode if path else mode | 0o700)
                os.utime(handle, ns=(info.st_atime_ns, info.st_mtime_ns))

    def _make_folder(self, path: str) -> None:
        head, _, name = path.rpartition("/")
        with self._target.folder(head) as fd, contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=fd)
            self._target.give(name, fd)

    def _copy_one(
        self,
        path: str,
        source: int,
        target: int,
        info: os.stat_result,
        done: dict[str, os.stat_result],
        failed: dict[str, str],
    ) -> None:
        name = path.rpartition("/")[2]
        try:
            if stat.S_ISLNK(info.st_mode):
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
                self._target.give(name, target)
                times = (info.st_atime_ns, info.st_mtime_ns)
                os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
                done[path] = os.stat(name, dir_fd=target, follow_symlinks=False)
            else:
                done[path] = self._copy_regular(name, source, target)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            failed[path] = error.strerror or str(error)

    def _copy_regular(self, name: str, source: int, target: int) -> os.stat_result:
        reading = open_regular(source, name, unlock=self._source.unlock)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            writing = os.open(name, flags, 0o600, dir_fd=target)
            try:
                info = self._fill(reading, writing)
                if self._target.owner is not None:
                    os.fchown(writing, *self._target.owner)
                os.fchmod(writing, stat.S_IMODE(info.st_mode) & 0o777)
                os.utime(writing, ns=(info.st_atime_ns, info.st_mtime_ns))
                return os.fstat(writing)
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _fill(self, reading: int, writing: int) -> os.stat_result:
        """Copy the bytes, again when the file is written to meanwhile; returns the source's stat."""
        for _ in range(_COPY_AGAIN):
            before = os.fstat(reading)
            os.lseek(reading, 0, os.SEEK_SET)
            os.lseek(writing, 0, os.SEEK_SET)
            os.ftruncate(writing, 0)
            self._copy_bytes(reading, writing, before.st_size)
            if stamp(os.fstat(reading)) == stamp(before):
                return before
        raise OSError(errno.EBUSY, "it keeps changing while it is copied")

    def _copy_bytes(self, reading: int, writing: int, size: int) -> None:
        if self._clone and size:
            try:
                fcntl.ioctl(writing, _FICLONE, reading)
                return
            except OSError:
                self._clone = False
        while size > 0:
            size -= (copied := self._copy_some(reading, writing, size))
            if not copied:
                return

    def _copy_some(self, reading: int, writing: int, size: int) -> int:
        if self._range:
            try:
                return os.copy_file_range(reading, writing, size)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                self._range = False
        return os.sendfile(writing, reading, None, size)


def spread(folder: Path) -> None:
    """Let an ext4 put the folders made in this one far from each other; other file systems do as they like.

    Where thousands of files were just removed, ext4 makes new ones up to twenty times slower for minutes: it
    passes over inodes freed lately one by one (`recently_deleted` in the kernel's fs/ext4/ialloc.c). A
    folder that is marked as the top of hierarchies (`chattr +T`) has each of its own elsewhere on the disk.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = bytearray(8)
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
        marked = int.from_bytes(flags, sys.byteorder) | _FS_TOPDIR
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, marked.to_bytes(8, sys.byteorder))
    except OSError:
        pass
    finally:
        os.close(fd)


def settle(newest_ns: int) -> int:
    """Wait (at most one kernel tick) until a later write must get another change time than `newest_ns`.

    Returns the clock: every later write gets this change time or a later one. A time that lies in the future,
    as after the clock was set back, is not waited for.
    """
    for _ in range(_MAX_SETTLE):
        if time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) > newest_ns:
            break
        time.sleep(0.0005)
    return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)


def remove_tree(folder: int, name: str) -> None:
    """Remove a folder of any depth, whatever its modes, in the folder with this descriptor.

    `rm` walks by descriptors as well, and has no limit of depth as a recursion has.
    """
    where = f"/proc/{os.getpid()}/fd/{folder}"
    command = [need("rm"), "-rf", "--", f"./{name}"]
    if subprocess.run(command, cwd=where, capture_output=True, check=False).returncode:
        subprocess.run(
            [need("chmod"), "-R", "u+rwX", "--", f"./{name}"], cwd=where, capture_output=True, check=False
        )
        done = subprocess.run(command, cwd=where, capture_output=True, check=False)
        if done.returncode:
            raise SandboxError(f"cannot remove {name}: {done.stderr.decode('utf-8', 'replace').strip()}")


def remove_path(path: Path) -> None:
    """`remove_tree` for a folder of our own; it is no error when it is gone."""
    if not path.exists():
        return
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(fd, path.name)
    finally:
        os.close(fd)
