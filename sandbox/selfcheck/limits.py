"""Limits: each one is met on purpose."""

from __future__ import annotations

import signal

from sandbox.base import Sandbox
from sandbox.selfcheck.check import LIMITS, alone, expect, expect_equal, needs


async def check_open_files(sandbox: Sandbox) -> None:
    """the number of open files is bounded"""
    expect_equal((await sandbox.run("ulimit -n; ulimit -Hn")).output, f"{LIMITS.open_files}\n".encode() * 2)


async def check_core_files(sandbox: Sandbox) -> None:
    """no core file is written"""
    expect_equal((await sandbox.run("ulimit -c")).output, b"0\n")


async def check_timeout_is_kept(sandbox: Sandbox) -> None:
    """the time of a command is bounded, to within a second"""
    done = await sandbox.run("sleep 30", timeout_s=0.2)
    expect(done.timed_out and 0.2 <= done.duration_s < 1.2, f"it ended after {done.duration_s:.2f} s")


@needs("tmp")
@alone
async def check_tmp(sandbox: Sandbox) -> None:
    """/tmp is of a bounded size"""
    done = await sandbox.run(f"head -c {2 * LIMITS.tmp_bytes} /dev/zero > /tmp/l-fill; rm /tmp/l-fill")
    expect(b"No space left" in done.output, "more than its size was written")


@needs("pids")
@alone
async def check_processes(sandbox: Sandbox) -> None:
    """the number of processes is bounded, and all of them are cleared"""
    program = (
        "import os, time\nmade = 0\n"
        "try:\n"
        f"    while made < {2 * LIMITS.pids}:\n"
        "        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "        made += 1\n"
        "except OSError: pass\n"
        "print(made)"
    )
    done = await sandbox.run(["python3", "-I", "-S", "-c", program])
    expect(done.ok and int(done.output) < LIMITS.pids, f"{done.output!r} processes were made")
    expect_equal((done.killed, done.survivors), (int(done.output), 0))
    expect_equal((await sandbox.run("echo on")).output, b"on\n")


@needs("memory")
@alone
async def check_memory(sandbox: Sandbox) -> None:
    """memory is bounded, and the end by it is told"""
    done = await sandbox.run(["python3", "-I", "-S", "-c", f"x = b'x' * {4 * LIMITS.memory_bytes}"])
    expect_equal((done.oom, done.signal), (True, int(signal.SIGKILL)))
    expect(not (await sandbox.run("true")).oom, "the next command is blamed for it")
