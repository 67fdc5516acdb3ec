"""An agent's process: started with a process group of its own, of which nothing is left when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

TERM_S = 10.0
"""Seconds between the wish to end and the kill."""


class Ended(msgspec.Struct, frozen=True):
    """How it ended."""

    code: int
    """Exit code; minus the signal's number when one ended it."""
    timed_out: bool
    out: bytes
    err: bytes


async def run_process(
    words: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    out: Path,
    err: Path,
    stdin: bytes = b"",
    timeout_s: float,
) -> Ended:
    """Run a program to its end, its output going to the files `out` and `err`.

    After `timeout_s`, or when cancelled, it is asked to end and then killed with its group. Raises OSError
    when it cannot be started.
    """
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.PIPE,
            stdout=to_out,
            stderr=to_err,
            start_new_session=True,
        )
    timed_out = False
    try:
        async with asyncio.timeout(timeout_s):
            await process.communicate(stdin)
    except TimeoutError:
        timed_out = True
    finally:
        await asyncio.shield(asyncio.ensure_future(_end(process)))
    assert process.returncode is not None
    said, told = await asyncio.to_thread(out.read_bytes), await asyncio.to_thread(err.read_bytes)
    return Ended(process.returncode, timed_out, said, told)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERM_S):
                await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
