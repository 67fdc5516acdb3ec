"""Attempts, one after the other, each in a fork of its own; the first verified one wins."""

from __future__ import annotations

import time

from agent.events import AttemptEnded, AttemptStarted
from agent.messages import Usage
from agent.models.base import ModelError
from agent.solve.direct import attempt_repair
from agent.solve.looped import attempt_loop
from agent.solve.task import Task, Try
from sandbox.base import SandboxError, SandboxUnavailable
from sandbox.rejected import keep

_RUNNERS = {"repair": attempt_repair, "loop": attempt_loop}


async def solve(task: Task) -> list[Try]:
    """Try until one attempt is verified, the attempts are used up or the budget is. Never empty.

    Raises ModelError when the model cannot be asked: another attempt would meet the same.
    """
    tries: list[Try] = []
    run = _RUNNERS[task.plan.strategy]
    for number in range(1, task.plan.attempts + 1):
        if tries and (spent := task.budget.exceeded()):
            tries.append(Try("limit", spent))
            break
        branch = task.branch.fork(f"attempt-{number}")
        branch.emit(
            AttemptStarted(
                number,
                task.plan.attempts,
                task.plan.strategy,
                task.temperature(number),
                ", ".join(f"{s.path}:{s.qualname}" for s in task.targets),
            )
        )
        started, before = time.monotonic(), task.budget.usage
        try:
            ended = await run(task, number, branch)
        except SandboxUnavailable:
            raise
        except SandboxError as error:
            # the place broke under this candidate (too many changes, out of memory); the next has its own
            ended = Try("error", str(error))
        except ModelError as error:
            branch.emit(_ended(number, Try("error", str(error)), task, before, started))
            raise
        branch.emit(_ended(number, ended, task, before, started))
        tries.append(ended)
        if ended.outcome != "verified" and not ended.patch.empty:
            keep(branch.bus.log.artifacts, f"attempt-{number}", ended.patch)
        if ended.outcome in ("verified", "limit"):
            break
    return tries


def _ended(number: int, ended: Try, task: Task, before: Usage, started: float) -> AttemptEnded:
    usage = task.budget.usage - before
    return AttemptEnded(number, ended.outcome, ended.detail, usage, time.monotonic() - started)
