"""Reads source files for the repository's map; `python -P -m tools.mapworker ROOT` is a process for many.

stdin is a list of (path, language), stdout the list of what was read, both MessagePack. A grammar that
crashes on a hostile file takes this process down and nothing else.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from sandbox.base import FileError, FileTooLarge
from sandbox.beneath import Beneath, Stamp, stamp
from tools.tags import MAX_BYTES, Definition, tags
from tools.words import count

MAX_WORDS = 1500
"""Of one file; the commonest are kept."""
_YOUNG_NS = 100_000_000
"""A file that changed this shortly before it was read may change again within one tick of the clock."""


class Read(msgspec.Struct, frozen=True, array_like=True):
    """What there is to know of one file."""

    path: str
    language: str
    stamp: Stamp | None
    """None when the file is too young to be known by it."""
    digest: bytes
    definitions: tuple[Definition, ...] = ()
    references: dict[str, int] = {}
    words: dict[str, int] = {}


Todo = tuple[str, str]
"""(path, language)"""


def content(tree: Beneath, path: str) -> tuple[bytes, Stamp | None, bytes]:
    """(what is in a file, its stamp, its digest); nothing of what is too large. Raises a FileError."""
    try:
        found = tree.read(path, MAX_BYTES)
    except FileTooLarge:
        info = tree.stat(path)
        return b"", stamp(info) if info else None, b""
    settled = time.time_ns() - found.stat.st_ctime_ns > _YOUNG_NS
    return (
        found.data,
        stamp(found.stat) if settled else None,
        hashlib.blake2b(found.data, digest_size=16).digest(),
    )


def read_files(tree: Beneath, todo: Iterable[Todo]) -> list[Read]:
    """Read and understand files; those that are gone or cannot be read are left out."""
    found = []
    for path, language in todo:
        try:
            data, at, digest = content(tree, path)
        except (FileError, OSError):
            continue
        tagged = tags(data, language)
        words = count(data.decode("utf-8", "replace"), {d.name for d in tagged.definitions})
        kept = dict(words.most_common(MAX_WORDS))
        found.append(Read(path, language, at, digest, tagged.definitions, tagged.references, kept))
    return found


def main() -> None:
    todo = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[Todo])
    with Beneath(Path(sys.argv[1])) as tree:
        sys.stdout.buffer.write(msgspec.msgpack.encode(read_files(tree, todo)))


if __name__ == "__main__":
    main()
