"""Workers on this machine, N at once, each a forked process of its own (evals.forking)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import socket
import sys
import tempfile
import time
from typing import IO

import msgspec

from agent.models.machine import available_memory, physical_cores
from evals.engine import EngineError, Setup, TaskEngine, Work

summary = "processes on this machine"

ROOM = 512 * 2**20
"""Bytes of memory that must be free before another worker starts."""
YOUNG_S = 10.0
"""A worker younger than this has not taken its memory yet; `ROOM` is kept for it."""
_TOLD = 2000
"""Characters of a dead worker's stderr that are told."""


async def start(setup: Setup) -> LocalEngine:
    """Raises EngineError when workers cannot be started."""
    if setup.address:
        raise EngineError("--address is for --engine ray; the local engine has none")
    engine = LocalEngine(setup)
    await engine.server()
    return engine


class _Server:
    """The forking process, seen from here."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self.process = process
        self.control = control
        self.statuses: dict[str, asyncio.Future[int]] = {}
        self.lost = False
        asyncio.get_running_loop().add_reader(control, self._hear)

    def _hear(self) -> None:
        try:
            message = self.control.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self.shut()
            return
        identity, _, status = message.decode().partition(" ")
        future = self.statuses.pop(identity, None)
        if future is not None and not future.done():
            future.set_result(int(status))

    def ask(self, word: str, identity: str, descriptors: tuple[int, ...] = ()) -> None:
        with contextlib.suppress(OSError):  # then it is gone, and `_hear` learns of it
            socket.send_fds(self.control, [f"{word} {identity}".encode()], descriptors)

    def shut(self) -> None:
        """All workers die; each hears of it as killed."""
        if not self.lost:
            self.lost = True
            asyncio.get_running_loop().remove_reader(self.control)
            self.control.close()
            for future in self.statuses.values():
                if not future.done():
                    future.set_result(-signal.SIGKILL)


class LocalEngine(TaskEngine):
    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.width = setup.jobs or physical_cores()
        self._setup = setup
        self._server: _Server | None = None
        self._starting = asyncio.Lock()
        self._ids = itertools.count()
        self._slots = asyncio.Semaphore(self.width)
        self._started: dict[str, float] = {}
        """When each running worker was started."""

    async def close(self) -> None:
        await self.cancel()
        if self._server is not None:
            self._server.shut()
            await self._server.process.wait()
            self._server = None
        self._done.put_nowait(None)

    async def server(self) -> _Server:
        """The forking process; a new one when there is none. Raises EngineError."""
        async with self._starting:
            if self._server is None or self._server.lost:
                if self._server is not None:
                    await self._server.process.wait()
                self._server = await self._new_server()
            return self._server

    async def _new_server(self) -> _Server:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        words = (str(theirs.fileno()), self._setup.entry, *self._setup.preload)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "evals.forking", *words),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise EngineError(f"no worker can be started: {error}") from error
        return _Server(process, ours)

    async def _work(self, work: Work) -> tuple[bytes, str]:
        async with self._slots:
            await self._admit()
            return await self._run(work)

    async def _admit(self) -> None:
        """Wait until there is memory for one more; the first one always starts."""
        while self._started:
            now = time.monotonic()
            young = sum(now - at < YOUNG_S for at in self._started.values())
            if available_memory() >= (young + 1) * ROOM:
                return
            await asyncio.sleep(0.5)

    async def _run(self, work: Work) -> tuple[bytes, str]:
        """The work's result, or why there is none."""
        try:
            server = await self.server()
        except EngineError as error:
            return b"", str(error)
        identity = str(next(self._ids))
        self._started[identity] = time.monotonic()
        server.statuses[identity] = asyncio.get_running_loop().create_future()
        with tempfile.TemporaryFile() as errors:
            try:
                return await self._supervised(server, identity, work, errors)
            finally:
                del self._started[identity]

    async def _supervised(
        self, server: _Server, identity: str, work: Work, errors: IO[bytes]
    ) -> tuple[bytes, str]:
        status = server.statuses[identity]
        ours, theirs = socket.socketpair()
        with theirs:
            server.ask("start", identity, (theirs.fileno(), errors.fileno()))
        reader, writer = await asyncio.open_connection(sock=ours)
        late = ""
        try:
            async with asyncio.timeout(work.deadline_s):
                with contextlib.suppress(ConnectionError):
                    writer.write(msgspec.msgpack.encode(work))
                    writer.write_eof()
                    result = await reader.read()
                if (code := await asyncio.shield(status)) == 0:
                    return result, ""
        except TimeoutError:
            late = f"it had not ended after {work.deadline_s:.0f} s"
        finally:
            if not status.done():
                server.ask("kill", identity)
                await asyncio.shield(status)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        return b"", late or _why(code, errors)


def _why(code: int, errors: IO[bytes]) -> str:
    """How the worker ended, with what it said last."""
    size = errors.seek(0, 2)
    errors.seek(max(0, size - _TOLD))
    said = errors.read().decode("utf-8", "replace").strip()
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"the worker ended: {how}" + (f"\n{said}" if said else "")
