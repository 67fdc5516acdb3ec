"""What snapshots hold: contents in one file that only grows, and for each snapshot what it changed.

Content goes by its sha256, so what stays, moves or comes back is kept once, for all forks of a workspace. It
is not git's store: git keeps neither modes nor empty folders, takes no `.git` within a path, and needs a
process for each snapshot.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import msgspec

from sandbox.base import SandboxError
from sandbox.beneath import Stamp

MAX_STORE = 8 * 1024**3
"""Bytes of content that all snapshots of a workspace hold together."""


class Node(msgspec.Struct, frozen=True):
    """What is at one path."""

    mode: int
    """A whole st_mode, without set-id and sticky bits."""
    mtime_ns: int = 0
    """0 for a folder."""
    key: bytes = b""
    """Names the content, or the target of a symlink; empty for a folder."""
    size: int = 0


Manifest = dict[str, Node]
"""Path -> what is there; "" is the root."""


class _Delta(msgspec.Struct):
    parent: int
    """The snapshot that it starts from; 0 for none."""
    changed: Manifest
    gone: tuple[str, ...]


class Store:
    """Contents and manifests of one workspace's snapshots. Blocking; safe to use from several threads."""

    def __init__(self, place: Path) -> None:
        place.mkdir(mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(place / "contents", flags, 0o600)
        self._end = 0
        self._places: dict[bytes, tuple[int, int]] = {}
        self.borrowed: dict[bytes, tuple[str, Stamp]] = {}
        """Keys whose content is not here but in the base: its path there, and how the file was."""
        self._deltas: list[_Delta] = []
        self._lock = threading.Lock()

    def add(self, data: bytes) -> bytes:
        """Keep `data` and return its key. Raises OSError when the disk is full."""
        key = hashlib.sha256(data).digest()
        with self._lock:
            if key not in self._places:
                if self._end + len(data) > MAX_STORE:
                    raise SandboxError(f"the snapshots would hold more than {MAX_STORE // 1024**3} GB")
                done = 0
                while done < len(data):
                    done += os.pwrite(self._fd, data[done:], self._end + done)
                self._places[key] = self._end, len(data)
                self._end += len(data)
        return key

    def borrow(self, path: str, there: Stamp) -> bytes:
        """The key of a content that stays in the base, at that path."""
        key = hashlib.sha256(repr((path, there)).encode("utf-8", "surrogateescape")).digest()
        self.borrowed[key] = path, there
        return key

    def get(self, key: bytes) -> bytes:
        """The content of that key. Raises SandboxError when it is not what was kept."""
        offset, size = self._places[key]
        data = os.pread(self._fd, size, offset)
        if hashlib.sha256(data).digest() != key:
            raise SandboxError("a snapshot's content was damaged; it cannot be restored")
        return data

    def save(self, parent: int, before: Manifest, after: Manifest) -> int:
        """Keep a manifest as what differs from its parent's, `before`; returns its number, from 1."""
        changed = {path: node for path, node in after.items() if before.get(path) != node}
        delta = _Delta(parent, changed, tuple(path for path in before if path not in after))
        with self._lock:
            self._deltas.append(delta)
            return len(self._deltas)

    def manifest(self, number: int) -> Manifest:
        """What a saved snapshot holds."""
        line = []
        while number:
            delta = self._deltas[number - 1]
            line.append(delta)
            number = delta.parent
        manifest: Manifest = {}
        for delta in reversed(line):
            for path in delta.gone:
                del manifest[path]
            manifest |= delta.changed
        return manifest

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
