"""An attempt by the tool loop: the model looks, edits and runs until it says it is done; pawl then checks."""

from __future__ import annotations

import shlex
from pathlib import Path

from agent.bus import Branch
from agent.context import conversation
from agent.events import TurnEnded
from agent.guards import Budget, LoopGuard, MaxSteps
from agent.loop import Agent, last_reply, run_turn
from agent.mapped import maker, with_map
from agent.models.base import Model
from agent.permissions import Permissions, edits_alone
from agent.prompt import system_prompt
from agent.resume import tools_for
from agent.solve.answer import AnswerUnfit, Form, bare
from agent.solve.task import Plan, Task, Try
from agent.unfinished import kept_when_cut_off
from agent.verify import Verdict
from agent.workbench import Candidate
from tools.base import ToolContext
from tools.output import clip
from tools.testhistory import TestHistory
from tools.testreport import CheckResult, TestReport, describe
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
    agent = loop_agent(
        task.model,
        task.plan,
        branch,
        candidate,
        task.budget,
        tree=task.bench.workspace.tree,
        kind="run" if task.request else "fix",
        instructions=task.instructions,
        check=task.command,
        before=task.before.report,
        temperature=task.temperature(number),
        seed=task.plan.seed + 100 * number,
    )
    message = _task_message(task)
    if not task.located.suspects and conversation(branch.events()) is None:
        message = await with_map(message, task.bench.workspace.tree, task.plan.map_tokens)
    ended = Try("no_change", "nothing was changed")
    images = task.images
    for _ in range(ROUNDS):
        end = await run_turn(agent, message, images)
        images = ()
        patch = await candidate.fork.diff()
        if agent.error is not None:
            raise agent.error
        said = last_reply(branch)
        if patch.empty and task.before.ok and end.status == "done":
            return Try("no_change", "nothing was changed", reply=await _answer(task, agent, end))
        if patch.empty:
            message = "Nothing was changed yet. Edit the code so that the command passes."
        else:
            verdict = await task.verify(patch, branch)
            if verdict.verified:
                alone = edits_alone(verdict.patch, agent.context.written) if agent.context else False
                said = await _answer(task, agent, end)
                return Try("verified", "", verdict.patch, verdict, alone, said)
            why = verdict.lost or _summary(verdict.check)
            ended = Try("tests_fail", why, patch, verdict, reply=said)
            message = _still_fails(task, verdict)
        if end.status == "loop":
            return Try("loop", end.detail, patch)
        if spent := task.budget.exceeded():
            return Try("limit", spent, patch)
        if end.status != "done":
            return ended
    return ended


async def _answer(task: Task, agent: Agent, ended: TurnEnded) -> str:
    """What the model said last, in the form that it is to have. Raises AnswerUnfit."""
    if not task.plan.output_schema:
        return last_reply(agent.branch)
    form = Form(task.plan.output_schema)
    await form.settle(agent, ended)
    if problem := form.problem(said := last_reply(agent.branch)):
        raise AnswerUnfit(f"The answer does not fit the schema: {problem}")
    return bare(said)


def loop_agent(
    model: Model,
    plan: Plan,
    branch: Branch,
    candidate: Candidate,
    budget: Budget,
    *,
    tree: Path,
    kind: str,
    instructions: str = "",
    check: tuple[str, ...] = (),
    before: TestReport | None = None,
    temperature: float | None = None,
    seed: int | None = None,
) -> Agent:
    """An agent at work on a candidate, with nobody to ask; `kind` is a key of `prompt.ENDINGS`.

    `tree` is the person's own, of which a map can be made; `before` is what the check said at first.
    `temperature` and `seed` are the plan's unless given.
    """
    context = ToolContext(
        candidate.sandbox,
        branch.bus.log.artifacts,
        check=check or None,
        changed=candidate.changed,
        history=TestHistory(before),
        timeout_s=candidate.sandbox.limits.timeout_s,
        refuse_syntax_errors=plan.refuse_syntax_errors,
        map=maker(tree),
    )
    return Agent(
        model=model,
        branch=branch,
        system=system_prompt(kind, instructions),
        toolset=tools_for(branch.events(), default_toolset(plan.edit_form, plan.tools)),
        context=context,
        permissions=Permissions.inside_sandbox(candidate.sandbox.caps.backend, plan.permission_mode),
        guards=(budget, MaxSteps(plan.max_steps), LoopGuard()),
        temperature=plan.temperature if temperature is None else temperature,
        max_tokens=plan.reply_tokens,
        seed=plan.seed if seed is None else seed,
        output_schema=plan.output_schema,
        tool_mode=plan.tool_mode,
        dialect=plan.dialect,
    )


def _task_message(task: Task) -> str:
    if task.request:
        form = f"\n\n{Form(task.plan.output_schema).wanted}" if task.plan.output_schema else ""
        return f"{task.request}\n\nIn the end this command must pass: {shlex.join(task.command)}{form}"
    failure = _failure(task.before, 6000)
    places = "\n".join(f"- {s.path}: {s.qualname} ({s.reason})" for s in task.located.suspects[:5])
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
