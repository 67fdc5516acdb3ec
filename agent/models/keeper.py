"""A server that is kept up: watched, started again when it falls, given up when it keeps falling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from agent.models.base import ModelError
from agent.models.local import LocalServer, OnNote
from agent.models.serving import ServerFailed, ServerSettings


class Care(msgspec.Struct, frozen=True):
    """How a server is watched. Times in seconds."""

    look_every_s: float = 15.0
    answer_s: float = 30.0
    """How long it may take to say that it is well."""
    misses: int = 3
    """Looks in a row without an answer after which it counts as hung."""
    restarts: int = 3
    """Within `window_s`; one more fall and it is given up."""
    window_s: float = 600.0
    pause_s: float = 1.0
    """Before the first restart; twice as long before each further one."""


CARE = Care()


async def keep(
    weights: Path,
    settings: ServerSettings,
    *,
    on_ready: Callable[[LocalServer], None],
    on_note: OnNote,
    care: Care = CARE,
) -> NoReturn:
    """Serve until cancelled, at one address and with one key over all restarts.

    `on_ready` hears of each start. Raises ServerFailed when the first start fails, or one falls too often.
    """
    falls: list[float] = []
    served = False
    clock = asyncio.get_running_loop().time
    while True:
        try:
            async with LocalServer.start(weights, settings, on_note=on_note) as server:
                settings = msgspec.structs.replace(settings, port=server.port, api_key=server.api_key)
                on_ready(server)
                served = True
                await _watch(server, care)
        except ServerFailed as error:
            if not served:
                raise
            falls = [at for at in falls if clock() - at < care.window_s] + [clock()]
            if len(falls) > care.restarts:
                raise ServerFailed(f"given up after {care.restarts} restarts: {error}") from error
            on_note(f"{error}\nstarting it again ({len(falls)} of {care.restarts})")
        await asyncio.sleep(care.pause_s * 2 ** (len(falls) - 1))


async def _watch(server: LocalServer, care: Care) -> None:
    """Raise ServerFailed once the server is dead or hung."""
    missed = 0
    while missed < care.misses:
        with suppress(TimeoutError):
            async with asyncio.timeout(care.look_every_s):
                await server.wait()
        try:
            await server.check(care.answer_s)
            missed = 0
        except ModelError:
            missed += 1
    raise await server.death() or ServerFailed(f"the model server gave no sign of life {missed} times")
