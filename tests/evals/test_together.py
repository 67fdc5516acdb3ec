"""Work that is done in one go: in order, each with its own result, and nobody is forgotten when it fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from evals.together import Together

pytestmark = pytest.mark.anyio


async def test_what_comes_meanwhile_is_done_in_one_go() -> None:
    batches: list[list[int]] = []
    free = threading.Event()

    def do(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        free.wait(5)
        return [item * 2 for item in items]

    double = Together(do)
    first = asyncio.create_task(double(0))
    while not batches:
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(double(number)) for number in range(1, 5)]
    await asyncio.sleep(0)
    others[1].cancel()
    free.set()
    assert await first == 0
    ended = await asyncio.gather(*others, return_exceptions=True)
    assert (ended[0], type(ended[1]), ended[2:]) == (2, asyncio.CancelledError, [6, 8])
    assert batches == [[0], [1, 2, 3, 4]]
    assert await double(9) == 18


async def test_a_failure_is_told_to_all_that_waited_and_to_no_later_one() -> None:
    def do(items: Sequence[int]) -> list[int]:
        if 0 in items:
            raise OSError("full")
        return list(items)

    same = Together(do)
    told = await asyncio.gather(same(0), same(1), return_exceptions=True)
    assert [type(one) for one in told] == [OSError, OSError]
    assert await same(2) == 2
