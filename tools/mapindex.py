"""What every source file of a tree defines, refers to and speaks of; kept in one file between runs.

A file that is what it was, by its stamp or else by its digest, is not read again. Lists of who defines a name
and who uses a word are kept encoded, and only those that are asked for are decoded: loading the index of a
large repository takes milliseconds. A changed file gets a new number; its old one stays in the lists, means
nothing any more, and is swept when the dead outnumber the living.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from sandbox.base import FileError
from sandbox.beneath import Beneath, Stamp, open_regular, stamp
from sandbox.tree import Verdict, walk
from tools.grammars import installed, language_of
from tools.ignored import MAX_RULES_BYTES, Ignored
from tools.mapworker import Read, Todo, content, read_files
from tools.tags import Definition

FORMAT = 1
MAX_FILES = 50_000
_FEW = 24
"""So many files are read in this process: starting another one takes longer."""
_WORKERS = 4
_SECONDS_A_FILE = 3.0

_encoder = msgspec.msgpack.Encoder()
_numbers = msgspec.msgpack.Decoder(list[int])
_definitions = msgspec.msgpack.Decoder(tuple[Definition, ...])
_references = msgspec.msgpack.Decoder(dict[str, int])


class Source(msgspec.Struct, array_like=True, gc=False):
    """One file of the index."""

    number: int
    path: str
    language: str
    stamp: Stamp | None
    digest: bytes
    length: int
    """How many words it has, repeated ones counted."""
    _definitions: msgspec.Raw
    _references: msgspec.Raw

    @property
    def definitions(self) -> tuple[Definition, ...]:
        return _definitions.decode(self._definitions)

    @property
    def references(self) -> dict[str, int]:
        """Name -> how often."""
        return _references.decode(self._references)


class Index(msgspec.Struct, array_like=True):
    """All files of a tree, by their numbers."""

    format: int = FORMAT
    next: int = 0
    files: list[Source] = []
    _definers: dict[str, msgspec.Raw] = {}
    """Name -> numbers of the files that define it."""
    _speakers: dict[str, msgspec.Raw] = {}
    """Word -> number of a file and how often it is there, in turns."""

    def definers(self, name: str) -> list[int]:
        """Numbers of the files that define a name, dead ones among them."""
        found = self._definers.get(name)
        return _numbers.decode(found) if found else []

    def speakers(self, word: str) -> list[tuple[int, int]]:
        """(number, how often) of the files with a word, dead ones among them."""
        found = self._speakers.get(word)
        flat = _numbers.decode(found) if found else []
        return list(zip(flat[::2], flat[1::2], strict=True))

    def replace(self, gone: set[str], found: Sequence[Read]) -> None:
        """Forget files by their paths and take in others."""
        self.files = [source for source in self.files if source.path not in gone]
        definers: dict[str, list[int]] = {}
        speakers: dict[str, list[int]] = {}
        for read in found:
            number, self.next = self.next, self.next + 1
            for name in {definition.name for definition in read.definitions}:
                definers.setdefault(name, []).append(number)
            for word, times in read.words.items():
                speakers.setdefault(word, []).extend((number, times))
            self.files.append(
                Source(
                    number,
                    read.path,
                    read.language,
                    read.stamp,
                    read.digest,
                    sum(read.words.values()),
                    msgspec.Raw(_encoder.encode(read.definitions)),
                    msgspec.Raw(_encoder.encode(read.references)),
                )
            )
        _extend(self._definers, definers)
        _extend(self._speakers, speakers)
        if self.next > 2 * len(self.files) + 100:
            self._sweep()

    def _sweep(self) -> None:
        living = {source.number for source in self.files}
        for lists, width in ((self._definers, 1), (self._speakers, 2)):
            for key, raw in list(lists.items()):
                flat = _numbers.decode(raw)
                kept = [
                    n for i in range(0, len(flat), width) if flat[i] in living for n in flat[i : i + width]
                ]
                if kept:
                    lists[key] = msgspec.Raw(_encoder.encode(kept))
                else:
                    del lists[key]


def _extend(lists: dict[str, msgspec.Raw], more: dict[str, list[int]]) -> None:
    for key, numbers in more.items():
        known = _numbers.decode(lists[key]) if key in lists else []
        lists[key] = msgspec.Raw(_encoder.encode(known + numbers))


def update(root: Path, cache: Path | None = None) -> Index:
    """The index of the tree at `root` as it is now. Blocks; for a thread.

    `cache` is a file of pawl's own that keeps the index; a damaged one is made anew. No symlink is followed.
    Files in languages whose grammar is not installed are left out.
    """
    index = _load(cache)
    with Beneath(root) as tree:
        present = dict(_sources(tree))
        known = {source.path: source for source in index.files}
        gone = known.keys() - present.keys()
        todo: list[Todo] = []
        restamped = False
        for path, (language, at) in present.items():
            source = known.get(path)
            if source is None or source.language != language:
                todo.append((path, language))
            elif source.stamp != at:
                with contextlib.suppress(FileError, OSError):
                    _, source.stamp, digest = content(tree, path)
                    restamped = restamped or source.stamp is not None
                    if digest != source.digest:
                        todo.append((path, language))
        found = read_files(tree, todo) if len(todo) <= _FEW else _read_apart(root, todo)
    if todo or gone:
        index.replace(gone | {path for path, _ in todo}, found)
    if cache and (todo or gone or restamped):
        _save(index, cache)
    return index


def _sources(tree: Beneath) -> Iterator[tuple[str, tuple[str, Stamp]]]:
    """path -> (language, stamp) of the files that the index is of."""
    folder = -1
    ignored = Ignored(lambda path: _rules(folder, path.rpartition("/")[2]))
    languages: dict[str, str] = {}

    def pick(path: str, name: str, is_folder: bool, parent: int) -> Verdict:
        # the rules of a folder are asked for when its first entry is looked at, while it is open
        nonlocal folder
        folder = parent
        if not is_folder and (language := language_of(name)):
            languages[path] = language
        wanted = is_folder or path in languages
        return Verdict.TAKE if wanted and not ignored(path, is_folder=is_folder) else Verdict.SKIP

    files = walk(tree, pick).files
    readable = {language for language in {languages[path] for path in files} if installed(language)}
    for path, info in list(files.items())[:MAX_FILES]:
        if languages[path] in readable and stat.S_ISREG(info.st_mode):
            yield path, (languages[path], stamp(info))


def _rules(folder: int, name: str) -> bytes | None:
    try:
        with os.fdopen(open_regular(folder, name), "rb") as file:
            return file.read(MAX_RULES_BYTES)
    except (FileError, OSError):
        return None


def _read_apart(root: Path, todo: list[Todo]) -> list[Read]:
    """Read files in processes of their own, one for each processor."""
    workers = max(1, min(_WORKERS, len(os.sched_getaffinity(0)), len(todo) // _FEW))
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda part: _read_in_one(root, part), [todo[i::workers] for i in range(workers)])
    return [read for part in parts for read in part]


def _read_in_one(root: Path, todo: list[Todo]) -> list[Read]:
    """What a worker reads; when it dies, the file that kills it is found by halves and left empty."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tools.mapworker", str(root)],
            input=_encoder.encode(todo),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60 + _SECONDS_A_FILE * len(todo),
            check=True,
        )
        return msgspec.msgpack.decode(done.stdout, type=list[Read])
    except (subprocess.SubprocessError, msgspec.MsgspecError):
        if len(todo) == 1:
            return [Read(*todo[0], None, b"")]
        half = len(todo) // 2
        return _read_in_one(root, todo[:half]) + _read_in_one(root, todo[half:])


def _load(cache: Path | None) -> Index:
    try:
        data = cache.read_bytes() if cache else b""
        index = msgspec.msgpack.decode(data, type=Index)
    except (OSError, msgspec.MsgspecError):
        return Index()
    return index if index.format == FORMAT else Index()


def _save(index: Index, cache: Path) -> None:
    """Put the file in place at once; that it cannot be kept is no reason to fail."""
    temporary = cache.with_name(f".{cache.name}.{os.getpid()}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(_encoder.encode(index))
        temporary.replace(cache)
    except OSError:
        temporary.unlink(missing_ok=True)
