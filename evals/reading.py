"""A run's folder as its reports read it: all of it at once, and the session logs one by one.

Nothing is written, and nothing that the folder says is run.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import msgspec

from agent.messages import Usage
from evals import store
from evals.store import StoreError
from evals.types import Instance, Rollout, RunManifest, Score, Unit

MAX_EVENTS = 64 * 1024 * 1024
"""Bytes of one session log, unpacked; what goes beyond is left out."""


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
    Raises StoreError.
    """
    run = store.Run.open(folder)
    units = tuple(run.units())
    instances = {task.id: task for task in run.instances()}
    if unknown := sorted({unit.instance for unit in units} - set(instances)):
        raise StoreError(f"{folder / 'units.jsonl'}: no instance is called {unknown[0]!r}")
    chosen = _scorer(folder, scorer, run.manifest.scorer, run.scorers())
    return Run(
        folder=folder,
        manifest=run.manifest,
        units=units,
        instances=instances,
        rollouts={one.unit: one for one in run.rollouts()},
        scores={one.unit: one for one in run.scores(chosen)} if chosen else {},
        scorer=chosen,
        lost=tuple(run.lost()),
    )


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
        raise StoreError(f"{error.filename}: {error.strerror or error}") from error


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
        raise StoreError(f"{path}: {error.strerror or error}") from error
    return bytes(data)


def _scorer(folder: Path, asked: str, planned: str, there: list[str]) -> str:
    if asked and asked not in there:
        raise StoreError(f"{folder}: nothing is graded by {asked!r}; there is {', '.join(there) or 'none'}")
    if asked or planned in there or not there:
        return asked or (planned if planned in there else "")
    if len(there) > 1:
        raise StoreError(f"{folder}: graded by {', '.join(there)}; --scorer says whose scores to take")
    return there[0]
