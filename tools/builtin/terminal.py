from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from sandbox.base import Size
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.builtin.bash import MAX_TIMEOUT
from tools.output import clip, ended_line, readable, save_whole

WINDOW = Size(40, 120)
MAX_BYTES = 16 * 1024 * 1024
"""A terminal's output has no bound of the sandbox's own."""
_QUIET_S = 0.4
"""A command that has written nothing for so long is taken to wait."""
_SILENT_S = 3.0
"""The same for one that has written nothing at all: it may still be starting."""
_END = b"\x04"


@tool(Effect.EXECUTE)
async def terminal(
    ctx: ToolContext,
    command: str,
    input: Annotated[str, "lines to type, each when it waits"] = "",
    timeout: Annotated[int, "seconds"] = 0,  # noqa: ASYNC109 - as in bash
) -> ToolOutput:
    """Run a command that needs a terminal.

    Each line is typed once nothing has been written for a moment, for many programs throw away what was typed
    before they asked; Ctrl-D follows the last one, so a program that asks for more gets the end of input.
    """
    if not command.strip():
        raise ToolError("There is no command.")
    limit = float(min(timeout, MAX_TIMEOUT)) if timeout > 0 else ctx.timeout_s
    return await _Session(ctx, command, input.splitlines(), limit).run()


class _Session:
    """One command on its terminal."""

    def __init__(self, ctx: ToolContext, command: str, lines: list[str], limit: float) -> None:
        self._ctx = ctx
        self._command = command
        self._lines = lines
        self._limit = limit
        self._written = bytearray()
        self._began = self._heard = time.monotonic()
        self._flooded = asyncio.Event()

    async def run(self) -> ToolOutput:
        running = asyncio.create_task(
            self._ctx.sandbox.terminal(
                self._command, size=WINDOW, keys=self._keys(), on_output=self._hear, env={"TERM": "xterm"}
            )
        )
        flooded = asyncio.create_task(self._flooded.wait())
        try:
            await asyncio.wait({running, flooded}, timeout=self._limit, return_when=asyncio.FIRST_COMPLETED)
            ended = running.done()
        finally:
            for task in (running, flooded):
                task.cancel()
            await asyncio.gather(running, flooded, return_exceptions=True)
        return self._told(running.result() if ended else None)

    def _told(self, code: int | None) -> ToolOutput:
        if code is not None:
            how = f"exit code {code}"
        elif self._flooded.is_set():
            how = f"killed: too much output, over {MAX_BYTES // 1024**2} MB"
        else:
            how = f"killed after {self._limit:g} s, the timeout"
        whole = bytes(self._written)
        text = readable(whole)
        shown = clip(text)
        kept = "" if shown == text else str(save_whole(self._ctx.artifacts, "terminal", whole))
        spent = time.monotonic() - self._began
        return ToolOutput(f"{ended_line(shown)}[{how}, {spent:.1f} s, {len(whole)} bytes]", artifact=kept)

    def _hear(self, data: bytes) -> None:
        self._heard = time.monotonic()
        if len(self._written) + len(data) > MAX_BYTES:
            self._flooded.set()
            return
        self._written += data
        if self._ctx.on_output is not None:
            self._ctx.on_output(data)

    async def _keys(self) -> AsyncIterator[bytes | Size]:
        for typed in (*(f"{line}\r".encode() for line in self._lines), _END):
            await self._quiet()
            self._heard = time.monotonic()
            yield typed

    async def _quiet(self) -> None:
        while True:
            pause = _QUIET_S if self._written else _SILENT_S
            if (left := self._heard + pause - time.monotonic()) <= 0:
                return
            await asyncio.sleep(min(left, 0.05))
