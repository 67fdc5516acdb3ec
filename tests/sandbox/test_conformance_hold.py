"""What every isolating backend holds against hostile commands: files, network, memory, processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from sandbox.base import Limits, Mount
from sandbox.open import known_backends
from tests.sandbox.places import ISOLATING, SESSION, Place, backends, opened
from tests.sandbox.remains import containers, within

pytestmark = pytest.mark.anyio

EVERY = pytest.mark.parametrize("place", backends(*known_backends()), indirect=True)
HOLDING = pytest.mark.parametrize("place", backends(*ISOLATING), indirect=True)


async def attempt(place: Place, program: str) -> str:
    """What a Python program prints; an exception's type is printed too."""
    wrapped = f"try:\n    exec({program!r})\nexcept BaseException as e:\n    print(type(e).__name__, e)"
    done = await place.sandbox.run(["python3", "-c", wrapped])
    return done.output.decode("utf-8", "replace").strip()


# --- the agent itself ------------------------------------------------------------------------------------


@EVERY
async def test_the_agents_descriptors_are_out_of_reach(place: Place) -> None:
    program = (
        "import glob, os\n"
        "for path in glob.glob('/proc/1/fd/*') + ['/proc/1/mem', '/proc/1/environ', '/proc/1/fd/3']:\n"
        "    try: os.open(path, os.O_RDWR); print('OPENED', path)\n"
        "    except OSError: pass\n"
        "print('fds', sorted(os.listdir('/proc/self/fd')))\n"
    )
    assert await attempt(place, program) == "fds ['0', '1', '2', '3']"


@HOLDING
async def test_ptrace_is_refused(place: Place) -> None:
    program = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for pid in (1, 0): print(libc.ptrace(16, pid, 0, 0), ctypes.get_errno())\n"
    )
    assert await attempt(place, program) == "-1 1\n-1 1"


# --- the host's files ------------------------------------------------------------------------------------


@HOLDING
async def test_secrets_of_the_host_are_not_there(place: Place) -> None:
    names = "/etc/shadow /etc/ssh /etc/ssl/private /var/run/docker.sock /run ~/.ssh ~root/.ssh ~root/.profile"
    done = await place.sandbox.run(f"for n in {names} /home; do ls -d $n/* $n 2>/dev/null; done; true")
    assert done.output == b""
    listed = (await place.sandbox.run("ls /etc; cat /etc/passwd")).output.decode()
    assert "pawl:" in listed
    assert "shadow" not in listed


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


@HOLDING
async def test_no_namespace_is_made(place: Place) -> None:
    program = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None)\n"
        "for flag in (0x10000000, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000):\n"
        "    if libc.unshare(flag) == 0: print('UNSHARED', hex(flag))\n"
        "    pid = libc.syscall(56, flag | 17, 0, 0, 0, 0)\n"
        "    if pid == 0: os._exit(0)\n"
        "    if pid > 0: print('CLONED', hex(flag))\n"
        "print('done')"
    )
    assert await attempt(place, program) == "done"


@HOLDING
async def test_the_x32_abi_is_refused(place: Place) -> None:
    program = "import ctypes; print('pid', ctypes.CDLL(None).syscall(0x40000000 + 39))"
    assert await attempt(place, program) in ("", "pid -1")


@HOLDING
async def test_the_kernels_dangerous_doors_are_shut(place: Place) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are of x86-64")
    program = (
        "import ctypes\n"
        "libc, room = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(256)\n"
        "calls = {'mount': (165, b'none', b'/tmp', b'tmpfs', 0, 0), 'chroot': (161, b'/tmp'),\n"
        "         'mknod': (133, b'/tmp/node', 0o60666, 0x800), 'bpf': (321, 0, 0, 0),\n"
        "         'io_uring': (425, 1, room), 'keyctl': (250, 0, -3, 0), 'userfaultfd': (323, 0),\n"
        "         'perf': (298, room, 0, -1, -1, 0), 'vm_readv': (310, 1, 0, 0, 0, 0),\n"
        "         'by_handle': (304, -100, room, 0), 'module': (175, 0, 0, 0), 'setns': (308, 0, 0),\n"
        "         'kexec': (246, 0, 0, 0, 0), 'pidfd_getfd': (438, 0, 0, 0)}\n"
        "for name, call in calls.items():\n"
        "    if libc.syscall(*call) != -1 or ctypes.get_errno() not in (1, 38): print('OPEN', name)\n"
        "print('done')"
    )
    assert await attempt(place, program) == "done"


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


@HOLDING
async def test_other_sockets_are_refused(place: Place) -> None:
    program = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for family in range(3, 46):\n"
        "    if family not in (10, 16) and (libc.socket(family, 1, 0) != -1 or ctypes.get_errno() != 1):\n"
        "        print('OPENED', family)\n"
        "print('done')"
    )
    assert await attempt(place, program) == "done"


@HOLDING
async def test_netlink_is_for_routes_alone(place: Place) -> None:
    program = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {}); print('opened')"
    assert await attempt(place, program.format(0)) == "opened"
    assert (await attempt(place, program.format(9))).startswith("PermissionError")


@HOLDING
async def test_typing_into_a_terminal_is_refused(place: Place) -> None:
    program = (
        "import ctypes, pty\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "master, slave = pty.openpty()\n"
        "for number in (0x5412, 0x5412 | 1 << 32):\n"
        "    print(libc.ioctl(slave, ctypes.c_ulong(number), b'x'), ctypes.get_errno())\n"
    )
    assert await attempt(place, program) == "-1 1\n-1 1"


# --- resources -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_a_fork_bomb_is_held_and_cleared(backend: str, tmp_path: Path) -> None:
    async with opened(backend, tmp_path, limits=Limits(pids=64, grace_s=0.2)) as place:
        if not place.sandbox.caps.pids:
            return  # bubblewrap as root cannot hold it, and says so
        bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
        done = await place.sandbox.run(["python3", "-c", bomb], timeout_s=3)
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
