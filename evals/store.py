"""A run is a folder.

    run.json                     the manifest, written last of these three
    instances.jsonl units.jsonl  what is worked on, in order; a unit names its instance
    run.lock                     who works on it now
    attempts/<unit>/             <n>.started   a try began: who works on it, touched as a sign of life
                                 <n>.ended     it came to nothing and was tried again: why, and what it cost
                                 events.jsonl.gz patch.diff ...  what the try that counts left
                                 usage.json end.json  made of its result
                                 graded/       what the tests printed
                 dup-<n>.json  a result that came too late; never scored
    results/<unit>.json          a rollout: it exists, so the rollout counts
    scores/<unit>.<scorer>.json  a score

All is created, by whoever is first, and never changed. A try's files are `<n>~NAME` until its result is
committed, and NAME after; `settle` finishes what a kill cut off in between. They have no folder of their own:
to remove one costs milliseconds where the file system passes freed blocks on to the disk.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec

from agent.messages import Usage
from evals import lease
from evals.commit import commit, parts, replace, sync_folder, write, writing
from evals.types import FORMAT, End, Instance, Rollout, RunManifest, Score, Unit

T = TypeVar("T")

_OWN = re.compile(r"\d+(\.started|\.ended|~.*)?|usage\.json|end\.json|graded|dup-.*|\..*")
"""Names in `attempts/<unit>/` that an agent's files may not take."""
_UNSETTLED = re.compile(r"(\d+)~(.+)", re.DOTALL)
_NAMES = {"attempts", "results", "scores", "instances.jsonl", "units.jsonl", "run.json", "run.lock"}
_FREE = ("created_at", "host", "name", "limits.run_tokens", "limits.run_cost_usd")
"""Fields of a manifest that may differ on resuming: they decide no unit's result."""


class StoreError(Exception):
    """A run's folder cannot be used: no run, another version, a broken file. Exit code 2."""

    exit_code = 2


class Ended(msgspec.Struct, frozen=True):
    """A try that was begun again: why, and what it cost all the same."""

    end: End
    detail: str
    usage: Usage = Usage()


class Run:
    """The folder of one run. Reading needs no lock; writing is for who has `held` it."""

    def __init__(self, folder: Path, manifest: RunManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def create(cls, folder: Path, manifest: RunManifest, instances: list[Instance], units: list[Unit]) -> Run:
        """Make the folder, or find the same run in it. Raises StoreError naming the field that differs."""
        if (folder / "run.json").exists():
            run = cls.open(folder)
            run.require(manifest)
            return run
        if folder.exists() and {path.name for path in folder.iterdir() if path not in parts(folder)} - _NAMES:
            raise StoreError(f"{folder} is not empty and holds no run; choose another --out")
        with writing(folder):
            for name in ("attempts", "results", "scores"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        replace(folder / "instances.jsonl", _lines(instances))
        replace(folder / "units.jsonl", _lines(units))
        commit(folder / "run.json", msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Raises StoreError when there is no run, or one of another version."""
        path = folder / "run.json"
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(f"there is no run in {folder}: it has no run.json") from None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
        version = _decode(content, dict[str, Any], path).get("format")
        if version != FORMAT:
            raise StoreError(
                f"{path} has format {version!r}, this pawl reads format {FORMAT}: "
                "use the pawl that made the run"
            )
        return cls(folder, _decode(content, RunManifest, path))

    def require(self, manifest: RunManifest) -> None:
        """Raises StoreError with each field in which the run was started otherwise."""
        differing = differences(self.manifest, manifest)
        if differing:
            listed = "; ".join(f"{name}: {was!r}, now {now!r}" for name, was, now in differing)
            raise StoreError(
                f"{self.folder} is a run with other settings, which would mix two experiments: {listed}. "
                "Ask for what it was started with, or choose another --out"
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only runner of the folder, with what killed ones left behind put right.

        Raises lease.RunBusy with who is at work here, CannotWrite.
        """
        with lease.hold(self.folder / "run.lock"):
            for folder in (self.folder, self.folder / "results", self.folder / "scores"):
                folder.mkdir(exist_ok=True)
                for part in parts(folder):
                    part.unlink(missing_ok=True)
            yield

    def instances(self) -> list[Instance]:
        return _read_lines(self.folder / "instances.jsonl", Instance)

    def units(self) -> list[Unit]:
        return _read_lines(self.folder / "units.jsonl", Unit)

    # --- attempts --------------------------------------------------------------------------------------

    def attempt(self, unit: str) -> Path:
        return self.folder / "attempts" / unit

    def begin(self, unit: str) -> int:
        """Note that a try of the unit begins, before anything is paid for it; its number, from 1."""
        folder = self.attempt(unit)
        with writing(folder):
            folder.mkdir(exist_ok=True)
        number = max(_numbers(folder, "started"), default=0) + 1
        while not lease.grant(folder / f"{number}.started"):
            number += 1
        return number

    def leased(self, unit: str) -> bool:
        """Whether a worker may still be at the unit's last try."""
        numbers = set(_numbers(self.attempt(unit), "started"))
        if not numbers or max(numbers) in _numbers(self.attempt(unit), "ended"):
            return False
        started = self.attempt(unit) / f"{max(numbers)}.started"
        now = (self.folder / "run.lock").stat().st_mtime  # the file system's clock, a beat old at most
        return lease.alive(started, now)

    def end(self, unit: str, number: int, ended: Ended) -> None:
        """Note why a try came to nothing."""
        commit(self.attempt(unit) / f"{number}.ended", msgspec.json.encode(ended))

    def ended(self, unit: str) -> list[Ended]:
        """The unit's tries that came to nothing, in order."""
        folder = self.attempt(unit)
        paths = [folder / f"{number}.ended" for number in sorted(_numbers(folder, "ended"))]
        return [_decode(path.read_bytes(), Ended, path) for path in paths]

    # --- results and scores ----------------------------------------------------------------------------

    def commit_rollout(self, rollout: Rollout, files: dict[str, bytes]) -> bool:
        """Make the rollout count, with its files; False when the unit had a result: it is kept as `dup`."""
        folder = self.attempt(rollout.unit)
        record = msgspec.json.encode(rollout)
        target = self.folder / "results" / f"{rollout.unit}.json"
        if not target.exists():
            made = {folder / f"{rollout.tries}~{_safe(name)}": content for name, content in files.items()}
            for path, content in made.items():
                write(path, content)
            for above in {folder, *(above for path in made for above in path.parents)}:
                if above.is_relative_to(folder):
                    sync_folder(above)
            if commit(target, record):
                self._settle(rollout)
                return True
            _clear(folder, rollout.tries)
        commit(folder / f"dup-{rollout.tries}.json", record)
        return False

    def settle(self) -> None:
        """Finish what a kill cut off after results were committed."""
        for rollout in self.rollouts():
            if not (self.attempt(rollout.unit) / "end.json").exists():
                self._settle(rollout)

    def _settle(self, rollout: Rollout) -> None:
        folder = self.attempt(rollout.unit)
        for path, name in _of_tries(folder, rollout.tries):
            path.replace(folder / name)
        _clear(folder)
        cause = {"end": rollout.end, "detail": rollout.detail, "tries": rollout.tries}
        replace(folder / "usage.json", msgspec.json.encode(rollout.usage), durable=False)
        replace(folder / "end.json", msgspec.json.encode(cause), durable=False)

    def commit_score(self, score: Score, files: dict[str, bytes] | None = None) -> bool:
        """Make the score count; False when this scorer had scored the unit.

        Its files come into `attempts/<unit>/graded/`, for a person: the last grading's stay.
        """
        first = commit(self._score(score.unit, score.scorer), msgspec.json.encode(score))
        for name, content in (files or {}).items() if first else ():
            path = self.attempt(score.unit) / "graded" / _safe(name)
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, content, durable=False)
        return first

    def rollout(self, unit: str) -> Rollout | None:
        path = self.folder / "results" / f"{unit}.json"
        found = _read(path, Rollout)
        if found is not None and found.unit != unit:
            raise StoreError(f"{path}: is the result of another unit, {found.unit!r}")
        return found

    def rollouts(self) -> list[Rollout]:
        """All that count, in the order of the units."""
        found = (self.rollout(unit.id) for unit in self.units())
        return [rollout for rollout in found if rollout is not None]

    def patch(self, rollout: Rollout) -> bytes:
        """The rollout's patch, byte for byte."""
        folder = self.attempt(rollout.unit)
        for path in (folder / "patch.diff", folder / f"{rollout.tries}~patch.diff"):
            with contextlib.suppress(FileNotFoundError):
                return path.read_bytes()
        return rollout.patch.encode()

    def score(self, unit: str, scorer: str = "") -> Score | None:
        """The unit's score by a scorer, by default the one that the run was started with."""
        return _read(self._score(unit, scorer or self.manifest.scorer), Score)

    def scores(self, scorer: str = "") -> list[Score]:
        """All scores by a scorer, in the order of the units."""
        found = (self.score(unit.id, scorer) for unit in self.units())
        return [score for score in found if score is not None]

    def scorers(self) -> list[str]:
        """Those that have scored any unit."""
        names = {path.name.partition(".")[2] for path in (self.folder / "scores").glob("[!.]*.json")}
        return sorted(name.removesuffix(".json") for name in names)

    def spent(self) -> Usage:
        """What all tries of all units cost, those that came to nothing or too late included."""
        return sum(self.lost(), sum((rollout.usage for rollout in self.rollouts()), Usage()))

    def lost(self) -> Iterator[Usage]:
        """What each try cost that came to nothing or too late, unit by unit."""
        for unit in self.units():
            for ended in self.ended(unit.id):
                yield ended.usage
            for path in sorted(self.attempt(unit.id).glob("dup-*.json")):
                yield _decode(path.read_bytes(), Rollout, path).usage

    def _score(self, unit: str, scorer: str) -> Path:
        if not re.fullmatch(r"[\w.+-]+", scorer):
            raise StoreError(f"the name of a scorer must be safe as a file's name, got {scorer!r}")
        return self.folder / "scores" / f"{unit}.{scorer}.json"


def differences(was: RunManifest, now: RunManifest) -> list[tuple[str, Any, Any]]:
    """The fields, as dotted names, in which two manifests of one run may not differ but do."""
    old, new = _flat(msgspec.to_builtins(was)), _flat(msgspec.to_builtins(now))
    return [
        (name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name.partition(".")[0] not in _FREE and name not in _FREE
    ]


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {f"{prefix}{name}": inner}
    return flat


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or _OWN.fullmatch(path.parts[0]):
        raise StoreError(f"a worker may not leave a file called {name!r}")
    return path


def _of_tries(folder: Path, number: int | None = None) -> list[tuple[Path, str]]:
    """What a try, or any try, has left that does not count yet; with the name that it would get."""
    found = ((path, _UNSETTLED.fullmatch(path.name)) for path in folder.iterdir())
    return [(path, match[2]) for path, match in found if match and number in (None, int(match[1]))]


def _clear(folder: Path, number: int | None = None) -> None:
    for path, _ in _of_tries(folder, number):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _numbers(folder: Path, kind: str) -> list[int]:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    found = (re.fullmatch(rf"(\d+)\.{kind}", name) for name in names)
    return [int(match[1]) for match in found if match]


def _lines(records: list[Any]) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def _read_lines(path: Path, kind: type[T]) -> list[T]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise StoreError(f"{path} is missing") from None
    return [_decode(line, kind, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return _decode(path.read_bytes(), kind, path)
    except FileNotFoundError:
        return None


def _decode(content: bytes, kind: type[T], where: object) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{where}: {error}") from error
