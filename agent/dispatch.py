"""The tool calls of one step: checked in order, run as far apart as they must be, answered exactly once each.

A call fails in one of three ways, and the list is closed:

- It cannot be run (no such tool, wrong arguments, no permission) or the tool raises ToolError: the model is
  told, as the result of that call.
- The turn is cancelled: the calls that have no result yet get an "interrupted" one.
- Anything else is a defect of pawl or of the place. It stops the step and is raised, after every call has
  a result in the log, so that the history stays valid.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.bus import Branch
from agent.context import interrupted
from agent.events import ToolFinished, ToolStarted
from agent.forms import Forms
from agent.messages import Image, ToolCall, ToolResult
from agent.permissions import Permissions
from tools.base import Effect, Tool, ToolContext, ToolError

NOT_RUN = "The call was not run: an earlier one of this step failed inside pawl."


@dataclass
class _Job:
    """One call on its way to its result."""

    call: ToolCall
    tool: Tool | None = None
    arguments: dict[str, Any] | None = None
    finished: ToolFinished | None = None
    defect: Exception | None = None

    def finish(
        self,
        text: str,
        *,
        is_error: bool = False,
        images: tuple[Image, ...] = (),
        duration_s: float = 0.0,
        **more: str,
    ) -> None:
        result = ToolResult(self.call.id, self.call.name, text, is_error, images)
        self.finished = ToolFinished(result, duration_s, **more)

    @property
    def may_change_files(self) -> bool:
        return self.tool is not None and self.tool.effect is not Effect.READ

    @property
    def runs_beside_others(self) -> bool:
        return self.finished is not None or not self.may_change_files


async def dispatch(
    calls: Sequence[ToolCall],
    tools: Mapping[str, Tool],
    context: ToolContext,
    branch: Branch,
    permissions: Permissions,
    dialect: str = "",
) -> None:
    """Run the calls of one reply; on return, and on any exception, each has exactly one ToolFinished.

    ToolFinished events come in the order of the calls. Neighbouring READ calls run together, others alone.
    `dialect` is the one in which the calls stood in the text.
    """
    jobs = [_Job(call) for call in calls]
    forms = Forms(dialect, tools, branch.events())
    reported = 0
    try:
        for job in jobs:
            await _preflight(job, tools, permissions, forms)
        if context.before_change is not None and any(job.may_change_files for job in jobs):
            await context.before_change()
        for batch in _batches(jobs):
            await _run_together(batch, context, branch)
            for job in batch:
                reported += 1
                branch.emit(_outcome(job))
            for job in batch:
                if job.defect is not None:
                    raise job.defect
    except BaseException as error:
        for job in jobs[reported:]:
            if job.finished is None and isinstance(error, Exception):
                job.finish(NOT_RUN, is_error=True)
            branch.emit(_outcome(job))
        raise


def _outcome(job: _Job) -> ToolFinished:
    return job.finished or ToolFinished(interrupted(job.call), 0.0)


async def _preflight(job: _Job, tools: Mapping[str, Tool], permissions: Permissions, forms: Forms) -> None:
    """Find, decode, permit. What fails finishes the job with an error result."""
    call = job.call
    tool = tools.get(call.name)
    if tool is None:
        known = f"There is no tool {call.name!r}. The tools are: {', '.join(tools)}."
        job.finish(known + forms.of(call.name), is_error=True)
        return
    try:
        job.arguments = decode_arguments(tool, call.arguments)
    except ToolError as error:
        job.finish(str(error) + forms.of(call.name), is_error=True)
        return
    if refusal := await permissions.refusal(call, tool.effect):
        job.finish(refusal, is_error=True)
        return
    job.tool = tool


def decode_arguments(tool: Tool, raw: str) -> dict[str, Any]:
    """The arguments by name, defaults filled in. Raises a ToolError that says what is wrong with them.

    Forgiving where the meaning is plain: numbers and booleans in quotes, control characters such as a raw
    newline inside a string, nothing at all where no argument is required. Half of a surrogate pair is no
    text: it could neither be written to a file nor passed to a command.
    """
    try:
        try:
            value = json.loads(raw.strip() or "{}", strict=False)
            json.dumps(value, ensure_ascii=False).encode()
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        arguments = msgspec.convert(value, type=tool.arguments, strict=False)
    except msgspec.ValidationError as error:
        wanted = json.dumps(tool.parameters["properties"], ensure_ascii=False)
        raise ToolError(f"Wrong arguments for {tool.name}: {error}. It takes: {wanted}") from error
    except ValueError as error:
        raise ToolError(
            f"The arguments of {tool.name} are not valid JSON: {error}. Call it again."
        ) from error
    return msgspec.structs.asdict(arguments)


def _batches(jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
    batch: list[_Job] = []
    for job in jobs:
        if batch and not (job.runs_beside_others and batch[-1].runs_beside_others):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


async def _run_together(batch: Sequence[_Job], context: ToolContext, branch: Branch) -> None:
    """Run a batch to its end. A cancellation, and any after it, waits until the tools have cleaned up."""
    waiting = [job for job in batch if job.finished is None]
    for job in waiting:
        assert job.tool is not None
        branch.emit(ToolStarted(job.call, job.tool.effect.value))
    async with asyncio.TaskGroup() as group:
        for job in waiting:
            group.create_task(_run(job, context, branch.bus.timer))


async def _run(job: _Job, context: ToolContext, timer: Callable[[], float]) -> None:
    tool, arguments = job.tool, job.arguments
    assert tool is not None and arguments is not None
    started = timer()
    try:
        output = await tool.run(context, **arguments)
    except ToolError as error:
        job.finish(str(error), is_error=True, duration_s=timer() - started)
    except Exception as error:
        job.defect = error
        job.finish(f"{tool.name} failed inside pawl.", is_error=True, duration_s=timer() - started)
    else:
        duration = timer() - started
        job.finish(
            output.text,
            duration_s=duration,
            images=output.images,
            view=output.view,
            artifact=output.artifact,
        )
