"""A command on a real pseudo-terminal, as a person would have it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest


class Screen:
    """The person's side: types, changes the window, and waits for what is shown."""

    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self._master = master
        self._process = process
        self._more = asyncio.Event()
        self._seen = 0
        self.text = ""
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody holds the other end any more
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self.text += data.decode("utf-8", "replace")
        self._more.set()

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def settings(self) -> list[object]:
        return termios.tcgetattr(self._master)

    def hang_up(self) -> None:
        """As when the window is closed."""
        self._process.send_signal(signal.SIGHUP)

    async def shows(self, text: str, timeout_s: float = 20.0) -> None:
        """Wait until `text` comes after what was waited for before."""
        try:
            async with asyncio.timeout(timeout_s):
                while text not in self.text[self._seen :]:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pytest.fail(f"{text!r} never came after:\n{self.text}")
        self._seen = self.text.index(text, self._seen) + len(text)

    async def ends(self, timeout_s: float = 20.0) -> int:
        """Wait for the command's end; returns its exit code."""
        async with asyncio.timeout(timeout_s):
            return await self._process.wait()


@asynccontextmanager
async def on_terminal(*command: str, cwd: Path, rows: int = 30, columns: int = 90) -> AsyncIterator[Screen]:
    """Run a command with a new terminal as its own; killed at the end if it is still there."""
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    try:
        process = await asyncio.create_subprocess_exec(
            *("setsid", "--ctty", *command),
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm"},
        )
        screen = Screen(master, process)
        try:
            yield screen
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            asyncio.get_running_loop().remove_reader(master)
    finally:
        os.close(slave)
        os.close(master)
