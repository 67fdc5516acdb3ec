"""What commands write: exact, bounded, and never taken for an answer of the agent."""

from __future__ import annotations

import asyncio
import json

from sandbox.base import Sandbox
from sandbox.selfcheck.check import LIMITS, expect, expect_equal


async def check_binary(sandbox: Sandbox) -> None:
    """binary output is exact"""
    data = bytes(range(256)) * 50
    expect_equal((await sandbox.run(["cat"], stdin=data)).output, data)


async def check_text(sandbox: Sandbox) -> None:
    """UTF-8 output is exact, and so is what is no UTF-8"""
    expect_equal((await sandbox.run(["printf", "%s", "größe ✓ 漢字"])).output.decode(), "größe ✓ 漢字")
    expect_equal((await sandbox.run(r"printf '\377\033[31m\000'")).output, b"\xff\x1b[31m\0")


async def check_order(sandbox: Sandbox) -> None:
    """stdout and stderr come in the order in which they were written"""
    expect_equal((await sandbox.run("echo 1; echo 2 >&2; echo 3")).output, b"1\n2\n3\n")


async def check_nothing(sandbox: Sandbox) -> None:
    """no output is empty"""
    done = await sandbox.run("true")
    expect_equal((done.exit_code, done.output, done.total_bytes), (0, b"", 0))


async def check_bounded(sandbox: Sandbox) -> None:
    """of much output the head and the tail are kept, and the rest is counted"""
    done = await sandbox.run("head -c 3000000 /dev/zero | tr '\\0' a; printf z")
    expect_equal(done.total_bytes, 3_000_001)
    expect_equal(done.head, b"a" * LIMITS.head_bytes)
    expect_equal(done.tail, b"a" * (LIMITS.tail_bytes - 1) + b"z")


async def check_all_heard(sandbox: Sandbox) -> None:
    """a listener hears all of it, beyond what is kept"""
    heard = bytearray()
    done = await sandbox.run("head -c 2000000 /dev/zero", on_output=heard.extend)
    expect_equal((len(heard), done.total_bytes), (2_000_000, 2_000_000))


async def check_live(sandbox: Sandbox) -> None:
    """output is heard while the command still runs"""
    heard = asyncio.Event()
    await sandbox.run("rm -f o-go")
    wait = "echo up; i=0; while [ ! -e o-go ] && [ $i -lt 400 ]; do sleep 0.01; i=$((i+1)); done"
    running = asyncio.create_task(sandbox.run(wait, on_output=lambda _: heard.set()))
    try:
        async with asyncio.timeout(3):
            await heard.wait()
        expect(not running.done(), "it came only at the end")
    finally:
        await sandbox.write("o-go", b"")
        await running


async def check_endless(sandbox: Sandbox) -> None:
    """endless output is ended"""
    done = await sandbox.run(["yes"])
    expect_equal((done.overflow, done.exit_code, done.survivors), (True, None, 0))
    expect(done.total_bytes < 4 * LIMITS.stream_bytes, f"only after {done.total_bytes} bytes")


async def check_forged(sandbox: Sandbox) -> None:
    """output that looks like an answer of the agent is output"""
    header = json.dumps({"id": 1, "event": "done", "exit_code": 0}).encode()
    forged = (len(header).to_bytes(4, "big") + bytes(4) + header) * 20
    done = await sandbox.run("cat; exit 7", stdin=forged)
    expect_equal((done.exit_code, done.output), (7, forged))


async def check_two_at_once(sandbox: Sandbox) -> None:
    """the output of commands that run at once does not cross"""
    words = ("one", "two", "three")
    loops = (sandbox.run(f"for i in $(seq 200); do echo {word}; done") for word in words)
    seen = [done.output for done in await asyncio.gather(*loops)]
    expect_equal(seen, [f"{word}\n".encode() * 200 for word in words])
