from __future__ import annotations

from typing import Annotated

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.ending import ending
from tools.output import clip, save_whole
from tools.probe import PYTEST, run_check, selected
from tools.testreport import could_not_start, describe

TEST_TIMEOUT = 600.0
ONE_TEST = 60.0


@tool(Effect.EXECUTE)
async def run_tests(
    ctx: ToolContext, selection: Annotated[str, "test file or id; empty: all"] = ""
) -> ToolOutput:
    """Run the tests and report what fails.

    Without a selection the person's check command is run when there is one.
    """
    try:
        command = (*PYTEST, *selected(selection)) if selection.strip() else ctx.check or PYTEST
    except ValueError as error:
        raise ToolError(f"Not a selection of tests: {error}.") from None
    timeout = max(ctx.timeout_s, TEST_TIMEOUT)
    check = await run_check(
        ctx.sandbox,
        command,
        timeout_s=timeout,
        limit_s=ONE_TEST,
        extra_env=ctx.check_env,
        on_output=ctx.on_output,
    )
    if reason := could_not_start(check):
        raise ToolError(f"The tests could not be run: {reason}\n{clip(check.output, limit=2000)}")
    whole = save_whole(ctx.artifacts, "tests", check.exec.output)
    if check.report is None or (not check.ok and not check.report.failures):
        text = clip(check.output.removesuffix(f"[{check.killed}]\n"), limit=8000)
    else:
        text = describe(check.report)
    how = ending(check.exec, timeout, ctx.sandbox.limits)
    return ToolOutput(f"{text}\n[{how}]", view=check.output, artifact=str(whole))
