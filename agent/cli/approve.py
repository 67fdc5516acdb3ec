"""Lines and answers from the person, read in a way that Ctrl-C ends at once."""

from __future__ import annotations

import asyncio
import os
import sys

from rich.console import Console

from agent.cli.render import visible
from agent.messages import ToolCall
from tools.base import Effect


def can_ask(output_format: str = "text") -> bool:
    """True when a person sits at the terminal that we read from and write to."""
    streams = (sys.stdin, sys.stderr)
    return output_format == "text" and all(stream.isatty() for stream in streams)


class Lines:
    """Lines of standard input.

    The file descriptor is watched by the event loop: a thread that waits in `input()` could not be cancelled.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._fd = sys.stdin.fileno()
        self._rest = b""
        self._ended = False

    async def read(self, prompt: str = "") -> str | None:
        """The next line without its end; None at the end of input."""
        if prompt:
            self.console.print(prompt, end="", highlight=False, markup=False)
        while b"\n" not in self._rest and not self._ended:
            await self._readable()
            chunk = os.read(self._fd, 65536)
            # a terminal can go on after Ctrl-D; what is not one has ended for good
            self._ended = not chunk
            self._rest += chunk
        if self._ended and not self._rest:
            self._ended = not os.isatty(self._fd)
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    async def yes(self, question: str) -> bool:
        """True only for y or yes."""
        answer = await self.read(f"{question} [y/N] ")
        return (answer or "").strip().lower() in ("y", "yes")

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._fd, ready.set)
        except PermissionError:
            return  # a regular file or /dev/null: never waits
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._fd)


class TerminalApprover:
    """Asks at the terminal before a call that no sandbox holds."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def approve(self, call: ToolCall, effect: Effect) -> bool:
        del effect
        return await self._lines.yes(visible(f"Run {call.name} {call.arguments}?"))
