"""`run`: do what a person asks for, without the person. Nothing here touches the user's tree.

With a check the work ends when it passes in a clean fork, as with `fix`; without one, when the model says
that it is done. A question is answered by a reply that changes nothing.

A model for direct repair rewrites the functions that the request names (agent/solve/rewrite.py). Where it
names none, or no reply can be used, such a model gets the tool loop too.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable

import msgspec

from agent.bus import Branch
from agent.context import conversation
from agent.events import Noted, PhaseStarted
from agent.guards import Budget
from agent.loop import last_reply, run_turn
from agent.mapped import with_map
from agent.messages import Image
from agent.models.base import Model
from agent.permissions import edits_alone, told
from agent.solve.answer import AnswerUnfit, Form, bare
from agent.solve.attempts import solve
from agent.solve.fix import Outcome, outcome_of
from agent.solve.locate import Located, located
from agent.solve.looped import loop_agent
from agent.solve.named import named
from agent.solve.rewrite import rewritten
from agent.solve.sources import read_sources
from agent.solve.task import BASE_TEST_SHARE, CHECK_SHARE, MIN_BASE_TEST_LIMIT_S, Plan, Task
from agent.unfinished import kept_when_cut_off
from agent.verify import run_and_log
from agent.workbench import Workbench
from tools.testreport import CheckResult

CANNOT_START = (126, 127)
"""Exit codes by which a shell says that there is no such command."""


async def fulfil(
    request: str,
    bench: Workbench,
    branch: Branch,
    budget: Budget,
    *,
    instructions: str,
    check: tuple[str, ...],
    open_model: Callable[[], Awaitable[tuple[Model, Plan]]],
    wall_s: float,
    images: tuple[Image, ...] = (),
) -> Outcome:
    """Do what `request` says; `check` (empty for none) proves it within `wall_s`, which the caller enforces.

    The model is shown `images` with the request. Raises ModelError when the model cannot be asked,
    SandboxError when the place broke.
    """
    try:
        if check:
            outcome = await _checked(
                request, bench, branch, budget, instructions=instructions, check=check, open_model=open_model,
                wall_s=wall_s, images=images,
            )  # fmt: skip
            return outcome._replace(answers=True)
        return await _unchecked(request, bench, branch, budget, instructions, open_model, images)
    except AnswerUnfit as error:
        return Outcome("error", str(error))


async def _unchecked(
    request: str,
    bench: Workbench,
    branch: Branch,
    budget: Budget,
    instructions: str,
    open_model: Callable[[], Awaitable[tuple[Model, Plan]]],
    images: tuple[Image, ...],
) -> Outcome:
    model, plan = await open_model()
    branch.emit(PhaseStarted("work", f"with {model.name}"))
    try:
        if (
            not images
            and _may_rewrite(plan, branch)
            and (made := await rewritten(request, bench, branch, budget, model, plan))
        ):
            return made
        async with bench.candidate(last=True) as candidate, kept_when_cut_off(candidate.fork, branch, "run"):
            tree = bench.workspace.tree
            form = Form(plan.output_schema) if plan.output_schema else None
            agent = loop_agent(
                model, plan, branch, candidate, budget, tree=tree, kind="run", instructions=instructions
            )
            request = told(request, plan.permission_mode)
            if conversation(branch.events()) is None:
                request = await with_map(request, tree, plan.map_tokens)
            end = await run_turn(agent, f"{request}\n\n{form.wanted}" if form else request, images)
            if agent.error is not None:
                raise agent.error
            end = await form.settle(agent, end) if form else end
            patch = await candidate.fork.diff()
            alone = agent.context is not None and edits_alone(patch, agent.context.written)
    finally:
        await model.aclose()
    said = last_reply(branch)
    if end.status == "done":
        said = bare(said) if form else said
        return Outcome("success", said, patch, model=model.name, answers=True, edits_alone=alone)
    return Outcome(end.status, f"{said}\n{end.detail}".strip(), patch, model=model.name)


def _may_rewrite(plan: Plan, branch: Branch) -> bool:
    """Whether the functions meant may be rewritten directly, which goes on with no conversation."""
    loops = plan.permission_mode == "plan" or plan.output_schema is not None
    return plan.strategy == "repair" and not loops and conversation(branch.events()) is None


async def _checked(
    request: str,
    bench: Workbench,
    branch: Branch,
    budget: Budget,
    *,
    instructions: str,
    check: tuple[str, ...],
    open_model: Callable[[], Awaitable[tuple[Model, Plan]]],
    wall_s: float,
    images: tuple[Image, ...],
) -> Outcome:
    shown = shlex.join(check)
    check_timeout_s = CHECK_SHARE * wall_s
    branch.emit(PhaseStarted("run", shown))
    async with bench.candidate() as base:
        before, _ = await run_and_log(
            base.sandbox,
            check,
            "base",
            branch=branch,
            timeout_s=check_timeout_s,
            limit_s=max(MIN_BASE_TEST_LIMIT_S, BASE_TEST_SHARE * wall_s),
        )
        if before.exec.exit_code in CANNOT_START:
            return Outcome(
                "error", f"`{shown}` cannot run here, so it can prove nothing: {before.output.strip()}"
            )
    if before.ok:
        branch.emit(Noted("info", f"`{shown}` passes before the change; it must still do so after it"))
    model, plan = await open_model()
    try:
        found, sources = Located(), dict[str, bytes]()
        if not images and _may_rewrite(plan, branch):
            found, sources = await _meant(request, check, before, bench, branch)
        if not found.suspects:
            plan = msgspec.structs.replace(plan, strategy="loop")
        task = Task(
            check,
            bench,
            model,
            branch,
            plan,
            before,
            budget,
            sources,
            found,
            check_timeout_s,
            request,
            instructions,
            images,
        )
        branch.emit(PhaseStarted("work", f"with {model.name}"))
        tries = await solve(task)
    finally:
        await model.aclose()
    last = tries[-1]
    if before.ok and last.outcome == "no_change":
        return Outcome("success", last.reply, model=model.name)
    outcome = outcome_of(shown, tries, before, model.name)
    if outcome.subtype == "success":
        return outcome._replace(text=last.reply or outcome.text)
    return outcome._replace(text=f"{last.reply}\n{outcome.text}".strip())


async def _meant(
    request: str, check: tuple[str, ...], before: CheckResult, bench: Workbench, branch: Branch
) -> tuple[Located, dict[str, bytes]]:
    """Where the request and, when the check fails, its failure point; with the sources."""
    async with bench.candidate() as base:
        sources = await read_sources(base.sandbox)
    found = Located() if before.ok else await located(bench, check, before, sources, branch)
    return msgspec.structs.replace(found, suspects=named(request, sources) or found.suspects), sources
