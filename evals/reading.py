"""Reads a run's folder for its reports. Nothing is written, and nothing that the folder says is run.

Of it are read `run.json`, `units.jsonl`, `instances.jsonl`, `results/<unit>.json`,
`scores/<unit>.<scorer>.json`, and in `attempts/<unit>/` the session log `events.jsonl.gz` and what was paid
for nothing, `<n>.ended` and `dup-<n>.json`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.messages import Usage
from evals.types import FORMAT, Instance, Rollout, RunManifest, Score, Unit

MAX_EVENTS = 64 * 1024 * 1024
"""Bytes of one session log, unpacked; what goes beyond is left out."""

T = TypeVar("T")


class RunError(Exception):
    """A run's folder cannot be read. The text names the file, and the line if there is one. Exit code 2."""

    exit_code = 2


class Run(msgspec.Struct, frozen=True):
    """A run as far as it has come. Units without a rollout, and rollouts without a score, are still due."""

    folder: Path
    manifest: RunManifest
    units: tuple[Unit, ...]
    instances: dict[str, Instance]
    """By id, in the order of the dataset."""
    rollouts: dict[str, Rollout]
    """By unit."""
    scores: dict[str, Score]
    """By unit; all by one scorer."""
    scorer: str
    """Whose scores these are; "" when nothing is graded."""
    lost: tuple[Usage, ...]
    """What each try cost that came to nothing, or too late: those count for no rollout, but are paid for."""


def read_run(folder: Path, scorer: str = "") -> Run:
    """The whole run but its session logs.

    Of several scorers the one that is asked for counts, else the manifest's, else the only one there is.
    Raises RunError.
    """
    manifest = _manifest(folder / "run.json")
    units = tuple(_lines(folder / "units.jsonl", Unit))
    instances = {task.id: task for task in _lines(folder / "instances.jsonl", Instance)}
    if unknown := sorted({unit.instance for unit in units} - set(instances)):
        raise RunError(f"{folder / 'units.jsonl'}: no instance is called {unknown[0]!r}")
    rollouts = {}
    for unit in units:
        path = folder / "results" / f"{unit.id}.json"
        if (rollout := _optional(path, Rollout)) is not None:
            if rollout.unit != unit.id:
                raise RunError(f"{path}: is the result of another unit, {rollout.unit!r}")
            rollouts[unit.id] = rollout
    graded = _graded(folder / "scores")
    chosen = _scorer(folder, scorer, manifest.scorer, set().union(*graded.values()))
    scores = {}
    for unit in units:
        if chosen in graded.get(unit.id, ()):
            path = folder / "scores" / f"{unit.id}.{chosen}.json"
            scores[unit.id] = _decode(path, path.read_bytes(), Score)
    return Run(folder, manifest, units, instances, rollouts, scores, chosen, tuple(_lost(folder, units)))


class _Try(msgspec.Struct):
    usage: Usage = Usage()


def _lost(folder: Path, units: Iterable[Unit]) -> Iterator[Usage]:
    for unit in units:
        place = folder / "attempts" / unit.id
        for path in sorted([*place.glob("[0-9]*.ended"), *place.glob("dup-*.json")]):
            yield _decode(path, path.read_bytes(), _Try).usage


def read_events(run: Run, unit: str) -> list[dict[str, Any]]:
    """The unit's session log, header left out; empty when its agent kept none.

    A torn end is dropped, and so is a line that is no object: it may be another program's.
    """
    path = run.folder / "attempts" / unit / "events.jsonl.gz"
    events = []
    for line in _unpacked(path).split(b"\n"):
        try:
            event = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(event, dict) and isinstance(event.get("type"), str):
            events.append(event)
    return events


def read_output(run: Run, unit: str) -> str:
    """What the unit's agent printed, when it is another program; "" otherwise."""
    try:
        return (
            (run.folder / "attempts" / unit / "output.txt")
            .read_bytes()[:MAX_EVENTS]
            .decode("utf-8", "replace")
        )
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror or error}") from error


def _unpacked(path: Path) -> bytes:
    data = bytearray()
    try:
        with gzip.open(path) as file:
            while len(data) < MAX_EVENTS and (piece := file.read1(1 << 20)):
                data += piece
    except FileNotFoundError:
        return b""
    except (EOFError, zlib.error, gzip.BadGzipFile):
        pass
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from error
    return bytes(data)


def _manifest(path: Path) -> RunManifest:
    data = _read(path)
    told: object = _decode(path, data, dict[str, Any]).get("format")
    if told != FORMAT:
        raise RunError(f"{path}: a run of format {told!r}; this pawl reads format {FORMAT}")
    return _decode(path, data, RunManifest)


def _graded(folder: Path) -> dict[str, set[str]]:
    """Unit -> scorers that graded it, by the files' names."""
    found: dict[str, set[str]] = {}
    for path in folder.glob("[!.]*.json"):
        unit, dot, scorer = path.name.removesuffix(".json").partition(".")
        if dot:
            found.setdefault(unit, set()).add(scorer)
    return found


def _scorer(folder: Path, asked: str, planned: str, there: set[str]) -> str:
    if asked and asked not in there:
        raise RunError(
            f"{folder}: nothing is graded by {asked!r}; there is {', '.join(sorted(there)) or 'none'}"
        )
    if asked or planned in there or not there:
        return asked or (planned if planned in there else "")
    if len(there) > 1:
        raise RunError(f"{folder}: graded by {', '.join(sorted(there))}; --scorer says whose scores to take")
    return there.pop()


def _optional(path: Path, kind: type[T]) -> T | None:
    try:
        return _decode(path, path.read_bytes(), kind)
    except FileNotFoundError:
        return None


def _lines(path: Path, kind: type[T]) -> list[T]:
    """One object a line. A last line without its end is what a crash leaves."""
    lines = _read(path).split(b"\n")[:-1]
    return [_decode(path, line, kind, number) for number, line in enumerate(lines, 1) if line]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path.parent}: is no run's folder: it has no {path.name}") from None
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from error


def _decode(path: Path, data: bytes, kind: type[T], line: int = 0) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}{f':{line}' if line else ''}: {error}") from error
