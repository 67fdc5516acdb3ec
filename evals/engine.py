"""Where units are worked on: one protocol, the same worker behind each engine.

The runner decides about retries, budgets and what is committed; an engine only runs workers. What a worker
needs travels in its `Work`, and what it made travels back in its `Done`, so that an engine may sit on
machines that do not see the run's folder.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import pkgutil
from collections.abc import AsyncIterator
from typing import Protocol, cast

import msgspec

from evals import engines
from evals.types import Instance, Rollout, RunManifest, Unit

ROLLOUT, SCORE = "rollout", "score"
"""The stages of a unit."""


class EngineError(Exception):
    """An engine cannot be used: unknown, not installed, nobody answers at its address. Exit code 2."""

    exit_code = 2


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told; it needs nothing else."""

    run: str
    """The run's folder on the runner's machine. A worker that sees it keeps its lease there, no more."""
    unit: Unit
    stage: str
    """`rollout` or `score`."""
    try_number: int
    """From 1; each rollout has its own `attempts/<unit>/<n>.started`."""
    deadline_s: float
    """An engine ends a worker that has not ended by then: it is late by any measure."""
    manifest: RunManifest
    instance: Instance
    """Whole, with its reference; the worker keeps from the agent what it must not see."""
    rollout: Rollout | None = None
    """For the score stage: what is graded."""
    patch: bytes = b""

    @property
    def key(self) -> str:
        """Tells works of one run apart."""
        return f"{self.unit.id}.{self.stage}.{self.try_number}"


class Parcel(msgspec.Struct, frozen=True):
    """What a worker hands back: a record as JSON, and the files of `attempts/<unit>/` by relative path."""

    record: bytes
    files: dict[str, bytes] = {}


class Done(msgspec.Struct, frozen=True):
    """How a worker ended. `result` is a Parcel's bytes, for the runner to commit; empty when it died."""

    work: Work
    result: bytes
    error: str = ""
    """Why there is no result: the signal, the exit code, the last lines of its stderr."""


class Engine(Protocol):
    """`submit` work, take `Done`s from `as_completed`, `cancel`, and `close` at the end."""

    width: int
    """So many works at once keep it busy; more wait in it."""

    def submit(self, work: Work) -> None: ...

    def as_completed(self) -> AsyncIterator[Done]:
        """Each submitted work once, as it ends; a worker that died included. Ends after `close`."""
        ...

    async def cancel(self) -> None:
        """End all workers; each comes out of `as_completed` with an error."""
        ...

    async def close(self) -> None:
        """End everything that the engine started. Idempotent."""
        ...


class Setup(msgspec.Struct, frozen=True):
    """How an engine is to work."""

    jobs: int = 0
    """Works at once; 0: as many as the machine, or the cluster, has cores for."""
    address: str = ""
    """Of a cluster; "" for this machine."""
    entry: str = "evals.worker:execute"
    """`module:function` with the signature `async (Work) -> bytes`."""
    preload: tuple[str, ...] = ()
    """Modules that workers are going to need."""


class EngineModule(Protocol):
    """What each file of `evals/engines/` offers, as a module."""

    summary: str

    async def start(self, setup: Setup) -> Engine:
        """Raises EngineError."""
        ...


def known_engines() -> list[str]:
    """Names of all engines, found by listing the folder."""
    return sorted(module.name for module in pkgutil.iter_modules(engines.__path__))


def load_engine(name: str) -> EngineModule:
    """The engine's module, imported only now. Raises EngineError with the names that there are."""
    if name not in known_engines():
        raise EngineError(f"no engine is called {name!r}; there are {', '.join(known_engines())}")
    return cast(EngineModule, importlib.import_module(f"evals.engines.{name}"))


class TaskEngine:
    """What engines share that watch each work by a task of their own: `_work` says how it ended.

    `close` is theirs; the None that it puts at the end of `_done` ends `as_completed`.
    """

    def __init__(self) -> None:
        self._done: asyncio.Queue[Done | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[tuple[bytes, str]]] = set()

    def submit(self, work: Work) -> None:
        task = asyncio.create_task(self._work(work))
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, work))

    async def as_completed(self) -> AsyncIterator[Done]:
        while (done := await self._done.get()) is not None:
            yield done

    async def cancel(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, work: Work, task: asyncio.Task[tuple[bytes, str]]) -> None:
        """Here and not in `_work`: a task cancelled before its first step never runs a line of it."""
        self._tasks.discard(task)
        if task.cancelled():
            result, error = b"", "cancelled"
        elif failure := task.exception():
            result, error = b"", f"{type(failure).__name__}: {failure}"
        else:
            result, error = task.result()
        self._done.put_nowait(Done(work, result, error))

    async def _work(self, work: Work) -> tuple[bytes, str]:
        """The work's result, or why there is none."""
        raise NotImplementedError
