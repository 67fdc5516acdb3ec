"""Workers on a Ray cluster, this machine's own when no address is given. No shared folder is needed.

Nodes need the same pawl installed, and the keys of the model in their environment. Ray retries nothing:
the runner's table decides. A Ray task is one work; while works end within milliseconds it is several, since a
task then costs more than they do. When one of several dies, each of them is given a task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import shutil
import socket
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from evals import lease
from evals.engine import EngineError, Setup, TaskEngine, Work
from evals.forking import load_entry
from evals.worker import removes_beside

summary = "a Ray cluster (extra `ray`)"

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # it would print on our stdout that a worker died
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns
}
_TOLD = 2000
"""Characters of a worker's error that are told."""
_CONNECT_S = 10.0
_HOLDER = "pawl.json"
"""In the folder of a Ray of our own: whose it is."""
_SOON_S = 0.1
"""A task that takes longer begins no further work, and the next tasks are of as many as it did."""
_MOST = 16
"""Works of a task."""
_TRUST = 4
"""So many works have to end soon before the next tasks are of one more."""

_Outcome = tuple[bytes, str]
"""A work's result, or why there is none."""


async def start(setup: Setup) -> RayEngine:
    """Raises EngineError when Ray is not installed, or nothing answers at the address."""
    os.environ.update(_QUIET)
    try:
        import ray
    except ImportError as error:
        raise EngineError("--engine ray needs Ray: pip install 'pawl-agent[ray]'") from error
    own = not ray.is_initialized()
    folder = ""
    if own:
        await _knock(setup.address)
        if not setup.address:
            folder = await asyncio.to_thread(own_folder)
        await asyncio.to_thread(_connect, ray, setup, folder)
    return RayEngine(ray, setup, own, folder)


def own_folder() -> str:
    """For the files of a Ray of our own; those of runners that were killed here go first."""
    for left in Path("/tmp").glob("pawl-ray-*"):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            told = (left / _HOLDER).read_bytes()
            holder = msgspec.json.decode(told, type=lease.Holder)
            if holder.host == socket.gethostname() and lease.born(holder.pid) != holder.born:
                shutil.rmtree(left, ignore_errors=True)
                if left.exists():  # its processes write for a minute more; the next runner tries again
                    (left / _HOLDER).write_bytes(told)
    folder = tempfile.mkdtemp(prefix="pawl-ray-", dir="/tmp")  # a socket's path must be short
    lease.grant(Path(folder) / _HOLDER)
    return folder


async def _knock(address: str) -> None:
    """Ray itself takes minutes to find that nothing listens at an address."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError) as error:
        raise EngineError(f"Ray cannot be used at {address}: {error or 'no answer'}") from error
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _connect(ray: Any, setup: Setup, folder: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if setup.address:
        options |= {"address": setup.address}
    else:
        options |= {"include_dashboard": False, "num_cpus": setup.jobs or None, "_temp_dir": folder}
    try:
        ray.init(**options)
        if not setup.address:  # elsewhere others may have all cores for hours
            task = ray.remote(max_retries=0, num_cpus=1)(_get_ready)
            ray.get([task.remote(setup.entry, setup.preload) for _ in range(_cores(ray, setup))])
    except Exception as error:
        where = f"at {setup.address}" if setup.address else "on this machine"
        raise EngineError(f"Ray cannot be used {where}: {error}") from error


def _cores(ray: Any, setup: Setup) -> int:
    return setup.jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))


def _get_ready(entry: str, preload: tuple[str, ...]) -> None:
    """What runs once in each new worker of a Ray of our own: its imports are part of the start."""
    for name in (entry.partition(":")[0], *preload):
        importlib.import_module(name)


def at_once(soon: int) -> int:
    """Works of the next task, when so many are trusted to end soon."""
    return min(1 + soon // _TRUST, _MOST)


def trusted(soon: int, ended: int, *, in_time: bool) -> int:
    """How many works are trusted after a task in which so many ended; it stopped there when not in time."""
    return soon + ended if in_time else _TRUST * max(0, ended - 1)


@dataclass(eq=False)
class _Waiting:
    """A work that Ray has not got yet, or that came back from it without an outcome."""

    work: Work
    outcome: asyncio.Future[_Outcome] = field(default_factory=asyncio.Future)
    alone: bool = False
    """It was in a task of several that died, or was late: it may be its doing."""


def _execute(entry: str, works: list[bytes]) -> list[_Outcome]:
    """What runs on a node."""
    return asyncio.run(_one_by_one(load_entry(entry), works))


async def _one_by_one(execute: Callable[[Work], Awaitable[bytes]], works: list[bytes]) -> list[_Outcome]:
    """Outcomes of the first work, and of further ones while that takes no time to speak of."""
    begin = time.monotonic()
    removes_beside.set(len(works) > 1)
    outcomes: list[_Outcome] = []
    for encoded in works:
        if outcomes and time.monotonic() - begin > _SOON_S:
            break
        try:
            outcomes.append((await execute(msgspec.msgpack.decode(encoded, type=Work)), ""))
        except Exception:
            outcomes.append((b"", f"the worker ended: {traceback.format_exc()[-_TOLD:]}"))
    return outcomes


class RayEngine(TaskEngine):
    def __init__(self, ray: Any, setup: Setup, own: bool, folder: str) -> None:
        super().__init__()
        self._ray = ray
        self._own = own
        """Whether this engine connected to the cluster, and is to leave it."""
        self._folder = folder
        """Ray's own files, when it was started for this engine."""
        self._entry = setup.entry
        self._cores = _cores(ray, setup)
        self._task = ray.remote(max_retries=0, num_cpus=1)(_execute)
        self._waiting: deque[_Waiting] = deque()
        self._with_ray: set[asyncio.Task[None]] = set()
        self._soon = 0
        """Works that are `trusted` to end soon."""

    @property
    def width(self) -> int:
        return 2 * self._cores * at_once(self._soon)

    async def cancel(self) -> None:
        self._waiting.clear()
        tasks = list(self._with_ray)
        for task in tasks:
            task.cancel()
        await super().cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.cancel()
        if self._own:
            self._own = False
            await asyncio.to_thread(self._ray.shutdown)
            if self._folder:
                await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        self._done.put_nowait(None)

    async def _work(self, work: Work) -> _Outcome:
        waiting = _Waiting(work)
        self._waiting.append(waiting)
        self._begin()
        return await waiting.outcome

    def _begin(self) -> None:
        """Give Ray what it has cores for, so that a work's time does not run while it waits for others."""
        while self._waiting and len(self._with_ray) < self._cores:
            works = [self._waiting.popleft()]
            while self._waiting and len(works) < at_once(self._soon):
                if works[0].alone or self._waiting[0].alone:
                    break
                works.append(self._waiting.popleft())
            task = asyncio.create_task(self._carry_out(works))
            self._with_ray.add(task)
            task.add_done_callback(self._ended_with_ray)

    def _ended_with_ray(self, task: asyncio.Task[None]) -> None:
        self._with_ray.discard(task)
        self._begin()

    async def _carry_out(self, works: list[_Waiting]) -> None:
        begin = time.monotonic()
        outcomes, error = await self._task_of([one.work for one in works])
        if error and len(works) == 1:
            outcomes = [(b"", error)]
        in_time = not error and time.monotonic() - begin < _SOON_S
        self._soon = trusted(self._soon, len(outcomes), in_time=in_time)
        for one, outcome in zip(works, outcomes, strict=False):
            one.outcome.set_result(outcome)
        left = works[len(outcomes) :]
        for one in left:
            one.alone = bool(error)
        self._waiting.extendleft(reversed(left))

    async def _task_of(self, works: list[Work]) -> tuple[list[_Outcome], str]:
        """Outcomes of the first works, at least of one; or why the task came to nothing."""
        deadline_s = min(work.deadline_s for work in works)
        try:
            reference = self._task.remote(self._entry, [msgspec.msgpack.encode(work) for work in works])
            async with asyncio.timeout(deadline_s):
                return await asyncio.wrap_future(reference.future()), ""
        except TimeoutError:
            self._ray.cancel(reference, force=True)
            return [], f"it had not ended after {deadline_s:.0f} s"
        except asyncio.CancelledError:
            self._ray.cancel(reference, force=True)
            raise
        except Exception as error:  # whatever Ray's tree of errors is
            return [], f"the worker ended: {type(error).__name__}: {str(error)[-_TOLD:]}"
