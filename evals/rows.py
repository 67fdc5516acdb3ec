"""One row a task and one an attempt: what tables, figures and comparisons of a run are made from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from evals.contamination import overlap
from evals.reading import Run
from evals.types import INFRASTRUCTURE, Instance, Rollout, Score, Tests, Unit


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One unit. Without `end` it was not run yet; without `graded` its outcome is not known yet."""

    unit: str
    attempt: int
    end: str = ""
    detail: str = ""
    graded: bool = False
    """True with a score, and for what infrastructure ended: that counts as unsolved."""
    solved: bool = False
    reward: float = 0.0
    applied: bool | None = None
    verifier_error: bool = False
    claimed: bool | None = None
    tests_passed: int = 0
    tests: int = 0
    flags: tuple[str, ...] = ()
    tampered: bool = False
    steps: int = 0
    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    seconds: float = 0.0
    malformed_calls: int = 0
    failed_edits: int = 0
    tries: int = 0
    longest_run: int | None = None
    """Tokens in a row as in the reference; None without patch or reference."""
    gram_share: float | None = None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    repo: str
    difficulty: str
    created_at: str
    tests: int
    """That the task names."""
    twin_of: str
    """Id of the task whose identifiers were renamed to make this one; "" for an original."""
    attempts: tuple[AttemptRow, ...]

    @property
    def known(self) -> tuple[AttemptRow, ...]:
        return tuple(row for row in self.attempts if row.graded)

    @property
    def solved(self) -> int:
        return sum(row.solved for row in self.known)

    @property
    def rate(self) -> float:
        """Solved attempts by attempts whose outcome is known. Raises ZeroDivisionError when none is."""
        return self.solved / len(self.known)


def task_rows(run: Run) -> list[TaskRow]:
    """The tasks that have units, in the dataset's order."""
    units: dict[str, list[Unit]] = {}
    for unit in run.units:
        units.setdefault(unit.instance, []).append(unit)
    rows = []
    for task in run.instances.values():
        own = sorted(units.get(task.id, ()), key=lambda unit: unit.attempt)
        if own:
            rows.append(
                TaskRow(
                    id=task.id,
                    repo=task.repo,
                    difficulty=task.difficulty,
                    created_at=task.created_at,
                    tests=_tests(task),
                    twin_of=str(task.extra.get("twin_of", "")),
                    attempts=tuple(_attempt(run, task, unit) for unit in own),
                )
            )
    return rows


def originals(tasks: Sequence[TaskRow]) -> list[TaskRow]:
    """Without the twins of tasks that are there themselves; those would count a task twice."""
    ids = {task.id for task in tasks}
    return [task for task in tasks if task.twin_of not in ids]


def _tests(task: Instance) -> int:
    if isinstance(task.grading, Tests):
        named = {*task.grading.fail_to_pass, *task.grading.pass_to_pass}
        return len(named.union(task.quarantined))
    return len(task.quarantined)


def _attempt(run: Run, task: Instance, unit: Unit) -> AttemptRow:
    rollout, score = run.rollouts.get(unit.id), run.scores.get(unit.id)
    if rollout is None:
        return AttemptRow(unit=unit.id, attempt=unit.attempt)
    row = _of_rollout(task, unit, rollout)
    if rollout.end in INFRASTRUCTURE:
        return msgspec.structs.replace(row, graded=True)
    return _graded(row, score) if score else row


def _of_rollout(task: Instance, unit: Unit, rollout: Rollout) -> AttemptRow:
    shared = overlap(rollout.patch, task.reference) if rollout.patch and task.reference else None
    return AttemptRow(
        unit=unit.id,
        attempt=unit.attempt,
        end=rollout.end,
        detail=rollout.detail,
        claimed=rollout.verified,
        steps=rollout.steps,
        requests=rollout.usage.requests,
        input_tokens=rollout.usage.input_tokens,
        cached_tokens=rollout.usage.cached_input_tokens,
        output_tokens=rollout.usage.output_tokens,
        cost_usd=rollout.usage.cost_usd,
        seconds=rollout.duration_s,
        malformed_calls=rollout.malformed_calls,
        failed_edits=rollout.failed_edits,
        tries=rollout.tries,
        longest_run=shared.longest if shared else None,
        gram_share=shared.share if shared else None,
    )


def _graded(row: AttemptRow, score: Score) -> AttemptRow:
    tampered = any(flag.weight == "tamper" for flag in score.flags)
    return msgspec.structs.replace(
        row,
        graded=True,
        solved=score.resolved and not tampered and not score.error,
        reward=0.0 if tampered or score.error else score.reward,
        applied=None if score.error else score.applied,
        verifier_error=bool(score.error) or row.end == "verifier_error",
        tests_passed=sum(test.outcome in ("passed", "xfailed") for test in score.tests),
        tests=len(score.tests),
        flags=tuple(sorted({flag.rule for flag in score.flags})),
        tampered=tampered,
    )
