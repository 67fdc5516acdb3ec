"""`fix`: run the check, read the failure, repair, verify. Nothing here touches the user's tree.

A run ends in one of these ways: it passes already; it cannot start; it is verified; the attempts or a limit
are used up. Each is a Result with its exit code; ModelError and SandboxError go up.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from agent.bus import Branch
from agent.events import Noted, PhaseStarted
from agent.guards import Budget
from agent.models.base import Model
from agent.result import Cause, Subtype
from agent.setup import setup_hint
from agent.solve.attempts import solve
from agent.solve.locate import located
from agent.solve.sources import read_sources
from agent.solve.task import BASE_TEST_SHARE, CHECK_SHARE, MIN_BASE_TEST_LIMIT_S, Plan, Task, Try
from agent.verify import Verdict, run_and_log
from agent.workbench import Workbench
from sandbox.patch import Patch
from tools.testplan import own_command
from tools.testreport import CheckResult, could_not_start

_NO_COMMAND = (
    "No way to run this project's tests is found, so there is nothing to make pass; "
    "name the command: `pawl fix -- CMD...`, or set `test_cmd`."
)


class Outcome(NamedTuple):
    """What came of a `fix`, before anything is applied."""

    subtype: Subtype
    text: str
    """One or two sentences for the person."""
    patch: Patch = Patch()
    verdict: Verdict | None = None
    model: str = ""
    answers: bool = False
    """The text is what was asked for, not a line about the patch."""
    cause: Cause = ""
    edits_alone: bool = False
    """See `agent.permissions.edits_alone`."""


async def fix(
    command: tuple[str, ...],
    bench: Workbench,
    branch: Branch,
    budget: Budget,
    *,
    open_model: Callable[[], Awaitable[tuple[Model, Plan]]],
    wall_s: float,
) -> Outcome:
    """Make `command` pass within `wall_s` seconds, which the caller enforces.

    An empty command stands for how the project is tested, which is looked for. The model is opened only once
    there is something to repair.
    """
    check_timeout_s = CHECK_SHARE * wall_s
    limit_s = max(MIN_BASE_TEST_LIMIT_S, BASE_TEST_SHARE * wall_s)
    async with bench.candidate() as base:
        command = command or await own_command(base.sandbox)
        if not command:
            return Outcome("error", _NO_COMMAND)
        shown = shlex.join(command)
        branch.emit(PhaseStarted("run", shown))
        before, _ = await run_and_log(
            base.sandbox, command, "base", branch=branch, timeout_s=check_timeout_s, limit_s=limit_s
        )
        if before.ok:
            return Outcome("success", f"`{shown}` passes already; there is nothing to fix.")
        if not bench.workspace.is_set_up and (hint := setup_hint(before.output, bench.workspace.tree)):
            branch.emit(Noted("info", hint))
        if reason := could_not_start(before):
            return Outcome("error", f"`{shown}` cannot run here, so there is nothing to repair: {reason}")
        if hung := _hangs(before, shown):
            return hung
        branch.emit(PhaseStarted("read"))
        sources = await read_sources(base.sandbox)
    found = await located(bench, command, before, sources, branch)
    bench.warm()
    model, plan = await open_model()
    try:
        task = Task(command, bench, model, branch, plan, before, budget, sources, found, check_timeout_s)
        if plan.strategy == "repair" and not found.suspects:
            task.plan = _plan_without_suspects(plan, branch)
        branch.emit(PhaseStarted("repair", f"{task.plan.strategy} with {model.name}"))
        tries = await solve(task)
    finally:
        await model.aclose()
    return outcome_of(shown, tries, before, model.name)


def _hangs(before: CheckResult, shown: str) -> Outcome | None:
    """A command that had to be killed and left no trace of where it hung cannot be repaired."""
    if not before.exec.timed_out or (before.report and before.report.failures):
        return None
    seconds = f"{before.exec.duration_s:.0f} s"
    return Outcome(
        "limit", f"`{shown}` did not end within {seconds} and was killed; raise --timeout if it needs more."
    )


def _plan_without_suspects(plan: Plan, branch: Branch) -> Plan:
    """Direct repair needs a function to show; without one only the tool loop can look around."""
    branch.emit(Noted("info", "the failure points at no function; using the tool loop"))
    return msgspec.structs.replace(plan, strategy="loop")


def outcome_of(shown: str, tries: list[Try], before: CheckResult, model: str) -> Outcome:
    """What the attempts at making `shown` pass came to, in words."""
    last = tries[-1]
    made = sum(1 for t in tries if t.outcome != "limit")
    times = "1 attempt" if made == 1 else f"{made} attempts"
    if last.outcome == "verified" and last.verdict is not None:
        text = f"Fixed and verified in {times}."
        return Outcome("success", text, last.patch, last.verdict, model, edits_alone=last.edits_alone)
    best = next((t for t in reversed(tries) if not t.patch.empty), last)
    common = (best.patch, best.verdict, model)
    if last.outcome == "limit":
        return Outcome("limit", f"A limit was reached before a fix was verified: {last.detail}.", *common)
    if all(t.outcome == "loop" for t in tries):
        return Outcome("loop", f"The model went in circles: {last.detail}.", *common)
    if all(t.outcome == "error" for t in tries):
        return Outcome("error", f"No attempt could be finished: {last.detail}", *common)
    if before.exec.timed_out:
        return Outcome("limit", f"`{shown}` still does not end; {times} did not mend it.", *common)
    return Outcome("tests_fail", f"`{shown}` still fails after {times}.", *common)
