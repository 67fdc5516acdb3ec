"""What is kept ready: made ahead, replaced, bounded, closed; and a candidate that was is like a fresh one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.workbench import Workbench
from sandbox.base import Limits, SandboxUnavailable
from sandbox.open import owner
from sandbox.patch import FileChange, Patch
from sandbox.pool import Opened, Pool
from sandbox.workspace import Workspace
from tests.sandbox.places import ISOLATING, SESSION, backends

pytestmark = pytest.mark.anyio


class Maker:
    """Makes numbers; knows which of them are open."""

    def __init__(self) -> None:
        self.made = 0
        self.open: set[int] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = 0

    async def __call__(self) -> Opened[int]:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise SandboxUnavailable("not now", "wait")
        self.made += 1
        self.open.add(self.made)
        return Opened(_Closer(self, self.made), self.made)


class _Closer:
    def __init__(self, maker: Maker, number: int) -> None:
        self.maker, self.number = maker, number

    async def aclose(self) -> None:
        self.maker.open.discard(self.number)


async def until(holds: Callable[[], bool], turns: int = 100) -> None:
    for _ in range(turns):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")


async def test_cold_it_makes_what_is_asked_for_and_no_more() -> None:
    maker = Maker()
    pool = Pool(maker, size=2)
    assert (await pool.take()).thing == 1
    assert (maker.made, pool.ready) == (1, 0)
    await pool.aclose()
    assert maker.open == {1}


async def test_warm_it_is_ahead_by_its_size() -> None:
    maker = Maker()
    pool = Pool(maker, size=2)
    pool.warm()
    await until(lambda: maker.made == 2)
    maker.gate.clear()
    assert (await pool.take()).thing == 1  # not waited for: nothing can be made now
    assert pool.ready == 2
    maker.gate.set()
    await until(lambda: maker.made == 3)
    await pool.aclose()
    assert (maker.open, pool.ready) == ({1}, 0)


async def test_no_more_are_open_than_may_be() -> None:
    """Those that wait ready count too, and who has to wait gets the next that is closed."""
    maker = Maker()
    pool = Pool(maker, size=2, most=3)
    pool.warm()
    held = [await pool.take(), await pool.take(), await pool.take()]
    assert (maker.made, pool.ready) == (3, 0)
    fourth = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)
    assert (maker.made, fourth.done()) == (3, False)
    await held.pop().stack.aclose()
    assert (await fourth).thing == 4
    assert len(maker.open) == 3
    await pool.aclose()


async def test_a_failure_takes_no_room() -> None:
    maker = Maker()
    maker.failures = 5
    pool = Pool(maker, most=1)
    for _ in range(5):
        with pytest.raises(SandboxUnavailable):
            await pool.take()
    assert (await pool.take()).thing == 1


async def test_the_last_is_not_replaced_until_it_is_warmed_again() -> None:
    maker = Maker()
    pool = Pool(maker, most=8)
    pool.warm()
    await until(lambda: maker.made == 1)
    assert (await pool.take(replace=False)).thing == 1
    assert (maker.made, pool.ready) == (1, 0)
    pool.warm()
    await until(lambda: maker.made == 2)
    await pool.aclose()
    assert maker.open == {1}


async def test_what_failed_ahead_of_time_is_tried_again() -> None:
    maker = Maker()
    maker.failures = 1
    pool = Pool(maker)
    pool.warm()
    await until(lambda: maker.failures == 0)
    assert (await pool.take()).thing == 1
    await pool.aclose()
    maker.failures = 1
    with pytest.raises(SandboxUnavailable):
        await pool.take()


async def test_what_is_being_made_at_the_end_is_stopped() -> None:
    maker = Maker()
    maker.gate.clear()
    pool = Pool(maker, size=3)
    pool.warm()
    await pool.aclose()
    maker.gate.set()
    await asyncio.sleep(0)
    assert (maker.made, maker.open) == (0, set())


async def test_what_waits_too_long_is_closed() -> None:
    maker = Maker()
    pool = Pool(maker, size=2, idle_s=0.05)
    pool.warm()
    await until(lambda: maker.made == 2)
    async with asyncio.timeout(10):
        while maker.open:
            await asyncio.sleep(0.01)
    assert (await pool.take()).thing == 3
    assert pool.ready == 0
    await pool.aclose()


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_candidate_that_was_kept_ready_is_like_a_fresh_one(backend: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "locked").mkdir(parents=True)
    (tree / "locked" / "a.txt").write_text("old\n")
    (tree / "locked").chmod(0o555)
    change = FileChange("locked/a.txt", b"old\n", b"new\n", 0o100644, 0o100644, b"")
    show = "cat locked/a.txt; stat -c %a locked; touch written; ls"

    workspace = await Workspace.open(tree, tmp_path / "state", owner=owner(backend))  # type: ignore[arg-type]
    bench = Workbench(
        workspace,
        backend,  # type: ignore[arg-type]
        session=SESSION,
        state=tmp_path,
        limits=Limits(),
    )

    async def shown(patch: Patch | None) -> bytes:
        async with bench.candidate(patch) as candidate:
            return (await candidate.sandbox.run(show)).output

    try:
        fresh = await shown(Patch((change,)))
        bench.warm()
        assert await shown(Patch((change,))) == fresh == b"new\n555\nlocked\nwritten\n"
        assert await shown(None) == b"old\n555\nlocked\nwritten\n"
    finally:
        await bench.aclose()
        await workspace.aclose()
    assert not (tmp_path / "state" / "forks").exists()
