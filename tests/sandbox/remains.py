"""What may be left on the host: processes and containers, as the host sees them."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def on_host(marker: str) -> int:
    """How many `sleep MARKER` the host sees, in whatever namespace."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            count += path.read_bytes().startswith(b"sleep\0" + marker.encode())
    return count


def containers(*sessions: str) -> list[str]:
    """Ids of the containers with the label of one of these sessions."""
    words = ["docker", "ps", "-a", "--filter", "label=pawl.session"]
    words += ["--format", '{{.ID}} {{.Label "pawl.session"}}']
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split()[0] for line in listed if line.split()[1] in sessions]


async def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes true in time, for what cannot be awaited."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        await asyncio.sleep(0.02)
    return False
