"""Workers on a Ray cluster, this machine's own when no address is given. No shared folder is needed.

Nodes need the same pawl installed, and the keys of the model in their environment. Ray retries nothing:
the runner's table decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from typing import Any

import msgspec

from evals.engine import EngineError, Setup, TaskEngine, Work
from evals.forking import load_entry

summary = "a Ray cluster (extra `ray`)"

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # it would print on our stdout that a worker died
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns
}
_TOLD = 2000
"""Characters of a worker's error that are told."""
_CONNECT_S = 10.0


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
            folder = tempfile.mkdtemp(prefix="pawl-ray-", dir="/tmp")  # a socket's path must be short
        await asyncio.to_thread(_connect, ray, setup, folder)
    return RayEngine(ray, setup, own, folder)


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
    except Exception as error:
        where = f"at {setup.address}" if setup.address else "on this machine"
        raise EngineError(f"Ray cannot be used {where}: {error}") from error


def _execute(entry: str, encoded: bytes) -> bytes:
    """What runs on a node."""
    work = msgspec.msgpack.decode(encoded, type=Work)
    result: bytes = asyncio.run(load_entry(entry)(work))
    return result


class RayEngine(TaskEngine):
    def __init__(self, ray: Any, setup: Setup, own: bool, folder: str) -> None:
        super().__init__()
        self._ray = ray
        self._own = own
        """Whether this engine connected to the cluster, and is to leave it."""
        self._folder = folder
        """Ray's own files, when it was started for this engine."""
        self._entry = setup.entry
        self.width = 2 * (setup.jobs or max(1, int(ray.cluster_resources().get("CPU", 1))))
        self._task = ray.remote(max_retries=0, num_cpus=1)(_execute)

    async def close(self) -> None:
        await self.cancel()
        if self._own:
            self._own = False
            await asyncio.to_thread(self._ray.shutdown)
            if self._folder:
                await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        self._done.put_nowait(None)

    async def _work(self, work: Work) -> tuple[bytes, str]:
        reference = self._task.remote(self._entry, msgspec.msgpack.encode(work))
        try:
            async with asyncio.timeout(work.deadline_s):
                return await asyncio.wrap_future(reference.future()), ""
        except TimeoutError:
            self._ray.cancel(reference, force=True)
            return b"", f"it had not ended after {work.deadline_s:.0f} s"
        except asyncio.CancelledError:
            self._ray.cancel(reference, force=True)
            raise
        except Exception as error:  # whatever Ray's tree of errors, and those of the entry, are
            return b"", f"the worker ended: {type(error).__name__}: {str(error)[-_TOLD:]}"
