"""Process trees: nothing outlives its command, and nothing inside hurts the agent."""

from __future__ import annotations

import asyncio
import contextlib

from sandbox.base import Sandbox
from sandbox.selfcheck.check import LIMITS, alive, alone, attempt, expect, expect_equal, needs, sleeper


async def _timeout_leaves_nothing(sandbox: Sandbox, marker: int, command: str) -> None:
    done = await sandbox.run(command.format(s=sleeper(marker)), timeout_s=0.25)
    expect_equal((done.timed_out, done.exit_code, done.survivors), (True, None, 0))
    expect(done.duration_s < 4, f"it took {done.duration_s:.1f} s")
    expect_equal(await alive(sandbox, marker), 0)


async def check_timeout(sandbox: Sandbox) -> None:
    """a timeout ends a command"""
    await _timeout_leaves_nothing(sandbox, 501, "{s}")


async def check_timeout_setsid(sandbox: Sandbox) -> None:
    """a timeout ends what has a session of its own"""
    await _timeout_leaves_nothing(sandbox, 502, "setsid {s} & {s}")


async def check_timeout_nohup(sandbox: Sandbox) -> None:
    """a timeout ends what ignores the hang-up"""
    await _timeout_leaves_nothing(sandbox, 503, "nohup {s} >/dev/null 2>&1 & {s}")


async def check_timeout_double_fork(sandbox: Sandbox) -> None:
    """a timeout ends daemons"""
    await _timeout_leaves_nothing(sandbox, 504, "(setsid sh -c '{s} & {s}' >/dev/null 2>&1 &); {s}")


async def check_timeout_deaf(sandbox: Sandbox) -> None:
    """a timeout ends what ignores SIGTERM"""
    await _timeout_leaves_nothing(sandbox, 505, "trap '' TERM; while :; do {s}; done")


async def check_timeout_stopped(sandbox: Sandbox) -> None:
    """a timeout ends what stopped itself"""
    await _timeout_leaves_nothing(sandbox, 506, "kill -STOP $$; {s}")


async def check_timeout_closed_output(sandbox: Sandbox) -> None:
    """a timeout ends what closed its output"""
    await _timeout_leaves_nothing(sandbox, 507, "exec >&- 2>&-; {s}")


async def check_timeout_untagged(sandbox: Sandbox) -> None:
    """a timeout ends what cleared its environment"""
    await _timeout_leaves_nothing(sandbox, 508, "env -i setsid {s} & {s}")


async def check_grace(sandbox: Sandbox) -> None:
    """a command may tidy up before it is killed"""
    done = await sandbox.run("trap 'echo tidy; exit 0' TERM; sleep 30 & wait", timeout_s=0.25)
    expect_equal((done.timed_out, done.output), (True, b"tidy\n"))


async def check_background_child(sandbox: Sandbox) -> None:
    """a background child that holds stdout delays nothing, and is ended"""
    done = await sandbox.run(f"{sleeper(510)} & echo started")
    expect_equal((done.exit_code, done.output, done.killed), (0, b"started\n", 1))
    expect(done.duration_s < 2, f"it took {done.duration_s:.1f} s")
    expect_equal(await alive(sandbox, 510), 0)


async def check_left_behind(sandbox: Sandbox) -> None:
    """what a command leaves behind is ended and counted"""
    done = await sandbox.run(f"for i in 1 2 3; do setsid {sleeper(511)} >/dev/null 2>&1 & done; exit 4")
    expect_equal((done.exit_code, done.killed, done.survivors), (4, 3, 0))
    expect_equal(await alive(sandbox, 511), 0)


async def check_cancel(sandbox: Sandbox) -> None:
    """a command whose caller goes away is killed"""
    started = asyncio.Event()
    command = f"echo up; setsid {sleeper(512)} & {sleeper(512)}"
    task = asyncio.create_task(sandbox.run(command, on_output=lambda _: started.set()))
    await started.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    expect_equal(await alive(sandbox, 512), 0)


async def check_neighbour_spared(sandbox: Sandbox) -> None:
    """the end of one command spares another's daemon"""
    wait = "i=0; while [ ! -e {0} ] && [ $i -lt 400 ]; do sleep 0.01; i=$((i+1)); done"
    daemon = f"{wait.format('p-go')}; echo done > p-daemon"
    command = f"(setsid sh -c '{daemon}' >/dev/null 2>&1 &); echo up; {wait.format('p-daemon')}; cat p-daemon"
    await sandbox.run("rm -f p-go p-daemon")
    started = asyncio.Event()
    other = asyncio.create_task(sandbox.run(command, on_output=lambda _: started.set()))
    await started.wait()
    await sandbox.run("sleep 30 & true")
    await sandbox.write("p-go", b"")
    expect_equal((await other).output, b"up\ndone\n")


@alone
async def check_no_zombies(sandbox: Sandbox) -> None:
    """orphans that end are reaped"""
    done = await sandbox.run("for i in 1 2 3 4 5; do (true &); done; sleep 0.05")
    expect_equal((done.exit_code, done.killed), (0, 0))
    program = (
        "import glob, os\nme = str(os.getppid())\nfor path in glob.glob('/proc/[0-9]*/stat'):\n"
        "    try: state, parent = open(path).read().rpartition(')')[2].split()[:2]\n"
        "    except OSError: continue\n"
        "    if state == 'Z' and parent == me: print(path)"
    )
    expect_equal(await attempt(sandbox, program), [])


@needs("processes")
async def check_agent_out_of_reach(sandbox: Sandbox) -> None:
    """the agent's descriptors, memory and environment are out of reach"""
    program = (
        "import glob, os\n"
        "for path in glob.glob('/proc/1/fd/*') + ['/proc/1/mem', '/proc/1/environ', '/proc/1/fd/3']:\n"
        "    for mode in (os.O_RDONLY, os.O_WRONLY):\n"
        "        try: os.open(path, mode); print(path)\n"
        "        except OSError: pass"
    )
    expect_equal(await attempt(sandbox, program), [])


@needs("processes")
async def check_agent_signals(sandbox: Sandbox) -> None:
    """no signal from inside hurts the agent"""
    names = "KILL STOP TERM INT HUP CHLD PIPE ALRM QUIT USR1 SEGV"
    await sandbox.run(f"for name in {names}; do kill -$name 1; done 2>/dev/null")
    expect_equal((await sandbox.run("echo on")).output, b"on\n")


@needs("processes")
async def check_host_unseen(sandbox: Sandbox) -> None:
    """no process of the host is seen"""
    expect_equal(await attempt(sandbox, "import os; print(os.getppid())"), ["1"])
    program = (
        "import os\nfor name in os.listdir('/proc'):\n"
        "    if name.isdigit():\n"
        "        try: os.kill(int(name), 0); print(name)\n"
        "        except OSError: pass"
    )
    seen = [int(pid) for pid in await attempt(sandbox, program)]
    expect(1 in seen and len(seen) <= LIMITS.pids, f"{len(seen)} processes can be signalled")


@needs("processes")
@alone
async def check_kill_everything(sandbox: Sandbox) -> None:
    """killing everything spares the agent"""
    await sandbox.run("sleep 30 & kill -9 -1")
    expect_equal((await sandbox.run("echo on")).output, b"on\n")


@alone
async def check_fork_storm(sandbox: Sandbox) -> None:
    """processes that fork and exit for ever are ended"""
    program = "import os\nwhile True:\n    if os.fork(): os._exit(0)"
    done = await sandbox.run(["python3", "-I", "-S", "-c", program])
    expect_equal(done.survivors, 0)
    expect_equal((await sandbox.run("echo on")).output, b"on\n")
