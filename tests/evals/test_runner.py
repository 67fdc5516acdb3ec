"""A run from its plan to its last score: retries by cause, budgets, signals, and every way to be cut off."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.messages import Usage
from evals import lease
from evals.engine import ROLLOUT, SCORE, Setup
from evals.engines import local
from evals.patience import Breaker, Patience
from evals.runner import Outcome, Runner
from evals.store import Ended, Run
from evals.types import Instance, Limits
from tests.support import works
from tests.support.works import instance, manifest, units

pytestmark = pytest.mark.anyio

QUICK = Patience(first_s=0.01, pause_s=0.05)


def create(folder: Path, *instances: Instance, attempts: int = 1, **more: Any) -> Run:
    tasks = list(instances)
    return Run.create(folder, manifest(tasks, attempts, **more), tasks, units(tasks, attempts))


async def finish(
    run: Run, patience: Patience = QUICK, *, jobs: int = 2, rollouts: bool = True, **more: Any
) -> tuple[Outcome, Runner]:
    """Work on the run until it ends."""
    engine = await local.start(Setup(jobs=jobs, entry=works.ENTRY))
    try:
        with run.held():
            runner = Runner(run, engine, patience=patience, **more)
            async with asyncio.timeout(60):
                return await runner.work(rollouts=rollouts), runner
    finally:
        await engine.close()


def seen(path: Path) -> Counter[str]:
    """How often each stage was begun."""
    return Counter(line.split()[1] for line in path.read_text().splitlines()) if path.exists() else Counter()


async def test_every_unit_is_rolled_out_and_scored_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run = create(tmp_path / "r", *(instance(str(n), seen=str(log), usage=3) for n in range(5)), attempts=2)
    outcome, runner = await finish(run)
    assert outcome == Outcome(0)
    tally = runner.tally
    assert (tally.planned, tally.rolled, tally.scored, tally.resolved, tally.running) == (10, 10, 10, 10, 0)
    assert tally.usage.input_tokens == run.spent().input_tokens == 30
    assert seen(log) == {ROLLOUT: 10, SCORE: 10}
    assert [score.unit for score in run.scores()] == [unit.id for unit in run.units()]
    rollout = run.rollouts()[0]
    assert run.patch(rollout) == b"patch of " + rollout.unit.encode()
    names = sorted(path.name for path in run.attempt(rollout.unit).iterdir())
    assert names == ["1.started", "end.json", "patch.diff", "usage.json"]
    again, _ = await finish(run)
    assert again == Outcome(0)
    assert seen(log) == {ROLLOUT: 10, SCORE: 10}


@pytest.mark.parametrize("end", ["sandbox_error", "provider_error"])
async def test_infrastructure_is_tried_again_and_its_cost_counts(tmp_path: Path, end: str) -> None:
    run = create(tmp_path / "r", instance(end=end, fails=2, usage=5))
    outcome, runner = await finish(run)
    (rollout,) = run.rollouts()
    assert (outcome.code, rollout.end, rollout.tries, runner.tally.retried) == (0, "submitted", 3, 2)
    assert [ended.end for ended in run.ended(rollout.unit)] == [end, end]
    assert run.spent() == runner.tally.usage == Usage(input_tokens=15)
    assert run.scores()[0].resolved


async def test_what_stays_infrastructures_counts_as_unsolved_and_is_not_graded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run = create(tmp_path / "r", instance(end="provider_error", seen=str(log)))
    assert (await finish(run))[0] == Outcome(0)
    assert (run.rollouts()[0].end, run.rollouts()[0].tries) == ("provider_error", 4)
    (score,) = run.scores()
    assert (score.resolved, score.error) == (False, "")
    shutil.rmtree(run.folder / "scores")
    assert (await finish(run, rollouts=False))[0] == Outcome(0)
    assert run.scores() == [score]
    assert seen(log) == {ROLLOUT: 4}


@pytest.mark.parametrize("end", ["no_change", "limit", "loop", "refused", "agent_error"])
async def test_the_agents_own_ends_count_at_once(tmp_path: Path, end: str) -> None:
    log = tmp_path / "log"
    run = create(tmp_path / "r", instance(end=end, seen=str(log)))
    await finish(run)
    assert run.rollouts()[0].end == end
    assert seen(log) == {ROLLOUT: 1, SCORE: 1}


async def test_a_worker_that_dies_is_tried_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run = create(tmp_path / "r", instance(die={ROLLOUT: 2, SCORE: 1}, seen=str(log), says="help"))
    assert (await finish(run))[0] == Outcome(0)
    (rollout,) = run.rollouts()
    assert (rollout.tries, run.scores()[0].resolved) == (3, True)
    first = run.ended(rollout.unit)[0]
    assert (first.end, first.detail) == ("engine_error", "the worker ended: killed by SIGKILL\nhelp")
    assert seen(log) == {ROLLOUT: 3, SCORE: 2}


@pytest.mark.parametrize(("errors", "resolved"), [(1, True), (5, False)])
async def test_grading_that_fails_is_done_once_more(tmp_path: Path, errors: int, resolved: bool) -> None:
    log = tmp_path / "log"
    run = create(tmp_path / "r", instance(error=errors, seen=str(log)))
    assert (await finish(run))[0] == Outcome(0)
    (score,) = run.scores()
    assert (score.resolved, bool(score.error)) == (resolved, not resolved)
    assert seen(log) == {ROLLOUT: 1, SCORE: 2}


async def test_deleted_scores_are_made_again_from_the_rollouts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run = create(tmp_path / "r", *(instance(str(n), seen=str(log)) for n in range(3)))
    await finish(run)
    before = {path.name: path.read_bytes() for path in (run.folder / "scores").iterdir()}
    shutil.rmtree(run.folder / "scores")
    (run.folder / "results" / f"{run.units()[2].id}.json").unlink()
    outcome, runner = await finish(Run.open(run.folder), rollouts=False)
    assert (outcome, runner.tally.planned) == (Outcome(0), 2)
    after = {path.name: path.read_bytes() for path in (run.folder / "scores").iterdir()}
    assert after.items() < before.items()
    assert seen(log) == {ROLLOUT: 3, SCORE: 5}


@pytest.mark.parametrize("limits", [Limits(run_tokens=20), Limits(run_cost_usd=0.0)])
async def test_a_budget_stops_what_is_not_begun_and_a_larger_one_goes_on(
    tmp_path: Path, limits: Limits
) -> None:
    run = create(tmp_path / "r", *(instance(str(n), usage=10) for n in range(6)), limits=limits)
    outcome, _ = await finish(run, jobs=1)
    done = len(run.rollouts())
    assert outcome.code == 4
    assert f"{6 - done} of 6 units are left" in outcome.reason
    assert done == (2 if limits.run_tokens else 0)
    assert len(run.scores()) == done, "what was paid for is graded"
    assert (await finish(run, limits=Limits()))[0] == Outcome(0)
    assert len(run.scores()) == 6


async def test_the_first_interrupt_drains_and_the_second_cancels(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tasks = [instance(str(n), sleep_s=0.5, seen=str(log)) for n in range(8)]
    run = create(tmp_path / "r", *tasks)
    engine = await local.start(Setup(jobs=2, entry=works.ENTRY))
    with run.held():
        runner = Runner(run, engine, patience=QUICK)
        working = asyncio.create_task(runner.work())
        while seen(log)[ROLLOUT] < 2:
            await asyncio.sleep(0.02)
        runner.drain()
        outcome = await working
        assert (outcome.code, "8 of 8 units are left" in outcome.reason) == (130, True)
        assert len(run.rollouts()) == 2, "what ran was finished"

        runner = Runner(run, engine, patience=QUICK)
        working = asyncio.create_task(runner.work())
        while seen(log)[ROLLOUT] < 4:
            await asyncio.sleep(0.02)
        runner.drain()
        await runner.cancel()
        async with asyncio.timeout(5):
            assert (await working).code == 130
        assert len(run.rollouts()) == 2
    await engine.close()
    assert (await finish(run, jobs=8))[0] == Outcome(0)
    assert seen(log)[ROLLOUT] == 10, "only what was under way was begun again"


async def test_a_provider_that_stays_down_stops_the_run_before_it_spoils_it(tmp_path: Path) -> None:
    tasks = [instance(str(n), end="provider_error") for n in range(30)]
    run = create(tmp_path / "r", *tasks)
    outcome, runner = await finish(run, Patience(first_s=5.0, pause_s=0.02, pauses=2))
    assert outcome.code == 75
    assert outcome.reason.startswith("provider: most tries failed, also after 2 pauses; 30 of 30 units")
    assert run.rollouts() == []
    assert runner.tally.retried < 12


@pytest.mark.parametrize(("end", "code"), [("key_refused", 41), ("quota_used_up", 75)])
async def test_what_every_try_would_come_to_ends_the_run_at_once(tmp_path: Path, end: str, code: int) -> None:
    log = tmp_path / "log"
    tasks = [instance(str(n), sleep_s=30, seen=str(log)) for n in range(8)]
    run = create(tmp_path / "r", instance("first", end=end, seen=str(log)), *tasks)
    async with asyncio.timeout(10):
        outcome, runner = await finish(run)
    assert outcome == Outcome(code, f"told: {end}; 9 of 9 units are left")
    assert (runner.tally.retried, run.rollouts(), run.scores()) == (0, [], [])
    assert seen(log)[ROLLOUT] <= 2
    assert [ended.end for ended in run.ended(run.units()[0].id)] == [end]


async def test_tries_with_a_refused_key_do_not_use_the_tries_up(tmp_path: Path) -> None:
    run = create(tmp_path / "r", instance(end="sandbox_error", fails=3))
    unit = run.units()[0].id
    for _ in range(2):
        run.end(unit, run.begin(unit), Ended("key_refused", ""))
    outcome, _ = await finish(run, Patience(first_s=0.01, retries=1))
    assert (outcome.code, run.rollouts()[0].end, run.rollouts()[0].tries) == (0, "submitted", 4)


async def test_another_hosts_worker_is_waited_for_and_a_dead_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.5)
    run = create(tmp_path / "r", instance())
    unit = run.units()[0].id
    run.begin(unit)
    started = run.attempt(unit) / "1.started"
    started.write_bytes(started.read_bytes().replace(lease.Holder.me().host.encode(), b"elsewhere"))
    (run.folder / "run.lock").touch()
    assert run.leased(unit)
    assert (await finish(run))[0] == Outcome(0)
    assert run.rollouts()[0].tries == 2
    assert run.scores()[0].resolved


def test_a_breaker_opens_for_its_cause_and_closes_after_one_good_try() -> None:
    breaker = Breaker(Patience(window=10, pause_s=10.0, pauses=2))
    for failed in (True, False) * 5:
        breaker.note(failed, 0.0)
    assert breaker.room(5, 0.0), "half is not more than half"
    for failed in (False, True, True, True):
        breaker.note(failed, 1.0)
    assert not breaker.room(0, 10.9)
    breaker.note(True, 5.0)  # began before the pause
    assert breaker.room(0, 11.0)
    assert not breaker.room(1, 11.0)
    breaker.note(True, 12.0)
    assert (breaker.room(0, 31.9), breaker.room(0, 32.0)) == (False, True)
    breaker.note(False, 33.0)
    assert (breaker.room(9, 33.0), breaker.given_up) == (True, False)


def test_delays_double_up_to_a_bound_and_are_spread() -> None:
    from random import Random

    patience, chance = Patience(first_s=2.0, most_s=10.0), Random(1)
    delays = [patience.delay_s(retry, chance) for retry in range(1, 6)]
    for delay, base in zip(delays, (2, 4, 8, 10, 10), strict=True):
        assert base <= delay <= 1.5 * base
    assert len({delay % 1 for delay in delays}) == 5
