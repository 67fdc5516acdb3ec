"""What every isolating backend holds against hostile commands: files, network, memory, processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from sandbox.base import Limits, Mount
from sandbox.open import known_backends
from tests.sandbox.places import ISOLATING, SESSION, Place, attempt, backends, opened
from tests.sandbox.remains import containers, within

pytestmark = pytest.mark.anyio

EVERY = pytest.mark.parametrize("place", backends(*known_backends()), indirect=True)
HOLDING = pytest.mark.parametrize("place", backends(*ISOLATING), indirect=True)


# --- the host's files ------------------------------------------------------------------------------------


@HOLDING
async def test_the_users_project_itself_is_not_there(place: Place) -> None:
    place.beside("project/secret.txt", "of the live tree")
    place.beside("beside.txt", "beside the project")
    done = await place.sandbox.run("cat secret.txt ../beside.txt; ls -A ..")
    assert b"of the live tree" not in done.output
    assert b"beside" not in done.output.replace(b"../beside.txt", b"")


@HOLDING
async def test_nothing_but_the_workspace_and_tmp_can_be_written(place: Place) -> None:
    program = (
        "import os\n"
        "for path in ('/x', '/etc/x', '/usr/x', '/bin/x', '/var/x', '/sys/x', '/dev/x', '/etc/passwd',\n"
        "             '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger'):\n"
        "    try: os.open(path, os.O_WRONLY | os.O_CREAT); print('OPENED', path)\n"
        "    except OSError: pass\n"
        "for path in ('/', '/usr', '/etc'):\n"
        "    if not os.statvfs(path).f_flag & os.ST_RDONLY: print('WRITABLE', path)\n"
        "print('done')"
    )
    assert await attempt(place, program) == "done"
    writable = (
        "echo x | tee x /tmp/x /dev/shm/x /var/tmp/x" if place.backend == "bubblewrap" else "tee x /tmp/x"
    )
    assert (await place.sandbox.run(f"{writable} </dev/null")).exit_code == 0


@HOLDING
async def test_no_process_of_the_host_is_seen(place: Place) -> None:
    done = await place.sandbox.run("ls -d /proc/[0-9]* | wc -l; id -u; cat /proc/self/status | grep Cap")
    count, uid, *capabilities = done.output.decode().splitlines()
    assert int(count) < 8
    assert uid != "0"
    assert {line.split()[1] for line in capabilities if not line.startswith("CapBnd")} == {"0" * 16}


# --- the network -----------------------------------------------------------------------------------------


@HOLDING
async def test_there_is_no_network(place: Place) -> None:
    program = (
        "import socket\n"
        "print([name for _, name in socket.if_nameindex()])\n"
        "for address in (('192.0.2.1', 80), ('8.8.8.8', 53)):\n"
        "    try: socket.create_connection(address, 2); print('CONNECTED')\n"
        "    except OSError as error: print(error.errno)\n"
    )
    lines = (await attempt(place, program)).splitlines()
    assert lines[0].startswith("['lo'")
    assert lines[1:] == ["101", "101"]
    assert "gaierror" in await attempt(place, "import socket; socket.getaddrinfo('example.org', 80)")


@HOLDING
async def test_the_hosts_loopback_is_another(place: Place) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        assert "ConnectionRefusedError" in await attempt(place, program)


# --- resources -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_fork_bomb_is_held_and_cleared(backend: str, tmp_path: Path) -> None:
    async with opened(backend, tmp_path, limits=Limits(pids=64, grace_s=0.2)) as place:
        if not place.sandbox.caps.pids:
            return  # bubblewrap as root cannot hold it, and says so
        deaf = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        bomb = deaf + "while True:\n    try: os.fork()\n    except OSError: pass"
        done = await place.sandbox.run(["python3", "-c", bomb], timeout_s=1)
        assert (done.timed_out, done.survivors) == (True, 0)
        assert done.killed > 10
        assert (await place.sandbox.run("echo usable")).output == b"usable\n"


@HOLDING
async def test_the_limit_of_open_files_holds(place: Place) -> None:
    assert (await place.sandbox.run("ulimit -n; ulimit -c")).output == b"4096\n0\n"


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_mount_is_seen_and_cannot_be_changed(backend: str, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "probe.py").write_text("print('probe')")
    inner = str(tmp_path / "project/.git")
    mounts = (Mount(str(shown), "/opt/shown"), Mount(str(tmp_path), inner), Mount(str(shown), inner))
    async with opened(backend, tmp_path, mounts=mounts) as place:
        done = await place.sandbox.run("python3 /opt/shown/probe.py; ls .git; echo x >> .git/probe.py")
    assert done.output.startswith(b"probe\nprobe.py\n")
    assert done.exit_code != 0
    assert (shown / "probe.py").read_text() == "print('probe')"


# --- the end of pawl -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", backends(*known_backends()))
async def test_an_opening_that_is_cancelled_leaves_nothing(backend: str, tmp_path: Path) -> None:
    async def hold() -> None:
        async with opened(backend, tmp_path):
            await asyncio.Event().wait()

    children, before = children_of(os.getpid()), len(containers(SESSION)) if backend == "docker" else 0
    for delay in (0.0, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3):
        task = asyncio.create_task(hold())
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await within(5, lambda: children_of(os.getpid()) == children)
    if backend == "docker":
        assert await within(5, lambda: len(containers(SESSION)) == before)


def children_of(parent: int) -> set[str]:
    """Pids of the living children of a process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text("utf-8", "replace").rpartition(")")[2].split()
            if fields[1] == str(parent) and fields[0] != "Z":
                found.add(path.parent.name)
    return found


@pytest.mark.docker
async def test_a_closed_sandbox_leaves_no_container(tmp_path: Path) -> None:
    async with opened("docker", tmp_path):
        assert len(containers(SESSION)) >= 1
        before = len(containers(SESSION))
    assert await within(5, lambda: len(containers(SESSION)) < before)
