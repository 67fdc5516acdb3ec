"""The signs of contamination over a whole run; what each of them means is said in `evals.contamination`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date

import msgspec

from evals import metrics
from evals.contamination import LONG_RUN, known_before, says_canary
from evals.metrics import Estimate
from evals.reading import Run, read_events, read_output
from evals.rows import AttemptRow, TaskRow

ALIKE = 0.5
"""Share of 13-grams from which a patch counts as near to the reference."""


class Twins(msgspec.Struct, frozen=True):
    """Tasks beside the same tasks with other identifiers; `drop` is what the renaming cost, paired."""

    pairs: int
    original: float
    renamed: float
    drop: Estimate


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """None, or 0 `compared`, where there are no data for a sign."""

    compared: int
    """Patches that a reference stands beside."""
    longest_median: float | None
    longest_max: int | None
    near: int
    """Patches with half of their 13-grams, or `LONG_RUN` tokens in a row, from the reference."""
    canaries: int
    """Rollouts whose task has a canary."""
    canary_said: tuple[str, ...]
    """Units whose model wrote the canary itself."""
    twins: Twins | None


def signs_of(run: Run, rows: Sequence[AttemptRow], twins: Twins | None) -> Signs:
    runs = [row.longest_run for row in rows if row.longest_run is not None]
    near = [row for row in rows if (row.gram_share or 0) >= ALIKE or (row.longest_run or 0) >= LONG_RUN]
    tasks = {unit.id: run.instances[unit.instance] for unit in run.units}
    marked = [row.unit for row in rows if tasks[row.unit].canary]
    said = [unit for unit in marked if says_canary(tasks[unit].canary, _words(run, unit))]
    return Signs(
        compared=len(runs),
        longest_median=metrics.percentile(runs, 0.5) if runs else None,
        longest_max=max(runs, default=None),
        near=len(near),
        canaries=len(marked),
        canary_said=tuple(said),
        twins=twins,
    )


def _words(run: Run, unit: str) -> Iterable[str]:
    """What the model wrote itself: its replies with the arguments of its calls, and its patch.

    Of another program all that it printed, for there is no log of what its model said.
    """
    yield run.rollouts[unit].patch
    yield read_output(run, unit)
    for event in read_events(run, unit):
        if event["type"] == "assistant_replied":
            yield msgspec.json.encode(event.get("message")).decode()


def twins_of(tasks: Sequence[TaskRow]) -> Twins | None:
    """The paired drop over the tasks of which both forms have a known outcome; None without such a pair."""
    by_id = {task.id: task for task in tasks if task.known}
    pairs = [(by_id[task.twin_of], task) for task in by_id.values() if task.twin_of in by_id]
    if not pairs:
        return None
    before, after = [first.rate for first, _ in pairs], [second.rate for _, second in pairs]
    drop = metrics.paired_difference(after, before, [first.repo for first, _ in pairs])
    return Twins(len(pairs), metrics.mean(before), metrics.mean(after), drop)


def before_and_after(cutoff: date) -> Callable[[TaskRow], str]:
    """The name of a task's group by its date; "" where that is unknown."""

    def side(task: TaskRow) -> str:
        before = known_before(task.created_at, cutoff)
        return "" if before is None else f"{'until' if before else 'after'} {cutoff.isoformat()}"

    return side
