"""What every engine must do; each file of `evals/engines/` is held to it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from evals import lease
from evals.engine import (
    ROLLOUT,
    SCORE,
    Done,
    Engine,
    EngineError,
    Parcel,
    Setup,
    Work,
    known_engines,
    load_engine,
)
from evals.engines import ray
from evals.types import Rollout, Score
from evals.worker import scratch
from tests.support import works
from tests.support.works import instance, work

pytestmark = pytest.mark.anyio

T = TypeVar("T")

JOBS = 2
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def opened(name: str, jobs: int = JOBS) -> AsyncIterator[Engine]:
    engine = await load_engine(name).start(Setup(jobs=jobs, entry=works.ENTRY))
    try:
        yield engine
    finally:
        await engine.close()


async def results(engine: Engine, *wanted: Work) -> list[Done]:
    """What comes of these works, in the order in which they were submitted."""
    for one in wanted:
        engine.submit(one)
    got: dict[str, Done] = {}
    async with asyncio.timeout(60):
        async for done in engine.as_completed():
            assert done.work.key not in got, "it came twice"
            got[done.work.key] = done
            if len(got) == len(wanted):
                break
    return [got[one.key] for one in wanted]


def record(done: Done, kind: type[T]) -> T:
    return msgspec.json.decode(msgspec.msgpack.decode(done.result, type=Parcel).record, type=kind)


def gone(pid: int) -> bool:
    """Within a second or two."""
    for _ in range(40):
        if not lease.born(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
async def test_a_cluster_that_does_not_answer_is_an_error(address: str) -> None:
    """First of all, while no other test's Ray is there."""
    pytest.importorskip("ray")
    with pytest.raises(EngineError, match=f"Ray cannot be used at {address}: .*call failed"):
        await load_engine("ray").start(Setup(address=address))


@pytest.fixture(scope="module", params=known_engines())
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """Ray's own start takes seconds: all tests share one."""
    if request.param != "ray":
        yield request.param
        return
    the_ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        the_ray.init(num_cpus=JOBS, _temp_dir=folder, **quiet)
        yield "ray"
        the_ray.shutdown()


def test_they_are_found_by_listing_the_folder() -> None:
    assert known_engines() == ["local", "ray"]
    with pytest.raises(EngineError, match="there are local, ray"):
        load_engine("slurm")


async def test_each_work_comes_once_with_what_it_made(name: str) -> None:
    files = {"events.jsonl.gz": bytes(range(256)) * 4000, "artifacts/1.txt": b"\xff"}
    async with opened(name) as engine:
        many = [work(instance(str(number), files=files)) for number in range(3 * engine.width)]
        for one, done in zip(many, await results(engine, *many), strict=True):
            assert done.error == ""
            assert record(done, Rollout).unit == one.unit.id
            parcel = msgspec.msgpack.decode(done.result, type=Parcel)
            assert parcel.files == files | {"patch.diff": b"patch of " + one.unit.id.encode()}
        graded = (await results(engine, work(instance(), SCORE)))[0]
        assert record(graded, Score).resolved


async def test_a_worker_that_dies_or_fails_is_its_own_units_trouble(name: str) -> None:
    async with opened(name) as engine:
        dead, broken, well = await results(
            engine,
            work(instance("dead", die={ROLLOUT: 9}, says="last words")),
            work(instance("broken", files=5)),
            work(instance("well", sleep_s=0.2, says="all is well")),
        )
        assert (dead.result, broken.result) == (b"", b"")
        assert "the worker ended: " in dead.error
        assert "TypeError: unsupported operand" in broken.error
        assert (well.error, record(well, Rollout).end) == ("", "submitted")
        again = (await results(engine, work(instance("again"))))[0]
        assert again.error == ""


async def test_a_worker_that_is_late_is_ended(name: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    async with opened(name) as engine:
        start = time.monotonic()
        late = (await results(engine, work(instance("l", sleep_s=50.0, seen=str(seen)), deadline_s=0.7)))[0]
        assert time.monotonic() - start < 20
        assert (late.result, late.error) == (b"", "it had not ended after 1 s")
    assert gone(int(seen.read_text().split()[2]))


async def test_a_work_is_not_late_while_it_waits_for_others(name: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.touch()
    async with opened(name) as engine:
        while (
            len({line.split()[2] for line in seen.read_text().splitlines()}) < JOBS
        ):  # until all have started
            await results(engine, *(work(instance(str(n), sleep_s=0.2, seen=str(seen))) for n in range(JOBS)))
        many = [work(instance(str(number), sleep_s=0.8), deadline_s=1.5) for number in range(2 * JOBS)]
        assert [done.error for done in await results(engine, *many)] == [""] * len(many)


async def test_among_short_works_one_that_dies_or_is_late_is_its_own_units_trouble(name: str) -> None:
    async with opened(name) as engine:
        while name == "ray" and engine.width < 8 * JOBS:  # until a task of Ray is several works
            await results(engine, *(work(instance(f"short {number}")) for number in range(20)))
        many = [work(instance(str(number))) for number in range(20)]
        many[3] = work(instance("dead", die={ROLLOUT: 1}))
        many[9] = work(instance("late", sleep_s=50.0), deadline_s=1.0)
        many[13] = work(instance("broken", files=5))
        errors = {
            number: done.error for number, done in enumerate(await results(engine, *many)) if done.error
        }
        assert sorted(errors) == [3, 9, 13]
        assert "the worker ended: " in errors[3]
        assert errors[9] == "it had not ended after 1 s"
        assert "TypeError: unsupported operand" in errors[13]


def test_a_task_of_ray_is_as_many_works_as_end_in_time() -> None:
    soon = 0
    for _ in range(100):
        soon = ray.trusted(soon, ray.at_once(soon), in_time=True)
    assert ray.at_once(soon) == 16
    soon = ray.trusted(soon, 5, in_time=False)
    assert ray.at_once(soon) == 5, "that many did end in time; more are tried only after some more tasks"
    assert ray.at_once(ray.trusted(soon, 1, in_time=False)) == 1
    assert ray.at_once(ray.trusted(soon, 0, in_time=False)) == 1, "nothing is known of those that died"


async def test_cancel_ends_what_runs_and_what_waits(name: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    async with opened(name) as engine:
        many = [work(instance(str(n), sleep_s=50.0, seen=str(seen))) for n in range(2 * engine.width)]
        for one in many:
            engine.submit(one)
        while not seen.exists() or len(seen.read_text().splitlines()) < JOBS:
            await asyncio.sleep(0.02)
        await engine.cancel()
        outcomes = [await anext(engine.as_completed()) for _ in many]
        assert {done.error for done in outcomes} == {"cancelled"}
        assert {done.work.key for done in outcomes} == {one.key for one in many}
        again = (await results(engine, work(instance("again"))))[0]
        assert again.error == ""
        await engine.close()
        await engine.close()
        assert [done async for done in engine.as_completed()] == []
    assert all(gone(int(line.split()[2])) for line in seen.read_text().splitlines())


async def test_work_that_is_cancelled_before_it_began_comes_out_too(name: str) -> None:
    async with opened(name) as engine:
        engine.submit(work(instance()))
        await engine.cancel()
        async with asyncio.timeout(10):
            assert (await anext(engine.as_completed())).error == "cancelled"


async def test_nothing_is_left_in_the_scratch_folder(name: str) -> None:
    async with opened(name) as engine:
        dead = work(instance("dead", die={ROLLOUT: 1}))
        assert (await results(engine, dead))[0].error
        later = work(instance("later"), run=dead.run)
        assert (await results(engine, later))[0].error == ""
        if name == "local":  # the workers of a Ray that all tests share have the first one's HOME
            assert list(scratch(dead.run).iterdir()) == []


async def test_what_a_local_worker_leaves_running_is_killed(tmp_path: Path) -> None:
    async with opened("local") as engine:
        done = await results(
            engine,
            work(instance("leaves", spawn=str(tmp_path / "left"))),
            work(instance("dies", spawn=str(tmp_path / "orphan"), sleep_s=0.1, die={SCORE: 1})),
        )
        assert [one.error for one in done] == ["", ""]
        assert gone(int((tmp_path / "left").read_text()))
        assert gone(int((tmp_path / "orphan").read_text()))


async def test_a_local_engine_survives_the_loss_of_its_forking_process(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    async with opened("local") as engine:
        engine.submit(work(instance("lost", sleep_s=50.0, seen=str(seen))))
        while not seen.exists():
            await asyncio.sleep(0.02)
        worker = int(seen.read_text().split()[2])
        os.kill(int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
        lost = await anext(engine.as_completed())
        assert "killed by SIGKILL" in lost.error
        assert gone(worker)
        assert (await results(engine, work(instance("again"))))[0].error == ""


async def test_what_works_of_one_task_worked_in_is_gone_when_its_loop_ends(tmp_path: Path) -> None:
    many = [msgspec.msgpack.encode(work(instance(str(n)), run=str(tmp_path))) for n in range(3)]
    outcomes = await asyncio.to_thread(ray._execute, works.ENTRY, many)
    assert [bool(result) for result, _ in outcomes] == [True] * 3
    assert list(scratch(str(tmp_path)).iterdir()) == []


def test_what_a_killed_runner_left_of_its_ray_is_removed() -> None:
    code = "import os; from evals.engines import ray; print(ray.own_folder(), flush=True); os.kill(0, 9)"
    words = [sys.executable, "-c", code]
    left = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, process_group=0)
    assert Path(left.stdout.strip()).is_dir()
    made = [Path(ray.own_folder()), Path(ray.own_folder())]
    try:
        assert not Path(left.stdout.strip()).exists()
        assert all(folder.is_dir() for folder in made)
    finally:
        for folder in made:
            shutil.rmtree(folder)


async def test_an_address_is_not_for_the_local_engine() -> None:
    with pytest.raises(EngineError, match="--engine ray"):
        await load_engine("local").start(Setup(address="auto"))
