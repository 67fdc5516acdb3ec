"""An agent at work without a network: a scripted model, tiny tools with real effects, what a sink heard."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from agent.bus import Bus
from agent.events import AnyEvent, Durable
from agent.loop import Agent
from agent.messages import Assistant, Message, System, ToolCall, ToolResult
from agent.models.scripted import Reply, ScriptedModel
from agent.session import Envelope, Header, SessionLog
from tools.base import Effect, Tool, ToolContext, ToolError, ToolOutput, tool

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Gate(asyncio.Event):
    """An event that also tells when somebody begins to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self) -> bool:  # type: ignore[override]
        self.reached.set()
        return await super().wait()


class Board(ToolContext):
    """Named notes that the tools read and write in place of a sandbox, and what they did in which order."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, folder)  # type: ignore[arg-type]
        self.notes = {"a": "first", "b": "second"}
        self.gates: dict[str, Gate] = {}
        self.trace: list[str] = []
        self.processes: list[int] = []
        self.cleanup: Gate | None = None
        """What a killed command still waits for."""


@tool(Effect.READ)
async def look(ctx: Board, name: Annotated[str, "note to read"]) -> ToolOutput:
    """Read a note."""
    ctx.trace.append(f"look {name}")
    if name in ctx.gates:
        await ctx.gates[name].wait()
    if name not in ctx.notes:
        raise ToolError(f"There is no note {name!r}.")
    ctx.trace.append(f"saw {name}")
    return ToolOutput(ctx.notes[name], view=f"note {name}")


@tool(Effect.WRITE)
async def put(ctx: Board, name: str, text: str, times: int = 1) -> ToolOutput:
    """Write a note."""
    ctx.trace.append(f"put {name}")
    await asyncio.sleep(0)
    ctx.notes[name] = text * times
    ctx.trace.append(f"wrote {name}")
    return ToolOutput(f"wrote {name}")


@tool(Effect.EXECUTE)
async def shell(ctx: Board, command: str) -> ToolOutput:
    """Run a command."""
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    ctx.processes.append(process.pid)
    assert process.stdout is not None and ctx.on_output is not None
    try:
        while data := await process.stdout.read(100):
            ctx.on_output(data)
        return ToolOutput(f"exit {await process.wait()}")
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await process.stdout.read()
            if ctx.cleanup is not None:
                await ctx.cleanup.wait()
            ctx.trace.append("killed the command")


@tool(Effect.READ)
async def crash(ctx: Board) -> ToolOutput:
    """Fail in a way that nobody expected."""
    raise ZeroDivisionError("a defect")


TOOLS: Mapping[str, Tool] = {t.name: t for t in (look, put, shell, crash)}


def call(number: int, name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(f"c{number}", name, arguments)


class Scene:
    """Opens a log in `folder`; use as a context manager. `heard` is everything that a sink was told."""

    def __init__(self, folder: Path, replies: Iterable[Any] = (), **agent: Any) -> None:
        self.board = Board(folder)
        self.heard: list[AnyEvent] = []
        self.log = SessionLog.create(folder / "s1.jsonl", Header(id="s1", at="", project="/p"))
        self.bus = Bus(self.log, [self._hear], clock=lambda: NOW, timer=lambda: 0.0)
        self.branch = self.bus.branch()
        self.model = ScriptedModel(replies)
        agent = {"toolset": TOOLS, "context": self.board, "system": "be good"} | agent
        self.agent = Agent(self.model, self.branch, **agent)

    def _hear(self, event: AnyEvent, envelope: Envelope) -> None:
        self.heard.append(event)

    def kinds(self) -> list[str]:
        """The durable events of the branch by their tag."""
        return [type(event).__struct_config__.tag for event in self.branch.events()]  # type: ignore[misc]

    def finished(self) -> list[ToolResult]:
        return [event.result for event in self.branch.events() if hasattr(event, "result")]

    def reload(self) -> list[Durable]:
        """The events as another process would read them."""
        return [record.event for record in SessionLog.load(self.log.path).records]

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()
        for request in self.model.requests:
            check_valid(request.messages)


def check_valid(messages: tuple[Message, ...]) -> None:
    """Every call has exactly one result, right after the message that made it, in order; no orphans."""
    expected: list[str] = []
    for place, message in enumerate(messages):
        assert not isinstance(message, System) or place == 0, "a system message in the middle"
        if isinstance(message, ToolResult):
            assert expected and expected.pop(0) == message.call_id, f"orphan result: {message}"
        else:
            assert not expected, f"calls without a result: {expected}"
            expected = [c.id for c in message.tool_calls] if isinstance(message, Assistant) else []
    assert not expected, f"calls without a result: {expected}"


def answer(text: str = "done", **more: Any) -> Reply:
    return Reply(text, **more)


def calls(*wanted: ToolCall, text: str = "", **more: Any) -> Reply:
    return Reply(text, wanted, **more)
