"""What set-ups made, kept from one session to the next: named by all that decides it, whole or not there.

    setups/<project>-<key>/lock      held by who makes the result (alone) and by those who use it (together)
                          /new       a result in the making; a crash's when nobody holds the lock
                          /result    made.json, folders/0 .. n (shown read-only), files/ (copied to each base)

A result comes into being by one rename. Nothing here runs anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from sandbox.base import SandboxError
from sandbox.registries import HOMES, PACKAGES, offline
from sandbox.tree import remove_path

FOLDER = "setups"
"""Below the state folder."""
PER_PROJECT = 4
"""So many results of one project are kept, the last used ones."""
MAX_AGE_S = 30 * 86400.0
"""A result that was not used for so long is removed."""
_FORMAT = 2
"""Part of each key; raise it when the same command would be kept in another way."""


class Made(msgspec.Struct, frozen=True):
    """What a set-up made. Paths are relative to the project's folder."""

    command: str
    project: str
    duration_s: float
    folders: tuple[str, ...]
    """Installed packages and environments, shown read-only; the n-th is `folders/n`."""
    files: tuple[str, ...]
    """Other new files that the project ignores: each fork has a copy, no patch has them."""
    dropped: tuple[str, ...]
    """What it changed and nobody gets to see."""
    environment: str = ""
    """The folder of `folders` that is a virtual environment at the top; "" when none is."""


class Kept:
    """A result that is in use: it is not removed until `close`."""

    def __init__(self, place: Path, lock: int, made: Made) -> None:
        self.made = made
        self.files = place / "result" / "files"
        self._folders = place / "result" / "folders"
        self._lock = lock

    def source(self, path: str) -> Path:
        """Where one of `made.folders` lies."""
        return self._folders / str(self.made.folders.index(path))

    def env(self, root: str) -> dict[str, str]:
        """Variables by which programs find it in a workspace that is at `root` inside."""
        env = offline(root, self.source(PACKAGES)) if PACKAGES in self.made.folders else {}
        if self.made.environment:
            env["VIRTUAL_ENV"] = f"{root}/{self.made.environment}"
        return env

    def prefix(self, root: str) -> str | None:
        """The folder inside whose `bin` is to come first on the PATH; None when it made none."""
        env = self.env(root)
        return env.get("VIRTUAL_ENV") or env.get(HOMES["python"])

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def key(
    project: Path, command: str, network: tuple[str, ...], manifests: Mapping[str, str], on: object
) -> str:
    """Name of the place for a result. `manifests` is path -> hash, `on` what it runs on (JSON)."""
    parts = [_FORMAT, command, network, sorted(manifests.items()), on]
    return f"{_project(project)}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}"


def _project(project: Path) -> str:
    return hashlib.sha256(os.fsencode(project)).hexdigest()[:12]


def is_kept(place: Path) -> bool:
    """True when a result is there, whoever uses it."""
    return _load(place) is not None


def use(place: Path) -> Kept | None:
    """The result, held; None when there is none. Raises BlockingIOError while another pawl makes it."""
    if not place.is_dir():
        return None
    with _locked(place, fcntl.LOCK_SH) as lock:
        made = _load(place)
        if made is None:
            return None
        os.utime(place / "result" / "made.json")
        return Kept(place, os.dup(lock), made)


@contextlib.contextmanager
def making(place: Path) -> Iterator[Path | None]:
    """Where to make a new result, alone: a folder that `keep` makes the result; None when one is there now.

    What a crash left may lie in it. Raises BlockingIOError while another pawl makes a result, or uses one.
    """
    with _locked(place, fcntl.LOCK_EX, make=True):
        yield None if _load(place) else place / "new"


def keep(new: Path, made: Made) -> None:
    """Make what lies in `new` the result, at once."""
    (new / "made.json").write_bytes(msgspec.json.encode(made))
    remove_path(new.with_name("result"))  # it could not be read
    new.rename(new.with_name("result"))


def _load(place: Path) -> Made | None:
    try:
        return msgspec.json.decode((place / "result" / "made.json").read_bytes(), type=Made)
    except (OSError, msgspec.DecodeError):
        return None


@contextlib.contextmanager
def _locked(place: Path, how: int, *, make: bool = False) -> Iterator[int]:
    """Hold the lock of a place, which others may remove while one tries."""
    while True:
        if make:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            if make:
                continue
            raise
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
            if _same(lock, place / "lock"):
                yield lock
                return
        finally:
            os.close(lock)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


# --- old results -------------------------------------------------------------------------------------------


class Old(msgspec.Struct, frozen=True):
    """A place that nobody uses."""

    place: Path
    project: str
    """The project's folder; "" when there is no whole result."""
    used_at: float
    """Seconds since the epoch."""


def unused(folder: Path) -> list[Old]:
    """All places in `folder` that no pawl uses or makes now, the last used first."""
    found = []
    for place in folder.iterdir() if folder.is_dir() else ():
        try:
            with _locked(place, fcntl.LOCK_EX):
                made = _load(place)
                at = (place / "result" / "made.json").stat().st_mtime if made else 0.0
                found.append(Old(place, made.project if made else "", at))
        except OSError:
            continue
    return sorted(found, key=lambda old: -old.used_at)


def remove(old: Old) -> None:
    """Away at once, so that nobody finds it half, then removed. Raises SandboxError when it is in use now."""
    gone = old.place.with_name(f"removed-{uuid.uuid4().hex[:8]}")
    try:
        with _locked(old.place, fcntl.LOCK_EX):
            old.place.rename(gone)
            remove_path(gone)
    except FileNotFoundError:
        return
    except BlockingIOError:
        raise SandboxError(f"{old.place} has come into use") from None


def sweep(folder: Path, *, now: float | None = None) -> None:
    """Remove of the places in `folder` those that are old, half, or too many for one project."""
    latest = (time.time() if now is None else now) - MAX_AGE_S
    seen: dict[str, int] = {}
    for old in unused(folder):
        seen[old.project] = seen.get(old.project, 0) + 1
        if old.used_at < latest or seen[old.project] >= PER_PROJECT:
            with contextlib.suppress(SandboxError, OSError):
                remove(old)
