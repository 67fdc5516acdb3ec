"""Storms: a thousand random nasty commands from a fixed seed, and pawl killed a hundred times at random."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from sandbox.base import ExecResult, Limits, SandboxDied
from tests.sandbox.abuse.test_process import child
from tests.sandbox.places import ISOLATING, Place, backends, opened
from tests.sandbox.remains import containers, on_host, within

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SEED = 20240229
COMMANDS = 500
"""On each of the two backends."""
AT_ONCE = 4
MARK = "88.0815"
LIMITS = Limits(timeout_s=10, grace_s=0.05, stream_bytes=2_000_000)

LEAVES = (
    "setsid sleep {m} >/dev/null 2>&1 &",
    "nohup sleep {m} >/dev/null 2>&1 &",
    "sleep {m} &",
    "(setsid sh -c '(sleep {m} &) & sleep {m}' >/dev/null 2>&1 &)",
    "env -i setsid sleep {m} >/dev/null 2>&1 &",
    "PAWL_COMMAND=1 setsid sleep {m} >/dev/null 2>&1 &",
    "(trap '' TERM HUP INT; sleep {m} & wait) &",
    "sh -c 'kill -STOP $$; sleep {m}' &",
    "python3 -c 'import os; os.fork() or os.fork() or os.setsid(); import time; time.sleep({m})' &",
)
DOES = (
    "head -c {n} /dev/urandom",
    "head -c {n} /dev/zero | tr '\\0' '\\377'",
    "printf '\\0\\0\\0\\2\\0\\0\\0\\0{{}}'",
    "kill -USR1 -1 2>/dev/null",
    "kill -STOP 1; kill -KILL 1; kill -TERM 1",
    "exec >&-",
    "exec <&- 2>&-",
    "cat; cat <&2",
    "ulimit -n 8; ls /proc/self/fd",
    "mkfifo f{n}; rm f{n}",
    ":",
)
ENDS = ("exit {c}", "kill -{s} $$", "exec sleep {m}", "exec sleep 0.02", "trap '' TERM; sleep {m}")


def nasty(dice: random.Random) -> tuple[str, float]:
    """One random command, and how long it may take."""
    parts = [dice.choice(LEAVES) for _ in range(dice.randrange(3))]
    parts += [dice.choice(DOES) for _ in range(dice.randrange(3))]
    dice.shuffle(parts)
    parts.append(dice.choice(ENDS))
    fills = {"m": MARK, "n": dice.choice((0, 1, 100, 70_000, 300_000)), "c": dice.randrange(256)}
    text = "\n".join(parts).format(**fills, s=dice.choice(("KILL", "TERM", "SEGV", "PIPE", "HUP")))
    return text, dice.choice((0.05, 0.1, 0.2))


async def storm(place: Place, commands: list[tuple[str, float]]) -> list[ExecResult]:
    """Run them all, some at once; each first says which one it is, and hears that back."""
    waiting = list(enumerate(commands))
    results: list[ExecResult] = []

    async def work() -> None:
        while waiting:
            number, (command, timeout_s) = waiting.pop()
            heard: list[bytes] = []
            named = f"echo :{number}:\n{command}"
            hear = heard.append if number % 2 else None
            done = await place.sandbox.run(named, timeout_s=timeout_s, on_output=hear)
            results.append(done)
            name = b":%d:\n" % number
            # nothing at all only where a signal to everyone, or the timeout, came before its first word
            assert done.head.startswith(name) or (not done.head and done.exit_code is None), (named, done)
            if hear is not None:
                assert b"".join(heard)[: len(done.head)] == done.head

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return results


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_storm_of_nasty_commands_leaves_nothing(backend: str, tmp_path: Path) -> None:
    dice = random.Random(f"{SEED} {backend}")
    async with opened(backend, tmp_path, limits=LIMITS) as place:
        job = await place.sandbox.start("trap '' USR1; while :; do sleep 60; done")
        results = await storm(place, [nasty(dice) for _ in range(COMMANDS)])
        assert len(results) == COMMANDS
        assert [done for done in results if done.survivors] == []
        assert max(done.duration_s for done in results) < 5
        assert await place.alive(f"sleep\0{MARK}") == 0
        assert on_host(MARK) == 0
        assert (await place.sandbox.output(job.job)).state.running
        assert (await place.sandbox.run("echo usable")).output == b"usable\n"


# --- pawl is killed --------------------------------------------------------------------------------------

WORKER = """
import asyncio, random, sys
from pathlib import Path
from tests.sandbox.places import opened

async def main():
    print("up", flush=True)
    number = 0
    while True:
        number += 1
        folder = Path(sys.argv[2]) / str(number)
        folder.mkdir()
        async with opened(sys.argv[1], folder) as place:
            await place.sandbox.start("sleep " + sys.argv[3])
            await asyncio.gather(
                place.sandbox.run("setsid sleep %s & sleep %s" % (sys.argv[3], sys.argv[3]), timeout_s=0.2),
                place.sandbox.run("head -c 1000000 /dev/zero"),
                place.sandbox.write("x", b"x" * 100000),
            )

asyncio.run(main())
"""
KILLS = {"bubblewrap": 70, "docker": 30}
KILLED_AT_ONCE = 2


async def killed_at_random(backend: str, folder: Path, moment: float) -> int:
    """Let a pawl work for `moment` seconds and kill it; returns its pid."""
    folder.mkdir()
    worker = await child(WORKER, backend, str(folder), MARK)
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"up\n"
    await asyncio.sleep(moment)
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    return worker.pid


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_pawl_killed_at_random_moments_leaves_nothing(backend: str, tmp_path: Path) -> None:
    """70 kills on bubblewrap and 30 on docker: a hundred in all."""
    dice = random.Random(SEED)
    gate = asyncio.Semaphore(KILLED_AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            pid = await killed_at_random(backend, tmp_path / str(number), dice.uniform(0, 0.8))
            if backend == "docker":
                assert await within(1, lambda: containers(f"test-{pid}") == [])

    await asyncio.gather(*(one(number) for number in range(KILLS[backend])))
    assert await within(1, lambda: on_host(MARK) == 0)
