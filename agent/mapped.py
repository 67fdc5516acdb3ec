"""The repository's map in a conversation's first message: made once, then part of the log and never remade.

The map is of the person's tree, whose stamps stay so that the kept index is good; links are not followed,
and secrets and ignored files are not in it (tools/mapindex.py). It never keeps a conversation waiting for
long: what is not ready within BUDGET_S is left out, and the index that is still being made serves the next
session.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.paths import cache_dir

BUDGET_S = 3.0
TOOL_S = 30.0
DEFAULT_TOKENS = 1024
MIN_CONTEXT = 16_384
"""Below this the map would take the room of the code itself."""
INTRODUCTION = "Files and definitions of this repository that may matter, likeliest first:"


def map_tokens(setting: str | int, context_tokens: int | None) -> int:
    """Tokens of the map by the setting and the model's context; 0 for none.

    A context that nobody knows or that is small gets none by `auto`, and by `on` or a number no more than a
    sixteenth of it.
    """
    if setting == "off" or (context_tokens is not None and context_tokens < MIN_CONTEXT):
        return 0
    if setting == "auto" and context_tokens is None:
        return 0
    wanted = setting if isinstance(setting, int) else DEFAULT_TOKENS
    return min(wanted, context_tokens // 16) if context_tokens else wanted


def cache_of(project: Path) -> Path:
    """The file that keeps the index of a project between sessions."""
    return cache_dir() / "maps" / hashlib.sha256(str(project).encode()).hexdigest()[:24]


async def made(project: Path, task: str, tokens: int, *, seconds: float) -> str:
    """The map of the project, or nothing when it is not ready after so many seconds."""
    from tools.repomap import repo_map  # brings the grammars along

    making = asyncio.ensure_future(
        asyncio.to_thread(repo_map, project, task, tokens=tokens, cache=cache_of(project))
    )
    try:
        return await asyncio.wait_for(asyncio.shield(making), seconds)
    except (TimeoutError, OSError):
        # a thread cannot be stopped; what it finds is kept for the next time, and its error is nobody's
        making.add_done_callback(lambda done: done.cancelled() or done.exception())
        return ""


async def with_map(message: str, project: Path, tokens: int) -> str:
    """A first message with the map of what it speaks of behind it."""
    if not tokens or not (text := await made(project, message, tokens, seconds=BUDGET_S)):
        return message
    return f"{message}\n\n{INTRODUCTION}\n\n{text}"


def maker(project: Path) -> Callable[[str, int], Awaitable[str]]:
    """What the tool `repo_map` asks: the map of the project, without edits that are not applied."""

    async def make(query: str, tokens: int) -> str:
        return await made(project, query, tokens, seconds=TOOL_S)

    return make
