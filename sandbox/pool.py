"""A few of what is slow to make, kept ready: what is taken is made again in the background.

pool = Pool(open_candidate, size=1)
pool.warm()
stack, candidate = await pool.take()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from sandbox.base import SandboxError

IDLE_S = 1800.0
"""So long what is ready may wait for somebody before it is closed."""
MOST = min(8, 2 * (os.cpu_count() or 1))
"""What one pool has open at a time: containers in use, those that wait and those being made."""


class Closable(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T")


class Opened(NamedTuple, Generic[T]):
    """A thing, and what closes it with all that it stands on."""

    stack: Closable
    thing: T


class Pool(Generic[T]):
    """Makes one when it is asked for; once warm, `size` of them ahead. `aclose` ends those that wait.

    No more than `most` are open: who takes one beyond waits until one is closed. Tasks that hold one while
    they take another must therefore be at most `most // 2` side by side.
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[Opened[T]]],
        *,
        size: int = 1,
        most: int = MOST,
        idle_s: float = IDLE_S,
    ) -> None:
        self._make = make
        self._size = size
        self._room = asyncio.Semaphore(most)
        self._idle_s = idle_s
        self._waiting: deque[asyncio.Task[Opened[T]]] = deque()
        self._ending: set[asyncio.Task[None]] = set()
        self._warm = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ready(self) -> int:
        """How many wait, those still being made included."""
        return len(self._waiting)

    def warm(self) -> None:
        """Begin to make them, and go on to replace what is taken, while there is room."""
        self._warm = True
        while len(self._waiting) < self._size and not self._room.locked():
            self._waiting.append(asyncio.ensure_future(self._open()))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._cool)

    async def take(self, *, replace: bool = True) -> Opened[T]:
        """One that is ready, else a new one; the caller closes it. Raises what making it raises.

        `replace` false: likely the last, so none is made in its place before `warm` is called again.
        """
        task = self._waiting.popleft() if self._waiting else None
        if self._warm and replace:
            self.warm()
        if task is not None:
            with contextlib.suppress(SandboxError):  # what failed ahead of time may work now
                return await task
        return await self._open()

    async def aclose(self) -> None:
        """Close those that wait. Idempotent; what was taken is its taker's."""
        self._cool()
        while self._ending:
            await asyncio.wait(set(self._ending))

    async def _open(self) -> Opened[T]:
        await self._room.acquire()
        try:
            stack, thing = await self._make()
        except BaseException:
            self._room.release()
            raise
        return Opened(_InRoom(stack, self._room), thing)

    def _cool(self) -> None:
        self._warm = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            ending = asyncio.ensure_future(_end(self._waiting.popleft()))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


class _InRoom:
    """Closes a thing, then gives its room to the next."""

    def __init__(self, stack: Closable, room: asyncio.Semaphore) -> None:
        self._stack = stack
        self._room = room

    async def aclose(self) -> None:
        try:
            await self._stack.aclose()
        finally:
            self._room.release()


async def _end(task: asyncio.Task[Opened[T]]) -> None:
    """Stop the making, or close what was made."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None:
        await task.result().stack.aclose()
