"""Asking a model again: which errors, how often, how long between. Deterministic given its clock and dice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from email.utils import parsedate_to_datetime

import msgspec

from agent.models.base import (
    Delta,
    ModelError,
    ModelOverloaded,
    ReasoningDelta,
    Restart,
    TextDelta,
    ToolCallDelta,
)


class Retries(msgspec.Struct, frozen=True):
    """When to give up. Times in seconds."""

    attempts: int = 5
    """Requests in all, the first one included."""
    base_s: float = 0.5
    cap_s: float = 30.0
    total_s: float = 120.0
    """No wait begins that would end later than this after the first request or the last piece."""


DEFAULT_RETRIES = Retries()

OnRetry = Callable[[ModelError, float], None]
"""Told of the error and of the seconds until the next request."""


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a response asks us to wait: `Retry-After-Ms`, or `Retry-After` as seconds or as a date."""
    for key, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(key, "")
        try:
            return max(0.0, float(value) * scale)
        except ValueError:
            pass
    try:
        return max(0.0, (parsedate_to_datetime(headers.get("retry-after", "")) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def wait_s(error: ModelError, attempt: int, policy: Retries, dice: float) -> float:
    """How long to wait after failure number `attempt` (from 1); `dice` is in [0, 1).

    Exponential with "equal jitter": half is certain, half is chance. Never less than the server asked for.
    """
    backoff: float = min(policy.cap_s, policy.base_s * 2 ** (attempt - 1)) * (0.5 + 0.5 * dice)
    asked = error.retry_after if isinstance(error, ModelOverloaded) else None
    return max(backoff, asked or 0.0)


async def retried(
    open_stream: Callable[[str], AsyncGenerator[Delta, None]],
    policy: Retries,
    *,
    resumable: Callable[[str], bool] = lambda text: False,
    on_retry: OnRetry | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    dice: Callable[[], float] = random.random,
) -> AsyncGenerator[Delta, None]:
    """The deltas of one reply, asked for again after each retryable error.

    `open_stream` is given the text to go on from. A reply of which only text has come goes on from it, if
    `resumable` says so of that text. Any other begins anew behind a Restart, so what comes of a call is
    always of one piece.
    """
    since = clock()
    received: list[str] = []
    text_only = True
    attempt = 0
    while True:
        attempt += 1
        try:
            async with aclosing(open_stream("".join(received))) as deltas:
                async for delta in deltas:
                    if isinstance(delta, TextDelta):
                        received.append(delta.text)
                    elif isinstance(delta, ReasoningDelta | ToolCallDelta):
                        text_only = False
                    since = clock()
                    yield delta
            return
        except ModelError as error:
            if not error.retryable or attempt >= policy.attempts:
                raise
            wait = wait_s(error, attempt, policy, dice())
            if clock() - since + wait > policy.total_s:
                raise
            if on_retry:
                on_retry(error, wait)
        await sleep(wait)
        if (received or not text_only) and not (text_only and resumable("".join(received))):
            yield Restart()
            received.clear()
            text_only = True
