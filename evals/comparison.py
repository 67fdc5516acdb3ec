"""Whether one run is better than another on the same tasks, said in words and with what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from evals import metrics
from evals.metrics import Estimate, Paired
from evals.rows import AttemptRow, TaskRow, originals
from evals.store import StoreError
from evals.summary import RunFacts, Spent, Summary, spent_on
from evals.types import INFRASTRUCTURE
from evals.wording import can_show

LEVEL = 0.05


class Flip(msgspec.Struct, frozen=True):
    """A task whose rate differs."""

    id: str
    first: float
    second: float


class Change(msgspec.Struct, frozen=True):
    """A quantity's median over rollouts, and its total by solved rollout, in both runs; None when unknown."""

    name: str
    first: float | None
    second: float | None
    first_per_solved: float | None
    second_per_solved: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    first: RunFacts
    second: RunFacts
    tasks: int
    """With a known outcome in both runs. All figures are over these."""
    only_first: int
    only_second: int
    same_dataset: bool
    first_rate: Estimate
    second_rate: Estimate
    difference: Estimate
    """Second less first."""
    mcnemar: Paired | None
    """With one attempt at each task in both runs; otherwise the difference's interval decides."""
    wins: int
    """Tasks on which the second run's rate is higher."""
    losses: int
    ties: int
    gained: tuple[Flip, ...]
    lost: tuple[Flip, ...]
    infrastructure: tuple[int, int]
    """Rollouts of each run that count as unsolved because infrastructure ended them."""
    changes: tuple[Change, ...]
    verdict: Literal["better", "worse", "no difference shown"]
    """Of the second run."""
    words: str
    power: str
    can_show: float


def compare(first: Summary, second: Summary) -> Comparison:
    """Paired by task id. Raises StoreError when no task has a known outcome in both."""
    one, two = _known(first), _known(second)
    common = [task_id for task_id in one if task_id in two]
    if not common:
        raise StoreError(
            f"{first.run.name} and {second.run.name} have no task in common whose outcome is known in both"
        )
    before, after = [one[i].rate for i in common], [two[i].rate for i in common]
    repos = [one[i].repo for i in common]
    flips = [Flip(*row) for row in zip(common, before, after, strict=True) if row[1] != row[2]]
    gained = tuple(flip for flip in flips if flip.second > flip.first)
    lost = tuple(flip for flip in flips if flip.second < flip.first)
    rows = [[row for i in common for row in tasks[i].known] for tasks in (one, two)]
    single = all(len(tasks[i].known) == 1 for tasks in (one, two) for i in common)
    paired = (
        metrics.mcnemar([rate == 1 for rate in before], [rate == 1 for rate in after]) if single else None
    )
    difference = metrics.paired_difference(before, after, repos)
    verdict = _verdict(difference, paired)
    can_show, power = _power(before, after)
    return Comparison(
        first=first.run,
        second=second.run,
        tasks=len(common),
        only_first=len(one) - len(common),
        only_second=len(two) - len(common),
        same_dataset=first.run.dataset_hash == second.run.dataset_hash,
        first_rate=metrics.estimate(before, repos),
        second_rate=metrics.estimate(after, repos),
        difference=difference,
        mcnemar=paired,
        wins=len(gained),
        losses=len(lost),
        ties=len(common) - len(flips),
        gained=gained,
        lost=lost,
        infrastructure=(_infrastructure(rows[0]), _infrastructure(rows[1])),
        changes=tuple(_changes(spent_on(rows[0]), spent_on(rows[1]))),
        verdict=verdict,
        words=_words(verdict, *_labels(first.run, second.run), difference, paired),
        power=power,
        can_show=can_show,
    )


def _known(summary: Summary) -> dict[str, TaskRow]:
    return {task.id: task for task in originals(summary.tasks) if task.known}


def _verdict(
    difference: Estimate, paired: Paired | None
) -> Literal["better", "worse", "no difference shown"]:
    low, high = difference.interval.low, difference.interval.high
    shown = paired.p < LEVEL if paired else not low <= 0 <= high
    if not shown or difference.value == 0:
        return "no difference shown"
    return "better" if difference.value > 0 else "worse"


def _labels(first: RunFacts, second: RunFacts) -> tuple[str, str]:
    same = first.name == second.name
    return ("the first run", "the second run") if same else (first.name, second.name)


def _words(verdict: str, first: str, second: str, difference: Estimate, paired: Paired | None) -> str:
    points = f"{100 * difference.value:+.1f} points"
    interval = f"95 % interval {100 * difference.interval.low:+.1f} to {100 * difference.interval.high:+.1f}"
    proof = f"exact McNemar p = {paired.p:.3g}" if paired else difference.interval.method
    if verdict == "no difference shown":
        return f"No difference between {first} and {second} is shown: {points} ({interval}; {proof})."
    return f"{second} is {verdict} than {first}: {points} ({interval}; {proof})."


def _power(before: Sequence[float], after: Sequence[float]) -> tuple[float, str]:
    """What these tasks can show, by the mean square of their differences.

    With one attempt that is the share that flipped. Where too little flipped, the usual share is taken.
    """
    squares = [(b - a) ** 2 for a, b in zip(before, after, strict=True)]
    enough = sum(square > 0 for square in squares) >= 10
    discordant = metrics.mean(squares) if enough else metrics.DISCORDANT
    smallest = metrics.detectable(len(squares), discordant)
    needed = metrics.tasks_needed(0.05, discordant)
    shown = can_show(smallest, discordant, "or more", ", as here" if enough else ", assumed")
    return smallest, f"These {len(squares)} tasks {shown}; 5 points would need {needed:,} tasks."


def _infrastructure(rows: Sequence[AttemptRow]) -> int:
    return sum(row.end in INFRASTRUCTURE for row in rows)


def _changes(first: Spent, second: Spent) -> list[Change]:
    found = []
    for name in ("tokens", "output_tokens", "cost_usd", "seconds", "requests", "steps"):
        one, two = getattr(first, name), getattr(second, name)
        found.append(
            Change(
                name,
                one.median if one else None,
                two.median if two else None,
                one.per_solved if one else None,
                two.per_solved if two else None,
            )
        )
    return found
