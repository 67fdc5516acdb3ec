"""Does in one go what was asked for while it did the last, so that a slow disk is waited for seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """`do` gets the items in the order in which they came, and gives a result for each."""

    def __init__(self, do: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._do = do
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """The item's result. When `do` fails, all that it did then fail alike."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._at_work is None:
            self._at_work = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            futures = [future for _, future in taken]
            try:
                results = await asyncio.to_thread(self._do, [item for item, _ in taken])
            except Exception as error:
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
                continue
            for future, result in zip(futures, results, strict=True):
                if not future.done():
                    future.set_result(result)
        self._at_work = None
