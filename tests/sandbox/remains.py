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


def containers(session: str) -> list[str]:
    """Ids of the containers with this session's label."""
    words = ["docker", "ps", "-aq", "--filter", f"label=pawl.session={session}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


async def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes true in time, for what cannot be awaited."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        await asyncio.sleep(0.02)
    return False
