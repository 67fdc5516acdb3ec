"""What every source of weights needs: its contract, and running a client as a child that can be stopped."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from sandbox.programs import environment

TICK_S = 0.25
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

OnProgress = Callable[[int, int | None], None]
"""Bytes that are there and bytes in all (None: unknown)."""


class SourceFailed(Exception):
    """This source cannot give the file. The message goes on where its label stops, and says why."""


class Source(Protocol):
    """Somewhere weights can be fetched from."""

    label: str
    """As people call it."""
    slack: int
    """Bytes of disk that it needs besides the file itself."""

    async def fetch(self, folder: Path, on_progress: OnProgress) -> Path:
        """Bring the file into `folder`, which may hold the pieces of an earlier try, and return its path.

        Raises SourceFailed, or OSError of the disk. When it is interrupted, what it has stays for the next
        try and no process is left.
        """
        ...


class Done(msgspec.Struct, frozen=True):
    code: int
    stdout: bytes
    stderr: str


async def run(
    command: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    on_tick: Callable[[], None] = lambda: None,
) -> Done:
    """Run a command to its end, `on_tick` being called meanwhile. Cancelled, it kills the process group."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(os.environ if environ is None else environ),
        start_new_session=True,
    )
    talk = asyncio.create_task(process.communicate(stdin))
    try:
        while not (await asyncio.wait({talk}, timeout=TICK_S))[0]:
            on_tick()
        stdout, stderr = talk.result()
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.wait({talk})
        raise
    return Done(process.returncode or 0, stdout, stderr.decode(errors="replace"))


def bytes_below(folder: Path) -> int:
    """Bytes of all files in a folder, which may change meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                total += path.stat().st_size
    return total
