"""Where units are worked on: one protocol, the same worker behind each engine.

The runner decides about retries, budgets and what is committed; an engine only runs workers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec

from evals.types import Unit


class Work(msgspec.Struct, frozen=True):
    """What a worker is told: the run's folder holds all else."""

    run: Path
    unit: Unit
    stage: str
    """`rollout` or `score`."""
    try_number: int
    """From 1; each has its own `attempts/<unit>/<n>.started`."""


class Done(msgspec.Struct, frozen=True):
    """How a worker ended. `result` is its result's bytes, for the runner to commit; empty when it died."""

    work: Work
    result: bytes
    error: str = ""
    """Why there is no result: the signal, the exit code, the last lines of its stderr."""


class Engine(Protocol):
    """`submit` work, take `Done`s from `as_completed`, `cancel`, and `close` at the end."""

    def submit(self, work: Work) -> None: ...

    def as_completed(self) -> AsyncIterator[Done]:
        """Each submitted work once, as it ends; a worker that died included."""
        ...

    async def cancel(self) -> None:
        """End all workers; each comes out of `as_completed` with an error."""
        ...

    async def close(self) -> None:
        """End everything that the engine started. Idempotent."""
        ...
