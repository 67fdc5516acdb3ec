from __future__ import annotations

import uuid
from typing import Annotated

import msgspec

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.ending import ending
from tools.output import Spill, clip
from tools.probe import run_check
from tools.testplan import NothingToRun, Planned, again, plan
from tools.testreport import CheckResult, TestReport, could_not_start, describe, not_installed
from tools.waiting import TESTS_HINT, asked_for_input

TEST_TIMEOUT = 600.0
ONE_TEST = 60.0
_UNCOLLECTED = (
    "[No test ran: pytest stops when a file of tests cannot be imported. Mend that, or select other files.]"
)
REPEATED = 5
"""Failures not known before are run once more, to tell flaky ones, when they are no more than these"""
REPEAT_WITHIN = 20.0
"""and the run took no more seconds."""


@tool(Effect.EXECUTE)
async def run_tests(
    ctx: ToolContext, selection: Annotated[str, "file, id or `changed`; empty: all"] = ""
) -> ToolOutput:
    """Run tests; report what fails.

    Without a selection the person's check command is run when there is one, else what the project uses.
    """
    spill = Spill(ctx.artifacts, "tests")
    try:
        ways = await plan(ctx.sandbox, selection, run=uuid.uuid4().hex, check=ctx.check, changed=ctx.changed)
    except NothingToRun as reason:
        raise ToolError(str(reason)) from None
    for way in ways:
        check = await _run(ctx, way, spill)
        if not not_installed(check):
            break
    _refuse(check, way)
    change = ""
    if check.report is not None:
        check = msgspec.structs.replace(check, report=await _with_flaky(ctx, way, check, check.report, spill))
        assert check.report is not None
        change = ctx.history.compare(check.report, way.command.text).text if not ctx.history.empty else ""
        ctx.history.add(check.report, way.command.text)
    how = ending(check.exec, _timeout(ctx), ctx.sandbox.limits)
    hint = TESTS_HINT if _asked(check, way) else _UNCOLLECTED if _stopped_at_imports(check) else ""
    text = "\n".join(filter(None, [_text(check, change), f"[{how}]", hint]))
    return ToolOutput(text, view=check.output, artifact=str(spill.keep()))


async def _run(ctx: ToolContext, way: Planned, spill: Spill) -> CheckResult:
    def hear(data: bytes) -> None:
        spill.write(data)
        if ctx.on_output is not None:
            ctx.on_output(data)

    return await run_check(
        ctx.sandbox, way, timeout_s=_timeout(ctx), limit_s=ONE_TEST, extra_env=ctx.check_env, on_output=hear
    )


def _timeout(ctx: ToolContext) -> float:
    return max(ctx.timeout_s, TEST_TIMEOUT)


def _refuse(check: CheckResult, way: Planned) -> None:
    """Raises ToolError for a run that tells nothing of the code."""
    shown = clip(check.output, limit=2000).strip()
    if reason := could_not_start(check):
        raise ToolError(f"The tests could not be run: {reason}\n{shown}".rstrip())
    if check.exec.overflow:
        raise ToolError(f"The tests were {check.killed}; run fewer, or make them print less.\n{shown}")
    if way.own and check.exec.ok and check.report is None:
        raise ToolError(
            f"`{way.command.text}` ended with exit code 0, but nothing that it printed shows that a test "
            f"ran, so it is no pass. Look with bash at what it does, or select a file.\n{shown}".rstrip()
        )


def _asked(check: CheckResult, way: Planned) -> bool:
    """Whether the command or a test that failed waited for input."""
    code = check.exec.exit_code
    said = (
        [f"{test.exception}: {test.message}".strip() for test in check.report.failures]
        if check.report
        else []
    )
    return not check.ok and any(
        asked_for_input(way.command.text, text, code) for text in (check.output, *said)
    )


def _stopped_at_imports(check: CheckResult) -> bool:
    """pytest's exit code 2 (interrupted) without a test that ran."""
    report = check.report
    return (
        check.exec.exit_code == 2
        and report is not None
        and (report.runner, {*report.counts}) == ("pytest", {"error"})
    )


def _text(check: CheckResult, change: str) -> str:
    if check.report is None or (not check.ok and not check.report.failures):
        text = clip(check.output.removesuffix(f"[{check.killed}]\n"), limit=8000)
        return text if text.strip() or not check.ok else "The command passes and prints nothing."
    return describe(check.report, change=change)


async def _with_flaky(
    ctx: ToolContext, way: Planned, check: CheckResult, report: TestReport, spill: Spill
) -> TestReport:
    """The report with those failures marked that pass when they alone are run once more."""
    change = ctx.history.compare(report, way.command.text)
    doubted = [*change.broken, *change.fresh]
    if not 0 < len(doubted) <= REPEATED or check.exec.duration_s > REPEAT_WITHIN or check.killed:
        return report
    if (alone := again(way, doubted, uuid.uuid4().hex)) is None:
        return report
    second = await _run(ctx, alone, spill)
    passed = {test.id for test in second.report.tests if test.outcome == "passed"} if second.report else set()
    marked = [
        msgspec.structs.replace(test, flaky=True) if test.bad and test.id in passed else test
        for test in report.tests
    ]
    return msgspec.structs.replace(report, tests=tuple(marked))
