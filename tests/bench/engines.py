"""What running units costs beside the units, and whether a run survives its workers' and its own death.

    python -P -m tests.bench.engines cost ENGINE [UNITS]    no-op units: seconds, and of one core, a unit
    python -P -m tests.bench.engines kill ENGINE [UNITS [KILLS]]    25 % of workers die, and the driver twice
    python -P -m tests.bench.engines kill ENGINE UNITS KILLS FOLDER SECONDS    the same in pieces

Prints one JSON object; exit code 1 when a figure is over its limit, or a unit is lost or counted twice.
The start of a Ray worker takes a second of a core, so 1,000 units on Ray take a quarter of an hour of one. In
pieces the driver is killed once more when the SECONDS are over; exit code 75, and the same command goes on.
`drive ENGINE FOLDER` is what `kill` kills.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from evals import lease
from evals.engine import Setup, load_engine
from evals.patience import Patience
from evals.runner import Outcome, Runner
from evals.store import Run
from tests.support import works

DOOM = 0.25
FEW = 10
LOCAL_CORE_S = 0.030
RAY_RATIO = 2.0
PATIENCE = Patience(first_s=0.05, pause_s=0.2, pauses=20)


def create(folder: Path, units: int, **extra: Any) -> Run:
    tasks = [works.instance(f"task-{number}", **extra) for number in range(units)]
    return Run.create(folder, works.manifest(tasks), tasks, works.units(tasks))


async def drive(engine_name: str, folder: Path, jobs: int = 0) -> tuple[Outcome, float, float]:
    """Finish the run; how it ended, the seconds without the engine's start, and those of the start."""
    run = Run.open(folder)
    with run.held():
        begin = time.perf_counter()
        engine = await load_engine(engine_name).start(Setup(jobs=jobs, entry=works.ENTRY))
        try:
            start = time.perf_counter()
            outcome = await Runner(run, engine, patience=PATIENCE).work()
            return outcome, time.perf_counter() - start, start - begin
        finally:
            await engine.close()


# --- cost --------------------------------------------------------------------------------------------------


def core_s() -> float:
    """Seconds of a core that this process and its ended children used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


async def cost(engine_name: str, units: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        few_s = 0.0
        if engine_name == "local":  # what starts once is taken off, by a run of few units
            create(Path(folder) / "few", FEW)
            begun = core_s()
            await drive(engine_name, Path(folder) / "few")
            few_s = core_s() - begun
        create(Path(folder) / "run", units)
        before = core_s()
        outcome, wall_s, start_s = await drive(engine_name, Path(folder) / "run")
        assert outcome.code == 0, outcome
        figures: dict[str, Any] = {
            "bench": "engines-cost",
            "engine": engine_name,
            "units": units,
            "seconds": round(wall_s, 2),
            "ms_a_unit": round(wall_s / units * 1000, 2),
            "start_seconds": round(start_s, 2),
            "driver_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        }
        if engine_name == "local":
            used_s = (core_s() - before - few_s) / (units - FEW)
            figures |= {"core_ms_a_unit": round(used_s * 1000, 2), "limit_ms": LOCAL_CORE_S * 1000}
            figures["ok"] = used_s <= LOCAL_CORE_S
        else:
            bare_s, kept_full_s = bare_ray(units)
            figures |= {"bare_seconds": round(bare_s, 2), "ratio": round(wall_s / bare_s, 2)}
            figures |= {"bare_few_at_once_seconds": round(kept_full_s, 2)}
            figures |= {"ratio_few_at_once": round(wall_s / kept_full_s, 2)}
            figures |= {"limit": RAY_RATIO, "ok": wall_s / bare_s <= RAY_RATIO}
        return figures


def bare_ray(units: int) -> tuple[float, float]:
    """Seconds for two tasks a unit, as many as its stages, that only give back what they get: a work.

    All given to Ray at once; and with as many at once as the engine has. The start of Ray and its workers is
    apart, as the engine's is.
    """
    import ray

    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    task = ray.remote(max_retries=0, num_cpus=1)(_nothing)
    data = msgspec.msgpack.encode(works.work(works.instance()))
    cores = max(1, int(ray.cluster_resources()["CPU"]))
    ray.get([task.remote(data) for _ in range(cores)])
    start = time.perf_counter()
    ray.get([task.remote(data) for _ in range(2 * units)])
    taken = time.perf_counter() - start
    width = 2 * cores
    start = time.perf_counter()
    waiting = [task.remote(data) for _ in range(width)]
    for number in range(2 * units):
        done, waiting = ray.wait(waiting)
        ray.get(done)
        if number < 2 * units - width:
            waiting.append(task.remote(data))
    kept_full = time.perf_counter() - start
    ray.shutdown()
    return taken, kept_full


def _nothing(data: bytes) -> bytes:
    return data


# --- death -------------------------------------------------------------------------------------------------


def kill(engine_name: str, units: int, kills: int, place: Path, seconds: float = 3600.0) -> dict[str, Any]:
    """Kill the driver so often at a random moment; then let it finish, and look what is there."""
    run = create(place / "run", units, doom=DOOM, seen=f"{place}/seen")
    chance = random.SystemRandom()
    start = time.perf_counter()
    killed = place / "killed"
    killed.touch()
    code: int | None = None
    while code is None and (left_s := seconds + start - time.perf_counter()) > 0:
        number = killed.stat().st_size
        due = int(units * (number + chance.uniform(0.6, 1.0)) / (kills + 1)) if number < kills else units + 1
        code = _drive_until(engine_name, run, due, left_s)
        if code is None:
            with killed.open("a") as file:
                file.write("x")
    figures = census(run, place / "seen")
    figures |= {"bench": "engines-kill", "engine": engine_name, "code": code}
    figures |= {"kills": killed.stat().st_size, "seconds": round(time.perf_counter() - start, 1)}
    figures["ok"] = (
        code == 0
        and figures["kills"] >= kills
        and figures["lost"] == figures["double"] == figures["broken"] == 0
    )
    return figures


def _drive_until(engine_name: str, run: Run, due: int, seconds: float) -> int | None:
    """The driver's exit code; None: it was killed, once so many units were scored or the time was over."""
    words = [sys.executable, "-P", "-m", "tests.bench.engines", "drive", engine_name, str(run.folder)]
    end = time.perf_counter() + seconds
    process = subprocess.Popen(words)
    while process.poll() is None and time.perf_counter() < end:
        if sum(1 for _ in (run.folder / "scores").glob("[!.]*.json")) >= due:
            break
        time.sleep(0.05)
    process.kill()
    code = process.wait()
    return None if code == -signal.SIGKILL else code


def census(run: Run, seen: Path) -> dict[str, Any]:
    """What became of each unit, and what was begun how often."""
    units = [unit.id for unit in run.units()]
    scores = Counter(path.name.partition(".")[0] for path in (run.folder / "scores").glob("[!.]*.json"))
    rollouts = run.rollouts()
    begun = Counter(line.split()[1] for line in seen.read_text().splitlines())
    workers = {int(line.split()[2]) for line in seen.read_text().splitlines()}
    ended = sum(len(run.ended(unit)) for unit in units)
    return {
        "units": len(units),
        "scores": sum(scores.values()),
        "resolved": sum(score.resolved for score in run.scores()),
        "lost": len(set(units) - set(scores)) + len(units) - len(rollouts),
        "double": sum(count - 1 for count in scores.values()) + len(set(scores) - set(units)),
        "broken": sum(
            run.patch(one) != b"patch of " + one.unit.encode() for one in rollouts if one.end == "submitted"
        ),
        "late": sum(1 for _ in (run.folder / "attempts").glob("*/dup-*")),
        "given_up": sum(one.end == "engine_error" for one in rollouts),
        "begun": dict(begun),
        "tries_that_died": ended,
        "left_running": sum(1 for pid in workers if lease.born(pid)),
    }


def main() -> int:
    what, engine_name, *rest = sys.argv[1:]
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    if what == "drive":
        return asyncio.run(drive(engine_name, Path(rest[0])))[0].code
    units = int(rest[0]) if rest else 1000
    if what == "cost":
        figures = asyncio.run(cost(engine_name, units))
    elif len(rest) > 2:
        place = Path(rest[2])
        place.mkdir(exist_ok=True)
        figures = kill(engine_name, units, int(rest[1]), place, float(rest[3]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures = kill(engine_name, units, int(rest[1]) if rest[1:] else 2, Path(folder))
    print(json.dumps(figures))
    return 75 if figures.get("code", 0) is None else int(not figures["ok"])


if __name__ == "__main__":
    sys.exit(main())
