"""Units that do as their instance says, for engines and runners: no agent, no tests, but the real worker.

`execute` is an engine's entry. What an instance does stands in its `extra`:

    end, fails    the rollout ends so; only in its first `fails` tries when that is given
    usage         tokens that each try costs
    die           the worker is killed so often: `rollout` or `score` -> number of tries
    sleep_s       the rollout takes so long
    says          goes to stderr
    error         grading fails so often
    spawn         a process that sleeps is left behind; its id goes to this file
    files         what the rollout leaves
    seen          a file to which each start is added, a line each
    doom          share of workers that are killed at a random moment
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from agent.messages import Usage
from evals.engine import ROLLOUT, SCORE, Parcel, Work
from evals.types import (
    AgentSpec,
    Folder,
    Instance,
    Limits,
    Rollout,
    RunManifest,
    Score,
    Tests,
    Unit,
    digest,
    plan_units,
)
from evals.worker import carry_out

ENTRY = "tests.support.works:execute"
SCORER = "works-1"
NULL = AgentSpec(name="null", version="1")


def instance(identity: str = "one", **extra: Any) -> Instance:
    """A task that does what `extra` says."""
    return Instance(
        id=identity,
        benchmark="works",
        statement="",
        tree=Folder("/nowhere"),
        grading=Tests(("true",), ("t",)),
        timeout_s=60.0,
        extra=extra,
    )


def manifest(instances: list[Instance], attempts: int = 1, **more: Any) -> RunManifest:
    given: dict[str, Any] = {
        "name": "works",
        "benchmark": "works",
        "dataset": "",
        "dataset_hash": digest([one.digest for one in instances]),
        "agent": NULL,
        "attempts": attempts,
        "seed": 0,
        "scorer": SCORER,
    }
    return RunManifest(**(given | more))


def units(instances: list[Instance], attempts: int = 1) -> list[Unit]:
    return plan_units(instances, NULL, attempts, 0, Limits())


def work(one: Instance, stage: str = ROLLOUT, run: str = "/nowhere", deadline_s: float = 60.0) -> Work:
    """A work for an engine alone, without a run's folder."""
    unit = units([one])[0]
    return Work(
        run=run,
        unit=unit,
        stage=stage,
        try_number=1,
        deadline_s=deadline_s,
        manifest=manifest([one]),
        instance=one,
        rollout=_rollout(unit, 1, "submitted", Usage()) if stage == SCORE else None,
    )


async def execute(work: Work) -> bytes:
    doomed = random.SystemRandom().random() < work.instance.extra.get("doom", 0.0)
    if doomed:
        threading.Thread(target=_die_soon, daemon=True).start()
    result = await carry_out(work, {ROLLOUT: _roll, SCORE: _score})
    if doomed:
        await asyncio.sleep(60)
    return result


def _die_soon() -> None:
    time.sleep(random.SystemRandom().uniform(0.0, 0.02))
    os.kill(os.getpid(), signal.SIGKILL)


def _begin(work: Work) -> int:
    """Say and count what is asked for, and die if that is; the number of this try of the stage."""
    extra = work.instance.extra
    number = work.try_number
    if "says" in extra:
        print(extra["says"], file=sys.stderr, flush=True)
    if "seen" in extra:
        with Path(extra["seen"]).open("a") as file:
            file.write(f"{work.unit.id} {work.stage} {os.getpid()}\n")
    if number <= extra.get("die", {}).get(work.stage, 0):
        os.kill(os.getpid(), signal.SIGKILL)
    return number


async def _roll(work: Work, place: Path) -> Parcel:
    number = _begin(work)
    extra = work.instance.extra
    assert list(place.iterdir()) == []
    (place / "scratch").write_text("x")
    if "spawn" in extra:
        Path(extra["spawn"]).write_text(str(subprocess.Popen(["sleep", "300"]).pid))
    await asyncio.sleep(extra.get("sleep_s", 0.0))
    end = extra.get("end", "submitted") if number <= extra.get("fails", 10**6) else "submitted"
    made = _rollout(work.unit, number, end, Usage(input_tokens=extra.get("usage", 0)))
    files = {"patch.diff": b"patch of " + work.unit.id.encode()}
    return Parcel(msgspec.json.encode(made), files | extra.get("files", {}))


def _rollout(unit: Unit, number: int, end: Any, usage: Usage) -> Rollout:
    return Rollout(
        unit=unit.id,
        instance=unit.instance,
        attempt=unit.attempt,
        agent="null",
        model="",
        end=end,
        detail=f"told: {end}",
        usage=usage,
        tries=number,
    )


async def _score(work: Work, place: Path) -> Parcel:
    number = _begin(work)
    failing = number <= work.instance.extra.get("error", 0)
    made = Score(
        unit=work.unit.id,
        instance=work.unit.instance,
        scorer=SCORER,
        resolved=not failing,
        reward=float(not failing),
        applied=True,
        error="the tests could not be started" if failing else "",
    )
    return Parcel(msgspec.json.encode(made))
