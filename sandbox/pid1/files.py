"""File operations below one folder, for a tree whose content is hostile.

Every path is walked name by name from a descriptor of the root, each step with O_NOFOLLOW; symlinks are read
and walked the same way, so that they lead anywhere inside and nowhere outside, whatever is swapped meanwhile.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

_LINKS = 40
_DEPTH = 200
_LINE = 500
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BLOCK = 1 << 20
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(Exception):
    """One file operation was refused. `kind` is the name of an error class of sandbox.base."""

    def __init__(self, kind: str, message: str, place: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.place = place
        """Of a FileMissing: the path that is not there, as Place has it."""


class Place(NamedTuple):
    """Where a path ends: a name in an open folder, never a symlink. `status` is None for nothing there."""

    folder: int
    name: str
    status: os.stat_result | None
    path: str = ""
    """From the root, without a symlink in it."""


def refusal(error: OSError) -> Refused:
    """The Refused that says what an OSError says."""
    kinds = {errno.ENOENT: "FileMissing", errno.ENOTDIR: "NotRegular", errno.ELOOP: "PathEscape"}
    kinds[errno.EISDIR] = kinds[errno.ENXIO] = "NotRegular"
    return Refused(kinds.get(error.errno or 0, "FileError"), os.strerror(error.errno or errno.EIO))


class Files:
    """read, write, remove, list and search below `root`; every method raises Refused."""

    def __init__(self, root: str, read_bytes: int, write_bytes: int) -> None:
        self.root = root.rstrip("/")
        self.read_bytes = read_bytes
        self.write_bytes = write_bytes
        self._top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _names(self, path: str) -> list[str]:
        if "\0" in path:
            raise Refused("FileError", "a path cannot hold a NUL")
        if path.startswith("/"):
            inside = path == self.root or path.startswith(self.root + "/")
            if not inside:
                raise Refused("PathEscape", "outside the workspace")
            path = path[len(self.root) :]
        return [name for name in path.split("/") if name not in ("", ".")]

    def _walk(self, path: str, make: bool = False, follow: bool = True) -> Place:
        """Walk to the last name of a path; with `make`, missing folders on the way are made.

        Without `follow`, a symlink in the last place is the place itself.

        The folder of the result is the caller's to close.
        """
        opened = [os.dup(self._top)]
        trail: list[str] = []
        names = self._names(path)[::-1]
        links = 0
        try:
            while names:
                name = names.pop()
                if name == "..":
                    if len(opened) == 1:
                        raise Refused("PathEscape", "outside the workspace")
                    os.close(opened.pop())
                    trail.pop()
                    continue
                status = self._status(name, opened[-1])
                if status is not None and stat.S_ISLNK(status.st_mode) and (names or follow):
                    links += 1
                    if links > _LINKS:
                        raise Refused("PathEscape", "too many symlinks")
                    target = os.readlink(name, dir_fd=opened[-1])
                    if target.startswith("/"):
                        while len(opened) > 1:
                            os.close(opened.pop())
                        trail.clear()
                    names += self._names(target)[::-1]
                    continue
                if not names:
                    return Place(os.dup(opened[-1]), name, status, "/".join([*trail, name]))
                if status is None and make:
                    os.mkdir(name, dir_fd=opened[-1])
                elif status is None:
                    missing = "/".join([*trail, name, *reversed(names)])
                    raise Refused("FileMissing", "no such file or folder", missing)
                elif not stat.S_ISDIR(status.st_mode):
                    raise Refused("NotRegular", "a part of the path is not a folder")
                opened.append(os.open(name, _PATH_ONLY | os.O_DIRECTORY, dir_fd=opened[-1]))
                trail.append(name)
            return Place(os.dup(opened[-1]), ".", os.fstat(opened[-1]), "/".join(trail) or ".")
        except OSError as error:
            raise refusal(error) from None
        finally:
            for descriptor in opened:
                os.close(descriptor)

    @staticmethod
    def _status(name: str, folder: int) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def resolve(self, path: str) -> list[list[str]]:
        """[[path from the root, kind]] of where a path leads; names that are not there stay as they are."""
        try:
            place = self._walk(path)
        except Refused as refused:
            if refused.place:
                return [[refused.place, "missing"]]
            raise
        os.close(place.folder)
        return [[place.path, _kind(place.status.st_mode) if place.status else "missing"]]

    def heads(self, paths: list[str], limit: int) -> bytes:
        """A line of JSON with the lengths, null for no regular file, then the first `limit` bytes of each."""
        heads = [self._head(path, limit) for path in paths]
        lengths = json.dumps([None if head is None else len(head) for head in heads])
        return lengths.encode("ascii") + b"\n" + b"".join(head or b"" for head in heads)

    def _head(self, path: str, limit: int) -> bytes | None:
        try:
            place = self._walk(path)
            try:
                descriptor, _ = self._open(place)
            finally:
                os.close(place.folder)
        except Refused:
            return None
        with open(descriptor, "rb") as file:
            return file.read(limit)

    def folder(self, path: str) -> int:
        """An open descriptor of a folder, the caller's to close."""
        place = self._walk(path)
        try:
            if place.status is None:
                raise Refused("FileMissing", "no such folder")
            if not stat.S_ISDIR(place.status.st_mode):
                raise Refused("NotRegular", "not a folder")
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(place.name, flags, dir_fd=place.folder)
        except OSError as error:
            raise refusal(error) from None
        finally:
            os.close(place.folder)

    def _open(self, place: Place) -> tuple[int, os.stat_result]:
        """Open a regular file for reading; a FIFO or device is neither opened nor waited for."""
        if place.status is None:
            raise Refused("FileMissing", "no such file")
        if not stat.S_ISREG(place.status.st_mode):
            raise Refused("NotRegular", _kind(place.status.st_mode) + ", not a regular file")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            descriptor = os.open(place.name, flags, dir_fd=place.folder)
        except OSError as error:
            raise refusal(error) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise Refused("NotRegular", "not a regular file")
        return descriptor, status

    def _content(self, place: Place) -> tuple[bytes, os.stat_result]:
        descriptor, status = self._open(place)
        try:
            if status.st_size > self.read_bytes:
                raise Refused("FileTooLarge", f"{status.st_size} bytes; the limit is {self.read_bytes}")
            parts, room = [], self.read_bytes + 1
            while room > 0:
                part = os.read(descriptor, min(room, _BLOCK))
                if not part:
                    break
                parts.append(part)
                room -= len(part)
            if room <= 0:
                raise Refused("FileTooLarge", f"the file grew past {self.read_bytes} bytes")
            return b"".join(parts), status
        except OSError as error:
            raise refusal(error) from None
        finally:
            os.close(descriptor)

    def read(self, path: str, offset: int, limit: int | None) -> tuple[dict[str, Any], bytes]:
        place = self._walk(path)
        try:
            data, status = self._content(place)
        finally:
            os.close(place.folder)
        part = data[offset:] if limit is None else data[offset : offset + limit]
        facts = {
            "size": len(data),
            "hash": hashlib.sha256(data).hexdigest(),
            "mode": stat.S_IMODE(status.st_mode),
        }
        return facts, part

    def write(self, path: str, data: bytes, expect: str | None, mode: int | None) -> dict[str, Any]:
        """Write under a temporary name and rename. `expect` as in Sandbox.write."""
        if len(data) > self.write_bytes:
            raise Refused("FileTooLarge", f"{len(data)} bytes; the limit is {self.write_bytes}")
        place = self._walk(path, make=expect in (None, ""))
        try:
            kept = self._writable(place, expect)
            permissions = mode if mode is not None else kept
            self._replace(place, data, permissions, expect)
        except OSError as error:
            raise refusal(error) from None
        finally:
            os.close(place.folder)
        return {"hash": hashlib.sha256(data).hexdigest()}

    def remove(self, path: str, expect: str) -> dict[str, Any]:
        """Take away a regular file if its content is what `expect`, a sha256, says; a symlink is refused."""
        place = self._walk(path, follow=False)
        try:
            if hashlib.sha256(self._content(place)[0]).hexdigest() != expect:
                raise Refused("FileConflict", "the file changed since it was read")
            if not _same(place.status, self._status(place.name, place.folder)):
                raise Refused("FileConflict", "the file changed while it was being removed")
            os.unlink(place.name, dir_fd=place.folder)
        except OSError as error:
            raise refusal(error) from None
        finally:
            os.close(place.folder)
        return {"hash": expect}

    def _writable(self, place: Place, expect: str | None) -> int | None:
        """Check that the place may be written; returns the mode to keep, None for a new file."""
        if place.status is None:
            if expect:
                raise Refused("FileMissing", "the file is gone")
            return None
        if not stat.S_ISREG(place.status.st_mode):
            raise Refused("NotRegular", _kind(place.status.st_mode) + ", not a regular file")
        if expect == "":
            raise Refused("FileConflict", "the file exists already")
        permissions = stat.S_IMODE(place.status.st_mode)
        if not permissions & stat.S_IWUSR:
            raise Refused("FileError", "the file is read-only")
        if expect and hashlib.sha256(self._content(place)[0]).hexdigest() != expect:
            raise Refused("FileConflict", "the file changed since it was read")
        return permissions

    def _replace(self, place: Place, data: bytes, permissions: int | None, expect: str | None) -> None:
        temporary = f".pawl-{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666, dir_fd=place.folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                if permissions is not None:
                    os.fchmod(file.fileno(), permissions)
            if expect == "":
                os.link(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
                return
            if expect and not _same(place.status, self._status(place.name, place.folder)):
                raise Refused("FileConflict", "the file changed while it was being written")
            os.rename(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
        except FileExistsError:
            raise Refused("FileConflict", "the file exists already") from None
        finally:
            if self._status(temporary, place.folder) is not None:
                os.unlink(temporary, dir_fd=place.folder)

    def _tree(self, folder: int, prefix: str, depth: int) -> Iterator[tuple[int, str, str, os.stat_result]]:
        """(folder, name, path, status) of all below a folder, in order of names; `.git` is not entered."""
        for name in sorted(os.listdir(folder)):
            status = self._status(name, folder)
            if status is None:
                continue
            path = prefix + name
            yield folder, name, path, status
            if depth == 1 or name == ".git" or not stat.S_ISDIR(status.st_mode):
                continue
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(name, flags, dir_fd=folder)
            except OSError:
                continue  # unreadable, or swapped meanwhile
            try:
                yield from self._tree(inner, path + "/", depth - 1)
            finally:
                os.close(inner)

    def _prefix(self, path: str) -> str:
        names = self._names(path)
        return "/".join(names) + "/" if names else ""

    def entries(self, path: str, depth: int, limit: int, match: str | None) -> list[list[Any]]:
        """[path, kind, size, mode, mtime in ns] of each entry; at depth -1 without `.git`."""
        fits = re.compile(match).fullmatch if match is not None else None
        folder = self.folder(path)
        found: list[list[Any]] = []
        try:
            for _, name, where, status in self._tree(
                folder, self._prefix(path), _DEPTH if depth < 0 else depth
            ):
                if (depth < 0 and name == ".git") or (fits and not fits(where)):
                    continue
                mode = status.st_mode
                found.append([where, _kind(mode), status.st_size, stat.S_IMODE(mode), status.st_mtime_ns])
                if len(found) >= limit:
                    break
        except OSError as error:
            raise refusal(error) from None
        finally:
            os.close(folder)
        return sorted(found)

    def search(self, pattern: str, path: str, match: str | None, limit: int) -> list[list[Any]]:
        """[path, line number, line] of each match in texts, whose lines end at line feeds alone."""
        expression, found = re.compile(pattern), []
        for where, data in self._texts(path, match):
            for number, line in enumerate(_lines(data), 1):
                if expression.search(line):
                    found.append([where, number, line[:_LINE]])
                    if len(found) >= limit:
                        return found
        return found

    def _texts(self, path: str, match: str | None) -> Iterator[tuple[str, bytes]]:
        fits = re.compile(match).fullmatch if match is not None else None
        place = self._walk(path)
        single = place.status is not None and stat.S_ISREG(place.status.st_mode)
        try:
            if single:
                yield self._prefix(path)[:-1], self._content(place)[0]
        finally:
            os.close(place.folder)
        if single:
            return
        folder = self.folder(path)
        try:
            for inner, name, where, status in self._tree(folder, self._prefix(path), _DEPTH):
                if not stat.S_ISREG(status.st_mode) or (fits and not fits(where)):
                    continue
                try:
                    data, _ = self._content(Place(inner, name, status))
                except Refused:
                    continue  # too large, unreadable or gone: not a text to search
                if b"\0" not in data[:8192] or data.startswith(_UTF16):
                    yield where, data
        finally:
            os.close(folder)


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig", "replace")
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def _same(before: os.stat_result | None, after: os.stat_result | None) -> bool:
    if before is None or after is None:
        return before is after
    return (before.st_ino, before.st_size, before.st_mtime_ns) == (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
    )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}
    return kinds.get(stat.S_IFMT(mode), "other")
