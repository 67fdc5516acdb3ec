"""What becomes of changes whose work was cut off: they are kept as a patch, and it is said where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.bus import Branch
from agent.events import Noted
from sandbox.base import SandboxError
from sandbox.rejected import KEPT_DAYS, keep
from sandbox.workspace import Fork


@asynccontextmanager
async def kept_when_cut_off(fork: Fork, branch: Branch, name: str) -> AsyncIterator[None]:
    """Keep what the body has changed when it ends by an exception, such as an interrupt."""
    try:
        yield
    except BaseException:
        await keep_unfinished(fork, branch, name)
        raise


async def keep_unfinished(fork: Fork, branch: Branch, name: str) -> None:
    """Keep what differs from the base in a fork that is about to go, as `name` among the session's files."""
    try:
        patch = await fork.diff()
    except SandboxError as error:
        branch.emit(Noted("warning", f"what was changed so far could not be kept: {error}"))
        return
    if not patch.empty:
        path = keep(branch.bus.log.artifacts, name, patch)
        branch.emit(Noted("info", f"what was changed so far is kept for {KEPT_DAYS} days: {path}"))
