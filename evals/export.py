"""What leaves a run for other programs: its rollouts as episodes, and the formats of `evals/exports/`.

What infrastructure ended, and what was cancelled, is in no export: it says nothing about the agent.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

import msgspec

from agent.session import known_secrets, scrubber
from evals import exports
from evals.episode import Episode, Training, trainings
from evals.reading import Run
from evals.rows import AttemptRow, task_rows
from evals.segments import Segment
from evals.types import INFRASTRUCTURE

FILTERS = ("resolved", "unresolved", "clean")
"""`clean`: no rule of the integrity checks flagged it."""
Needs = Literal["patch", "messages", "tokens"]


class ExportError(Exception):
    """What was asked for cannot be written. Exit code 2."""

    exit_code = 2


class Selection(NamedTuple):
    episodes: list[Episode]
    left_out: Counter[str]
    """Why -> how many units."""


def select(
    run: Run,
    needs: Needs,
    filters: Sequence[str] = (),
    per_task: int | None = None,
    attempt: int | None = None,
) -> Selection:
    """The episodes that a format may have, in the order of the units.

    `per_task`: so many of each task, those with the fewest written tokens. `attempt` from 0: that one alone.
    """
    rows = {row.unit: row for task in task_rows(run) for row in task.attempts}
    kept: list[Episode] = []
    left_out: Counter[str] = Counter()
    for unit in run.units:
        if attempt is not None and unit.attempt != attempt:
            continue
        why = _unfit(rows[unit.id], needs) or _filtered(rows[unit.id], filters)
        if why:
            left_out[why] += 1
            continue
        episode = Episode(run, unit, rows[unit.id])
        if needs != "patch" and not episode.conversations:
            left_out["its agent kept no log of pawl's"] += 1
        elif needs == "tokens" and not any(turn.tokens for c in episode.conversations for turn in c.turns):
            left_out["no tokens were recorded (pawl eval run --record-tokens)"] += 1
        else:
            kept.append(episode)
    if per_task is not None:
        kept, over = _shortest(kept, per_task)
        left_out[f"more than {per_task} of its task"] += over
    return Selection(kept, +left_out)


def _unfit(row: AttemptRow, needs: Needs) -> str:
    if not row.end:
        return "not run yet"
    if row.end in INFRASTRUCTURE:
        return "ended by infrastructure"
    if row.end == "cancelled":
        return "cancelled"
    if needs != "patch" and not row.graded:
        return "not graded yet"
    if needs != "patch" and row.verifier_error:
        return "could not be graded"
    return ""


def _filtered(row: AttemptRow, filters: Sequence[str]) -> str:
    passes = {"resolved": row.solved, "unresolved": not row.solved, "clean": not row.flags}
    return next((f"not {name}" for name in filters if not passes[name]), "")


def _shortest(episodes: Sequence[Episode], most: int) -> tuple[list[Episode], int]:
    ranked = sorted(episodes, key=lambda episode: episode.row.output_tokens)
    taken: Counter[str] = Counter()
    chosen = set()
    for episode in ranked:
        taken[episode.unit.instance] += 1
        if taken[episode.unit.instance] <= most:
            chosen.add(episode.unit.id)
    kept = [episode for episode in episodes if episode.unit.id in chosen]
    return kept, len(episodes) - len(kept)


class Export(Protocol):
    """What each file of `evals/exports/` offers, as a module."""

    name: str
    summary: str
    """One line for `pawl eval export --help`."""
    needs: Needs
    one_attempt: bool
    """It can hold one attempt at each instance alone."""

    def write(self, episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
        """Write the episodes to `out`, which is not there yet. What a person is told: name -> count."""
        ...


def known_exports() -> list[str]:
    """Names of all formats, found by listing the folder."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(exports.__path__))


def load_export(name: str) -> Export:
    """The format's module, imported only now. Raises ExportError with the names that there are."""
    if name not in known_exports():
        raise ExportError(f"no format is called {name!r}; there are {', '.join(known_exports())}")
    return cast(Export, importlib.import_module(f"evals.exports.{name.replace('-', '_')}"))


def write_text(out: Path, text: str) -> None:
    """A new file, with the folders that it needs. What the environment holds of secrets is masked in it."""
    _write(out, [text])


def write_json(out: Path, value: Any) -> None:
    write_text(out, msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def write_lines(out: Path, rows: Iterable[dict[str, Any]]) -> int:
    """JSON lines, each written before the next row is made; how many."""
    return _write(out, (msgspec.json.encode(row).decode() + "\n" for row in rows))


def write_segments(
    out: Path, what: str, episodes: Sequence[Episode], row: Callable[[Training, Segment], dict[str, Any]]
) -> dict[str, int]:
    """A JSON line a segment. What a person is told: how many of `what`, and how often tokens drifted."""
    drift = sum(training.cut.drift for training in trainings(episodes))
    rows = (row(one, segment) for one in trainings(episodes) for segment in one.cut.segments)
    return {what: write_lines(out, rows), "drift": drift}


def _write(out: Path, texts: Iterable[str]) -> int:
    scrub = scrubber(known_secrets(os.environ))
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with out.open("x", encoding="utf-8", errors="replace", newline="") as file:
        for text in texts:
            file.write(scrub(text))
            count += 1
    return count
