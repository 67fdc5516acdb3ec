"""Lines and answers from the person, read in a way that Ctrl-C ends at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from agent.cli.render import visible
from agent.messages import ToolCall
from tools.base import Effect

ALT_ENTER = "\x1b"
"""What a terminal sends of Alt in front of the end of the line."""
SHIFT_TAB = "\x1b[Z"


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
        self._hear: Callable[[str], None] | None = None

    async def read(self, prompt: str = "") -> str | None:
        """The next line without its end; None at the end of input."""
        if prompt:
            self.console.print(prompt, end="", highlight=False, markup=False)
        while b"\n" not in self._rest and not self._ended:
            await self._readable()
            self._take()
        if self._ended and not self._rest:
            # a terminal can go on after Ctrl-D; what is not one has ended for good
            self._ended = not os.isatty(self._fd)
            return None
        return self._line()

    @contextmanager
    def heard_by(self, hear: Callable[[str], None]) -> Iterator[None]:
        """Meanwhile `hear` gets each line that nobody reads: what is typed while something runs."""
        loop = asyncio.get_running_loop()
        self._hear = hear
        loop.add_reader(self._fd, self._listen)
        try:
            yield
        finally:
            self._hear = None
            loop.remove_reader(self._fd)

    def _listen(self) -> None:
        self._take()
        if self._ended:
            asyncio.get_running_loop().remove_reader(self._fd)
        while self._hear and b"\n" in self._rest:
            self._hear(self._line())

    def _take(self) -> None:
        try:
            chunk = os.read(self._fd, 65536)
        except OSError:  # the terminal was closed
            chunk = b""
        self._ended = not chunk
        self._rest += chunk

    def _line(self) -> str:
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
            if self._hear:
                loop.add_reader(self._fd, self._listen)


class TerminalAsker:
    """Puts a question of the model's to the person, one at a time."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._alone = asyncio.Lock()

    async def ask(self, question: str, options: Sequence[str]) -> str:
        """The answer in the person's words, or the option whose number they gave; empty for none."""
        rows = [question, *(f"  {number}. {option}" for number, option in enumerate(options, 1))]
        how = "a number or your own words" if options else "your answer"
        async with self._alone:
            line = await self._lines.read(visible("\n".join([*rows, f"({how}; Enter alone gives none) "])))
        answer = (line or "").strip(f" \t{ALT_ENTER}")
        if answer.isdecimal() and 1 <= int(answer) <= len(options):
            return options[int(answer) - 1]
        return answer


class TerminalApprover:
    """Asks at the terminal before a call that no sandbox holds."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def approve(self, call: ToolCall, effect: Effect) -> bool:
        del effect
        return await self._lines.yes(visible(f"Run {call.name} {call.arguments}?"))
