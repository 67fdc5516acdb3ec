from __future__ import annotations

import asyncio
import time
from typing import Annotated

from sandbox.base import JobState, NoSuchJob, TooManyJobs
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.ending import ending, job_ending
from tools.output import Spill, clip, ended_line, readable
from tools.waiting import HINT, asked_for_input

MAX_TIMEOUT = 3600
KILL = "kill"
_POLL_S = 0.05


@tool(Effect.EXECUTE)
async def bash(
    ctx: ToolContext,
    command: str,
    timeout: Annotated[int, "seconds"] = 0,  # noqa: ASYNC109 - the name that models know
    background: bool = False,
    job: int = 0,
) -> ToolOutput:
    """Run a shell command without input.

    The exit code, the duration and the size come last, where no clipping hides them. The whole output, which
    the sandbox bounds, is kept for the person when the model saw only parts of it.

    One tool for background jobs too, for a second one would not fit into the prompt: `background` starts a
    job and tells its number, `job` shows what it wrote since and waits for its end up to `timeout`; the
    command `kill` ends it.
    """
    try:
        if job and command.strip() in ("", KILL):  # small models fill in numbers beside a command
            return await _ask(ctx, job, min(timeout, MAX_TIMEOUT), bool(command.strip()))
        if not command.strip():
            raise ToolError("There is no command. Give one, or the number of a background job as `job`.")
        return await (_start(ctx, command) if background else _run(ctx, command, timeout))
    except NoSuchJob:
        known = ", ".join(str(state.job) for state in await ctx.sandbox.jobs()) or "none"
        raise ToolError(f"There is no job {job}; those of this sandbox: {known}.") from None
    except TooManyJobs as error:
        raise ToolError(f"{str(error).capitalize()}, with job=NUMBER and the command kill.") from None


async def _run(ctx: ToolContext, command: str, timeout_s: int) -> ToolOutput:
    whole = Spill(ctx.artifacts, "bash")

    def hear(data: bytes) -> None:
        whole.write(data)
        if ctx.on_output is not None:
            ctx.on_output(data)

    limit = float(min(timeout_s, MAX_TIMEOUT)) if timeout_s > 0 else ctx.timeout_s
    artifact = ""
    try:
        result = await ctx.sandbox.run(command, timeout_s=limit, on_output=hear)
        text = readable(result.output)
        cut = result.total_bytes > len(result.head) + len(result.tail)
        shown = clip(text, total=result.total_bytes if cut else 0)
        if cut or shown != text:
            artifact = str(whole.keep())
    finally:
        whole.drop()
    how = ending(result, limit, ctx.sandbox.limits)
    hint = _hint(command, text, result.exit_code)
    return ToolOutput(f"{ended_line(shown)}[{how}]{hint}", artifact=artifact)


async def _start(ctx: ToolContext, command: str) -> ToolOutput:
    known = {state.job for state in await ctx.sandbox.jobs()}
    ctx.spills = {job: spill for job, spill in ctx.spills.items() if job in known}
    whole = Spill(ctx.artifacts, "job")
    state = await ctx.sandbox.start(command, on_output=whole.write)
    ctx.spills[state.job], ctx.heard[state.job] = whole, 0
    return ToolOutput(
        f'[job {state.job} runs in the background; bash with command="", job={state.job} shows what it writes'
        f' and with a timeout waits for its end, with command="{KILL}" ends it]'
    )


async def _ask(ctx: ToolContext, job: int, wait_s: float, kill: bool) -> ToolOutput:
    """What a job wrote since it was last asked about, and how it is."""
    if kill:
        await ctx.sandbox.kill(job)
    state = await _wait(ctx, job, wait_s)
    pieces: list[bytes] = []
    asked = first = ctx.heard.get(job, 0)
    whole = True
    while asked < state.total_bytes:  # what it goes on to write meanwhile is for the next time
        piece = await ctx.sandbox.output(job, asked)
        if piece.offset > asked:
            whole = False
            pieces.append(b"\n... [%d bytes left out] ...\n" % (piece.offset - asked))
        pieces.append(piece.data)
        asked = piece.next
    ctx.heard[job] = asked
    text = readable(b"".join(pieces))
    shown = clip(text, total=0 if whole else asked - first)
    kept = "" if whole and shown == text else str(ctx.spills[job].keep())
    hint = _hint(state.command, text, state.exit_code)
    return ToolOutput(f"{ended_line(shown)}[{job_ending(state, ctx.sandbox.limits)}]{hint}", artifact=kept)


async def _wait(ctx: ToolContext, job: int, wait_s: float) -> JobState:
    """How a job is once it has ended or the time is over."""
    until = time.monotonic() + wait_s
    while True:
        state = (await ctx.sandbox.output(job)).state
        if not state.running or time.monotonic() >= until:
            return state
        await asyncio.sleep(_POLL_S)


def _hint(command: str, output: str, exit_code: int | None) -> str:
    return f"\n{HINT}" if asked_for_input(command, output, exit_code) else ""
