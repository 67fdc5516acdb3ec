"""What a run came to: from its folder to one `Summary`, which is `report.json`.

The same folder gives the same bytes. Nothing of it depends on when or how long grading took, so that
scores can be deleted and made again. What infrastructure ended counts as unsolved; beside it stands the rate
without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date

import msgspec

from agent.messages import Usage
from evals import metrics
from evals.contamination import parse_date
from evals.metrics import Estimate, Spread
from evals.reading import Run
from evals.rows import AttemptRow, TaskRow, originals, task_rows
from evals.signs import Signs, before_and_after, signs_of, twins_of
from evals.store import StoreError
from evals.types import INFRASTRUCTURE

DRAWS = 2_000
"""Of the bootstrap for all but the headline: groups, and k above 1."""
NOT_THE_AGENTS = INFRASTRUCTURE | {"verifier_error", "cancelled"}
"""Ends that the second number, `if_excluded`, leaves out."""


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    benchmark: str
    dataset: str
    dataset_hash: str
    agent: str
    model: str
    agent_version: str
    attempts: int
    seed: int
    backend: str
    scorer: str
    git_revision: str
    created_at: str
    cutoff: str
    """The model's, as an ISO date; "" when nobody said."""


class Progress(msgspec.Struct, frozen=True):
    units: int
    rollouts: int
    graded: int
    """Units whose outcome is known: with a score, or ended by infrastructure."""
    tasks: int
    tasks_counted: int
    """With at least one known outcome. The rates are over these."""


class Point(msgspec.Struct, frozen=True):
    """pass@k and pass^k, over the tasks with at least `k` known outcomes."""

    k: int
    any: Estimate
    all: Estimate


class EndRow(msgspec.Struct, frozen=True):
    end: str
    rollouts: int
    solved: int
    tokens: int


class Group(msgspec.Struct, frozen=True):
    """The tasks that share a repository, a difficulty or a side of the model's cut-off."""

    name: str
    rate: Estimate
    solved: int
    """Tasks that at least one attempt solved."""


class Spent(msgspec.Struct, frozen=True):
    """Over rollouts. `cost_usd` is over those whose cost is known; None when none is."""

    tokens: Spread | None
    input_tokens: Spread | None
    output_tokens: Spread | None
    cost_usd: Spread | None
    seconds: Spread | None
    requests: Spread | None
    steps: Spread | None
    cached_share: float | None
    """Of all prompt tokens, those that came from the server's cache."""


class Lost(msgspec.Struct, frozen=True):
    """Tries that came to nothing and were begun again, or that came too late; none of `Spent` counts them."""

    tries: int
    tokens: int
    cost_usd: float | None


class Habits(msgspec.Struct, frozen=True):
    """What went wrong on the way, as counts and as the share of rollouts in which it happened at all."""

    malformed_calls: int
    malformed_share: float
    failed_edits: int
    failed_edits_share: float
    unapplied: int
    """Patches that could not be applied."""
    claimed: int
    """Rollouts whose agent said that its own run had proved the result."""
    claimed_wrongly: int


class Flaky(msgspec.Struct, frozen=True):
    quarantined_tests: int
    tests: int
    """All that the tasks name, the quarantined ones included."""
    share: float
    tasks_with_quarantine: int
    undecided_tasks: int
    """Solved by some of their attempts and not by others."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one run. Rates are from 0 to 1, times in seconds, money in US dollars."""

    format: int = 1
    run: RunFacts
    progress: Progress
    resolved: Estimate | None
    """pass@1: the mean over tasks of solved attempts by attempts; None while nothing is known."""
    if_excluded: Estimate | None
    """The same without what the agent did not end itself; None when nothing is left out."""
    infrastructure: int
    """Rollouts that sandbox, provider or engine ended, counted as unsolved."""
    verifier_errors: int
    """Rollouts that could not be graded, counted as unsolved."""
    curve: tuple[Point, ...]
    ends: tuple[EndRow, ...]
    spent: Spent
    lost: Lost
    habits: Habits
    flaky: Flaky
    flags: dict[str, int]
    """Rule of the integrity checks -> rollouts that it flagged."""
    tampered: int
    by_difficulty: tuple[Group, ...]
    by_repository: tuple[Group, ...]
    by_age: tuple[Group, ...]
    """Before and after the model's cut-off; empty when it is unknown."""
    can_show: float
    """The smallest difference to another run that this set of tasks can show."""
    budget: tuple[tuple[float, float], ...]
    """(tokens, share of rollouts solved with at most so many), rising."""
    signs: Signs
    tasks: tuple[TaskRow, ...]


def summarize(run: Run, cutoff: date | None = None) -> Summary:
    """All figures of a run. Without `cutoff` the agent's setting `cutoff` counts, if there is one.

    Raises StoreError for a setting that is no date.
    """
    cutoff = cutoff or _said_cutoff(run)
    every = task_rows(run)
    tasks = originals(every)
    known = [row for task in tasks for row in task.known]
    counted = [task for task in tasks if task.known]
    resolved = _rate(counted, draws=metrics.DRAWS)
    others = [task for task in (_without(task) for task in counted) if task.known]
    infrastructure = sum(row.end in INFRASTRUCTURE for row in known)
    verifier = sum(row.verifier_error for row in known)
    left_out = any(_not_its_own(row) for row in known)
    return Summary(
        run=_facts(run, cutoff),
        progress=Progress(
            sum(len(task.attempts) for task in tasks),
            sum(bool(row.end) for task in tasks for row in task.attempts),
            len(known),
            len(tasks),
            len(counted),
        ),
        resolved=resolved,
        if_excluded=_rate(others, draws=metrics.DRAWS) if left_out else None,
        infrastructure=infrastructure,
        verifier_errors=verifier,
        curve=tuple(_curve(counted)),
        ends=tuple(_ends(known)),
        spent=spent_on(known),
        lost=_lost(run.lost),
        habits=_habits(known),
        flaky=_flaky(run, tasks),
        flags=dict(sorted(Counter(rule for row in known for rule in set(row.flags)).items())),
        tampered=sum(row.tampered for row in known),
        by_difficulty=_groups(counted, lambda task: task.difficulty),
        by_repository=_groups(counted, lambda task: task.repo),
        by_age=_groups(counted, before_and_after(cutoff)) if cutoff else (),
        can_show=metrics.detectable(len(counted)) if counted else 1.0,
        budget=tuple(metrics.within_budget([r.tokens for r in known], [r.solved for r in known])),
        signs=signs_of(run, known, twins_of(every)),
        tasks=tuple(every),
    )


def encode(summary: Summary) -> bytes:
    """`report.json`: the same summary gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n"


def _said_cutoff(run: Run) -> date | None:
    said = run.manifest.agent.settings.get("cutoff", "")
    found = parse_date(str(said))
    if said and found is None:
        raise StoreError(f"{run.folder / 'run.json'}: the agent's setting cutoff is no date: {said!r}")
    return found


def _facts(run: Run, cutoff: date | None) -> RunFacts:
    told = run.manifest
    return RunFacts(
        name=told.name,
        benchmark=told.benchmark,
        dataset=told.dataset,
        dataset_hash=told.dataset_hash,
        agent=told.agent.name,
        model=told.agent.model,
        agent_version=told.agent.version,
        attempts=told.attempts,
        seed=told.seed,
        backend=told.backend,
        scorer=run.scorer,
        git_revision=told.git_revision,
        created_at=told.created_at,
        cutoff=cutoff.isoformat() if cutoff else "",
    )


def _not_its_own(row: AttemptRow) -> bool:
    return row.verifier_error or row.end in NOT_THE_AGENTS


def _without(task: TaskRow) -> TaskRow:
    kept = tuple(row for row in task.attempts if not _not_its_own(row))
    return msgspec.structs.replace(task, attempts=kept)


def _rate(tasks: Sequence[TaskRow], draws: int = DRAWS) -> Estimate | None:
    if not tasks:
        return None
    return metrics.estimate([task.rate for task in tasks], [task.repo for task in tasks], draws=draws)


def _curve(tasks: Sequence[TaskRow]) -> Iterable[Point]:
    most = max((len(task.known) for task in tasks), default=0)
    for k in metrics.ks(most):
        able = [task for task in tasks if len(task.known) >= k]
        repos = [task.repo for task in able]
        counts = [(len(task.known), task.solved) for task in able]
        yield Point(
            k,
            metrics.estimate([metrics.pass_at_k(n, c, k) for n, c in counts], repos, draws=DRAWS),
            metrics.estimate([metrics.pass_all_k(n, c, k) for n, c in counts], repos, draws=DRAWS),
        )


def _ends(rows: Sequence[AttemptRow]) -> Iterable[EndRow]:
    for end, count in sorted(Counter(row.end for row in rows).items(), key=lambda pair: (-pair[1], pair[0])):
        own = [row for row in rows if row.end == end]
        yield EndRow(end, count, sum(row.solved for row in own), sum(row.tokens for row in own))


def spent_on(rows: Sequence[AttemptRow]) -> Spent:
    """What these rollouts cost in all."""
    solved = sum(row.solved for row in rows)

    def over(value: Callable[[AttemptRow], float]) -> Spread | None:
        return metrics.spread([value(row) for row in rows], solved)

    paid = [row for row in rows if row.cost_usd is not None]
    read = sum(row.input_tokens for row in rows)
    return Spent(
        tokens=over(lambda row: row.tokens),
        input_tokens=over(lambda row: row.input_tokens),
        output_tokens=over(lambda row: row.output_tokens),
        cost_usd=metrics.spread([row.cost_usd or 0.0 for row in paid], sum(row.solved for row in paid)),
        seconds=over(lambda row: row.seconds),
        requests=over(lambda row: row.requests),
        steps=over(lambda row: row.steps),
        cached_share=sum(row.cached_tokens for row in rows) / read if read else None,
    )


def _lost(tries: Sequence[Usage]) -> Lost:
    total = sum(tries, Usage())
    return Lost(len(tries), total.input_tokens + total.output_tokens, total.cost_usd)


def _habits(rows: Sequence[AttemptRow]) -> Habits:
    count = max(len(rows), 1)
    return Habits(
        sum(row.malformed_calls for row in rows),
        sum(row.malformed_calls > 0 for row in rows) / count,
        sum(row.failed_edits for row in rows),
        sum(row.failed_edits > 0 for row in rows) / count,
        sum(row.applied is False for row in rows),
        sum(row.claimed is True for row in rows),
        sum(row.claimed is True and not row.solved for row in rows),
    )


def _flaky(run: Run, tasks: Sequence[TaskRow]) -> Flaky:
    quarantined = [len(run.instances[task.id].quarantined) for task in tasks]
    named = sum(task.tests for task in tasks)
    return Flaky(
        sum(quarantined),
        named,
        sum(quarantined) / named if named else 0.0,
        sum(count > 0 for count in quarantined),
        sum(0 < task.solved < len(task.known) for task in tasks),
    )


def _groups(tasks: Sequence[TaskRow], key: Callable[[TaskRow], str]) -> tuple[Group, ...]:
    """By name; none when no task has one. Tasks without stand last."""
    names = sorted({key(task) for task in tasks}, key=lambda name: (not name, name))
    if names in ([], [""]):
        return ()
    found = []
    for name in names:
        own = [task for task in tasks if key(task) == name]
        rate = metrics.estimate([task.rate for task in own], draws=DRAWS)
        found.append(Group(name or "unknown", rate, sum(task.solved > 0 for task in own)))
    return tuple(found)
