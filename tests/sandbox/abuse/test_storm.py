"""Storms: a thousand random nasty commands from a fixed seed, and pawl killed a hundred times at random."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from sandbox.base import ExecResult, Limits
from tests.sandbox.places import ISOLATING, Place, backends, opened
from tests.sandbox.remains import containers, on_host, within

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.alone]

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
        job = await place.sandbox.start("trap '' USR1; echo deaf; while :; do sleep 60; done")
        while not (await place.sandbox.output(job.job)).data:
            await asyncio.sleep(0.01)
        results = await storm(place, [nasty(dice) for _ in range(COMMANDS)])
        assert len(results) == COMMANDS
        assert [done for done in results if done.survivors] == []
        assert max(done.duration_s for done in results) < 5
        assert await place.alive(f"sleep\0{MARK}") == 0
        assert on_host(MARK) == 0
        assert (await place.sandbox.output(job.job)).state.running
        assert (await place.sandbox.run("echo usable")).output == b"usable\n"


# --- pawl is killed --------------------------------------------------------------------------------------

NURSERY = """
import asyncio, os, signal, sys
from pathlib import Path
from sandbox.open import load
from tests.sandbox import places

load(sys.argv[1])

async def work(folder):
    number = 0
    while True:
        number += 1
        (folder / str(number)).mkdir(parents=True)
        async with places.opened(sys.argv[1], folder / str(number)) as place:
            await place.sandbox.start("sleep " + sys.argv[2])
            await asyncio.gather(
                place.sandbox.run("setsid sleep %s & sleep %s" % (sys.argv[2], sys.argv[2]), timeout_s=0.2),
                place.sandbox.run("head -c 1000000 /dev/zero"),
                place.sandbox.write("x", b"x" * 100000),
            )

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        places.SESSION = "test-%d" % os.getpid()
        asyncio.run(work(Path(line.strip())))
    print(pid, flush=True)
"""
"""Makes one pawl for each line, which works in the folder of that name until it is killed; prints its pid."""

KILLS = {"bubblewrap": 60, "docker": 40}


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_pawl_killed_at_random_moments_leaves_nothing(backend: str, tmp_path: Path) -> None:
    """60 kills on bubblewrap and 40 on docker: a hundred in all, two pawls at a time."""
    dice = random.Random(SEED)
    words = [sys.executable, "-c", NURSERY, backend, MARK]
    options = {"stdin": PIPE, "stdout": PIPE, "cwd": Path(__file__).parents[3]}
    nursery = await asyncio.create_subprocess_exec(*words, **options)  # type: ignore[arg-type]
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    pids: list[int] = []
    for number in range(KILLS[backend]):
        nursery.stdin.write(b"%s\n" % bytes(tmp_path / str(number)))
        pids.append(int(await nursery.stdout.readline()))
        await asyncio.sleep(dice.uniform(0, 0.4))
        if number % 2:
            for pid in pids[-2:]:
                os.kill(pid, signal.SIGKILL)
    nursery.stdin.close()
    await nursery.wait()
    assert await within(1, lambda: on_host(MARK) == 0)
    if backend == "docker":
        assert await within(1, lambda: containers(*(f"test-{pid}" for pid in pids)) == [])


BETWEEN = """
import asyncio, os, signal, sys
from pathlib import Path
from sandbox.backends import docker
from tests.sandbox import places

async def main():
    docker._Container.start = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    async with places.opened("docker", Path(sys.argv[1])):
        pass

places.SESSION = sys.argv[2]
asyncio.run(main())
"""


@pytest.mark.docker
async def test_pawl_killed_before_its_container_starts_leaves_none(tmp_path: Path) -> None:
    session = f"between-{os.getpid()}"
    words = [sys.executable, "-c", BETWEEN, os.fspath(tmp_path), session]
    pawl = await asyncio.create_subprocess_exec(*words, cwd=Path(__file__).parents[3])
    assert await pawl.wait() == -signal.SIGKILL
    assert await within(1, lambda: containers(session) == [])
