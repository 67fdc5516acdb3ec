"""An attempt by the tool loop: the model looks, edits and runs until it says it is done; pawl then checks."""

from __future__ import annotations

import shlex

from agent.bus import Branch
from agent.guards import LoopGuard, MaxSteps
from agent.loop import Agent, run_turn
from agent.mapped import maker, with_map
from agent.permissions import Permissions
from agent.prompt import system_prompt
from agent.solve.task import Task, Try
from agent.unfinished import kept_when_cut_off
from agent.verify import Verdict
from agent.workbench import Candidate
from tools.base import ToolContext
from tools.output import clip
from tools.testreport import CheckResult, describe
from tools.toolset import default_toolset

ROUNDS = 3
"""How often the model may go on after pawl's own check has failed."""


async def attempt_loop(task: Task, number: int, branch: Branch) -> Try:
    """Let the model work in a fork; verify what it leaves; tell it what still fails, for a few rounds."""
    async with (
        task.bench.candidate() as candidate,
        kept_when_cut_off(candidate.fork, branch, f"attempt-{number}"),
    ):
        return await _rounds(task, number, branch, candidate)


async def _rounds(task: Task, number: int, branch: Branch, candidate: Candidate) -> Try:
    agent = _agent(task, number, branch, candidate)
    message = _task_message(task)
    if not task.suspects:
        message = await with_map(message, task.bench.workspace.tree, task.plan.map_tokens)
    ended = Try("no_change", "nothing was changed")
    for _ in range(ROUNDS):
        end = await run_turn(agent, message)
        patch = await candidate.fork.diff()
        if agent.error is not None:
            raise agent.error
        if patch.empty:
            message = "Nothing was changed yet. Edit the code so that the command passes."
        else:
            verdict = await task.verify(patch, branch)
            if verdict.verified:
                return Try("verified", "", verdict.patch, verdict)
            ended = Try("tests_fail", verdict.lost or _summary(verdict.check), patch, verdict)
            message = _still_fails(task, verdict)
        if end.status == "loop":
            return Try("loop", end.detail, patch)
        if spent := task.budget.exceeded():
            return Try("limit", spent, patch)
        if end.status != "done":
            return ended
    return ended


def _agent(task: Task, number: int, branch: Branch, candidate: Candidate) -> Agent:
    context = ToolContext(
        candidate.sandbox,
        branch.bus.log.artifacts,
        check=task.command,
        timeout_s=task.bench.limits.timeout_s,
        refuse_syntax_errors=task.plan.refuse_syntax_errors,
        map=maker(task.bench.workspace.tree),
    )
    return Agent(
        model=task.model,
        branch=branch,
        system=system_prompt("fix"),
        toolset=default_toolset(task.plan.edit_form),
        context=context,
        permissions=Permissions.inside_sandbox(candidate.sandbox.caps.backend, mode="yolo"),
        guards=(task.budget, MaxSteps(task.plan.max_steps), LoopGuard()),
        temperature=task.temperature(number),
        max_tokens=task.plan.reply_tokens,
        seed=task.plan.seed + 100 * number,
        tool_mode=task.plan.tool_mode,
        dialect=task.plan.dialect,
    )


def _task_message(task: Task) -> str:
    failure = _failure(task.before, 6000)
    places = "\n".join(f"- {s.path}: {s.qualname} ({s.reason})" for s in task.suspects[:5])
    hint = f"\n\nThe failure points at:\n{places}" if places else ""
    return (
        f"This command fails: {shlex.join(task.command)}\n\n{failure}{hint}\n\n"
        "Fix the code, not the tests, until the command passes."
    )


def _still_fails(task: Task, verdict: Verdict) -> str:
    touched = verdict.receipt.protected_files_touched
    note = f"\nChanges to {', '.join(touched)} do not count." if touched else ""
    note += f"\nThe exit code proves nothing: {verdict.lost}." if verdict.lost and verdict.check.ok else ""
    failure = _failure(verdict.check, 4000)
    return f"`{shlex.join(task.command)}` still fails:{note}\n\n{failure}"


def _failure(check: CheckResult, limit: int) -> str:
    if check.report is None:
        return clip(check.output, limit=limit)
    return describe(check.report) + (f"\n\nThe command was {check.killed}." if check.killed else "")


def _summary(check: CheckResult) -> str:
    return check.report.summary if check.report else f"exit code {check.exec.exit_code}"
