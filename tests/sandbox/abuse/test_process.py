"""Abuse of processes: cases 1 to 14. `local` takes part where it takes no PID 1."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from sandbox.backends import bubblewrap
from sandbox.base import Limits
from sandbox.open import known_backends
from tests.sandbox.abuse.cases import LIMITS, agent, both, case, host
from tests.sandbox.places import Place, backends, opened
from tests.sandbox.remains import containers, on_host, within
from tools.ending import ending

pytestmark = pytest.mark.anyio

EVERY = known_backends()
EXTERMINATED = "killed, command.survivors = processes.exterminate_all(self._reap_more)"
ONLY_ITSELF = "processes.send(command.pid, signal.SIGKILL)"
ONLY_ITS_GROUP = "processes.send_group(command.pid, signal.SIGKILL)"
NOTHING_KILLED = "killed, command.survivors = 0, 0; "


async def leaves_nothing(place: Place, command: str, marker: str) -> None:
    """The command is timed out, alone and beside a job; no process of it is left and the job lives on."""
    jobs: list[int] = []
    for _ in range(2):
        done = await place.sandbox.run(command.replace("MARK", marker), timeout_s=0.2)
        assert (done.timed_out, done.exit_code, done.survivors) == (True, None, 0)
        assert done.duration_s < 2
        assert await place.alive(marker) == 0
        jobs.append((await place.sandbox.start("sleep 62.1")).job)
    assert {each.job for each in await place.sandbox.jobs() if each.running} == set(jobs)
    for job in jobs:
        await place.sandbox.kill(job)
    assert await place.alive("62.1") == 0


@case(1, on=EVERY, mutation=agent("family", EXTERMINATED, NOTHING_KILLED + ONLY_ITS_GROUP))
async def test_case_01_a_sleeper_in_a_session_of_its_own_ends_with_the_timeout(place: Place) -> None:
    await leaves_nothing(place, "setsid sleep MARK & sleep MARK", "63.01")


@case(2, on=EVERY, mutation=agent("family", EXTERMINATED, NOTHING_KILLED + ONLY_ITSELF))
async def test_case_02_nohup_saves_nobody(place: Place) -> None:
    await leaves_nothing(
        place, "trap '' HUP TERM; nohup sleep MARK >/dev/null 2>&1 & nohup sleep MARK", "63.02"
    )


@case(3, on=EVERY, mutation=agent("family", EXTERMINATED, NOTHING_KILLED + ONLY_ITS_GROUP))
async def test_case_03_a_double_fork_saves_nobody(place: Place) -> None:
    """Also without the tag in the environment, and with the tag of a job."""
    for tag in ("", "env -i", "env PAWL_COMMAND=$PAWL_COMMAND", "env PAWL_COMMAND=9"):
        daemon = f"(setsid sh -c '(setsid {tag} sleep MARK >/dev/null 2>&1 &) &' &); sleep MARK"
        await leaves_nothing(place, daemon, "63.03")


FORKER = """
import os
ready, away = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        os.write(away, b"x")
        while True:
            if os.fork(): os._exit(0)
            os.setsid()
for _ in range(3): os.read(ready, 1)
"""
"""Three lines of descent; it ends when all of them have left its group."""


@case(
    4,
    mutation=both(
        agent("family", EXTERMINATED, NOTHING_KILLED + ONLY_ITS_GROUP),
        agent("processes", "send(-1, signal.SIGSTOP)", "pass"),
    ),
)
async def test_case_04_processes_that_fork_and_exit_for_ever_are_ended(place: Place) -> None:
    """Not on `local`: there no signal reaches all of them at once.

    Each is gone before a list of processes is whole; how many pids are given in a while tells of them.
    """
    for _ in range(2):
        done = await place.sandbox.run(["python3", "-c", FORKER])
        assert done.survivors == 0
        births = "import time; a = open(f).read().split()[4]; time.sleep(0.2); b = open(f).read().split()[4]"
        program = f"f = '/proc/loadavg'; {births}; print(int(b) - int(a))"
        assert int((await place.sandbox.run(["python3", "-c", program])).output) < 10
        job = await place.sandbox.start("sleep 62.2")
    assert (await place.sandbox.kill(job.job)).signal == signal.SIGKILL


BOMB = """
import os, time
for _ in range(9):
    try: os.fork()
    except OSError: pass
os.write(1, b"x")
time.sleep(70.1)
"""
CROWDED = agent("guard", 'limits["crowd_watched"]', "False")


@case(5, limits=Limits(pids=64, grace_s=0.2), mutation=CROWDED)
async def test_case_05_a_fork_bomb_is_held_and_cleared(place: Place) -> None:
    """A bomb of at most 512 processes against a limit of 64, so that the mutation does not hurt the host.

    The kernel holds docker's; bubblewrap's, where its user is root, is ended by the agent.
    """
    done = await place.sandbox.run(["python3", "-c", BOMB], timeout_s=2)
    if place.sandbox.caps.pids:
        assert (done.timed_out, done.bound) == (True, "")
        assert 10 < done.total_bytes <= 64  # a byte of each
    else:
        assert (done.bound, done.exit_code) == ("processes", None)
        assert ending(done, 2, place.sandbox.limits).startswith("killed: too many processes")
        assert done.duration_s < 2
    assert done.survivors == 0
    assert (await place.sandbox.run("echo usable")).output == b"usable\n"
    assert await place.alive("70.1") == 0


@case(
    6,
    on=EVERY,
    mutation=agent(
        "main", "            self.family.end(command)\n\n    def settle", "            pass\n\n    def settle"
    ),
)
async def test_case_06_who_ignores_sigterm_is_killed_after_the_grace(place: Place) -> None:
    done = await place.sandbox.run("trap '' TERM INT HUP; while :; do sleep 0.1; done", timeout_s=0.2)
    assert (done.timed_out, done.exit_code) == (True, None)
    assert 0.5 <= done.duration_s < 1.5
    tidy = await place.sandbox.run("trap 'echo tidy; exit 0' TERM; sleep 64.1 & wait", timeout_s=0.2)
    assert (tidy.timed_out, tidy.exit_code, tidy.output) == (True, None, b"tidy\n")


@case(
    7,
    mutation=agent(
        "main", "signal.signal(signal.SIGINT, signal.SIG_DFL)", "signal.signal(15, lambda *_: os._exit(0))"
    ),
)
async def test_case_07_no_signal_hurts_the_agent(place: Place) -> None:
    """Not on `local`: there the agent is no PID 1."""
    names = "KILL STOP TERM INT HUP CHLD PIPE ALRM QUIT USR1 SEGV"
    done = await place.sandbox.run(f"for name in {names}; do kill -$name 1; done; echo sent")
    assert done.output == b"sent\n"
    assert (await place.sandbox.run("echo on")).output == b"on\n"


@case(
    8,
    mutation=host(
        bubblewrap, "_NAMESPACES", tuple(word for word in bubblewrap._NAMESPACES if word != "--as-pid-1")
    ),
)
async def test_case_08_killing_everything_spares_the_agent(place: Place) -> None:
    """A job is killed as well, and says so. Not on `local`: this would kill all that the user runs."""
    job = await place.sandbox.start("sleep 62.3")
    await place.sandbox.run("sleep 73.1 & kill -9 -1")
    assert (await place.sandbox.run("echo on")).output == b"on\n"
    deadline = time.monotonic() + 5  # who is killed dies when it is its turn
    while (ended := (await place.sandbox.output(job.job)).state).running and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert (ended.running, ended.signal) == (False, signal.SIGKILL)
    assert await place.alive("62.3") == 0


# --- the end of pawl and of the daemon -------------------------------------------------------------------

HOLDER = """
import asyncio, sys
from pathlib import Path
from tests.sandbox.places import opened

async def main():
    async with opened(sys.argv[1], Path(sys.argv[2])) as place:
        await place.sandbox.start("setsid sleep " + sys.argv[3] + " & sleep " + sys.argv[3])
        command = "setsid sleep %s & sleep %s & echo ready; wait" % (sys.argv[3], sys.argv[3])
        await place.sandbox.run(command, on_output=lambda data: print(data.decode(), flush=True))

asyncio.run(main())
"""


async def child(program: str, *words: str) -> Process:
    """A pawl of its own: a Python program that opens a sandbox."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *words), stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )


@pytest.mark.parametrize("backend", backends(*EVERY))
async def test_case_09_nothing_outlives_pawl_when_it_is_killed(backend: str, tmp_path: Path) -> None:
    """Within 2 s in place of 1, for a machine under load. `test_storm.py` does it 100 times."""
    marker = f"72.{os.getpid()}{len(backend)}"
    holder = await child(HOLDER, backend, str(tmp_path), marker)
    assert holder.stdout is not None
    assert (await holder.stdout.readline()).strip() == b"ready"
    assert await within(2, lambda: on_host(marker) == 4)
    holder.kill()
    await holder.wait()
    assert await within(2, lambda: on_host(marker) == 0)
    if backend == "docker":
        assert await within(2, lambda: containers(f"test-{holder.pid}") == [])


SLEEPER = """
import asyncio, sys
from pathlib import Path
from sandbox import client
from tests.sandbox.places import LIMITS, opened

client._WATCHDOG_S = 0.2

async def main():
    async with opened(sys.argv[1], Path(sys.argv[2]), limits=LIMITS) as place:
        print("ready", flush=True)
        heard = []
        done = await place.sandbox.run(
            "sleep 0.2; head -c 3000000 /dev/zero; echo; echo end", timeout_s=0.8, on_output=heard.append
        )
        print(done.exit_code, done.total_bytes, sum(map(len, heard)), done.tail[-5:], flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("backend", backends(*EVERY))
async def test_case_10_what_happens_while_pawl_is_stopped_is_not_lost(backend: str, tmp_path: Path) -> None:
    """Scale: stopped for 1.6 s, with a watchdog of 1.3 s that passes meanwhile, in place of 60 and 125 s.

    What a command writes waits for pawl up to 4 MB; one that writes more waits as well, until it times out.
    """
    sleeper = await child(SLEEPER, backend, str(tmp_path))
    assert sleeper.stdout is not None
    assert (await sleeper.stdout.readline()).strip() == b"ready"
    sleeper.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.6)
    sleeper.send_signal(signal.SIGCONT)
    output, _ = await sleeper.communicate()
    assert output.strip() == b"0 3000005 3000005 b'\\nend\\n'"


@case(
    12,
    on=EVERY,
    mutation=agent("main", "if c.status is not None]:", "if c.status is not None and c.output is None]:"),
)
async def test_case_12_a_background_child_that_holds_stdout_delays_nothing(place: Place) -> None:
    """Within 50 ms in the best of five: the others may have met a busy machine."""
    every = [await place.sandbox.run("sleep 65.4321 & echo started", timeout_s=1) for _ in range(5)]
    assert {(done.exit_code, done.output, done.killed) for done in every} == {(0, b"started\n", 1)}
    assert min(done.duration_s for done in every) < 0.05
    assert await place.alive("65.4321") == 0


@case(
    13,
    on=EVERY,
    mutation=agent(
        "main", '{"id": command.number, "event": "output"}', '{"id": min(self.commands), "event": "output"}'
    ),
)
async def test_case_13_commands_at_once_do_not_cross(place: Place) -> None:
    async def loop(word: str) -> tuple[bytes, bytes]:
        heard: list[bytes] = []
        command = f"for i in $(seq 300); do echo {word}; done; sleep 0.05; echo {word}"
        done = await place.sandbox.run(command, on_output=heard.append)
        return done.output, b"".join(heard)

    words = [f"word{number}" for number in range(6)]
    outputs = await asyncio.gather(*(loop(word) for word in words))
    assert outputs == [(f"{word}\n".encode() * 301,) * 2 for word in words]


EOF_ENDS = (
    "            self.close(command.output)\n            command.output = None\n            return False"
)


@case(
    14, on=EVERY, mutation=agent("main", EOF_ENDS, EOF_ENDS.replace("return", "command.status = 0; return"))
)
async def test_case_14_who_closes_its_output_and_sleeps_is_timed_out(place: Place) -> None:
    done = await place.sandbox.run("exec >&- 2>&-; sleep 63.14", timeout_s=0.3)
    assert (done.timed_out, done.exit_code, done.output) == (True, None, b"")
    assert 0.3 <= done.duration_s < 2
    assert await place.alive("63.14") == 0


@pytest.mark.bubblewrap
async def test_the_end_of_a_command_leaves_none_beside_it_stopped(tmp_path: Path) -> None:
    """A fork under way while everything is stopped must go on as well: once, one in some hundred did not."""
    async with opened("bubblewrap", tmp_path, limits=LIMITS) as place:

        async def pipelines() -> None:
            for _ in range(150):
                done = await place.sandbox.run("echo a | cat | tr a b | grep -c b", timeout_s=5)
                assert done.output == b"1\n", done

        async def others() -> None:
            while not over.is_set():
                await place.sandbox.run("true & true")

        over = asyncio.Event()
        beside = [asyncio.create_task(others()) for _ in range(4)]
        await asyncio.gather(*(pipelines() for _ in range(4)))
        over.set()
        await asyncio.gather(*beside)
