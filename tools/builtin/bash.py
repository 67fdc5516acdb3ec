from __future__ import annotations

from typing import Annotated

from sandbox.base import ExecResult
from tools.base import Effect, ToolContext, ToolOutput, tool
from tools.output import Spill, clip, readable

MAX_TIMEOUT = 3600


@tool(Effect.EXECUTE)
async def bash(
    ctx: ToolContext,
    command: str,
    timeout: Annotated[int, "seconds"] = 0,  # noqa: ASYNC109 - the name that models know
) -> ToolOutput:
    """Run a shell command in the workspace; nobody answers its questions.

    The exit code, the duration and the size come last, where no clipping hides them. The whole output, which
    the sandbox bounds, is kept for the person when the model saw only parts of it.
    """
    whole = Spill(ctx.artifacts, "bash")

    def hear(data: bytes) -> None:
        whole.write(data)
        if ctx.on_output is not None:
            ctx.on_output(data)

    limit = float(min(timeout, MAX_TIMEOUT)) if timeout > 0 else ctx.timeout_s
    artifact = ""
    try:
        result = await ctx.sandbox.run(command, timeout_s=limit, on_output=hear)
        text = readable(result.output)
        shown = clip(text)
        if shown != text or result.total_bytes > len(result.head) + len(result.tail):
            artifact = str(whole.keep())
    finally:
        whole.drop()
    body = shown if not shown or shown.endswith("\n") else shown + "\n"
    return ToolOutput(f"{body}[{ending(result, limit)}]", artifact=artifact)


_PASSED = {
    "processes": "too many processes at once",
    "workspace": "the workspace takes too much disk; remove what is not needed",
    "files": "too many files in the workspace; remove what is not needed",
    "host": "it would leave too little free disk on this machine",
}


def ending(result: ExecResult, limit: float) -> str:
    """How a command ended, in words: `exit code 1, 0.5 s, 812 bytes`."""
    if result.timed_out:
        how = f"killed after {limit:g} s, the timeout; a command that waits for input never gets any"
    elif result.oom:
        how = "killed: out of memory"
    elif result.overflow:
        how = "killed: too much output"
    elif result.bound:
        how = f"killed: {_PASSED[result.bound]}"
    elif result.exit_code is None:
        how = f"killed by signal {result.signal}"
    else:
        how = f"exit code {result.exit_code}"
    left = (
        f", {result.killed} processes it left were killed" if result.killed and not result.timed_out else ""
    )
    return f"{how}, {result.duration_s:.1f} s, {result.total_bytes} bytes{left}"
