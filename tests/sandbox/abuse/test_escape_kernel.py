"""Ways out of a sandbox by the kernel: cases 44 to 46 and 52. What holds is the filter of system calls."""

from __future__ import annotations

import os
from typing import Any

import pytest

from sandbox import seccomp
from sandbox.backends import bubblewrap
from tests.sandbox.abuse.cases import both, case, host
from tests.sandbox.forbidden import FORBIDDEN
from tests.sandbox.places import Place, attempt

pytestmark = pytest.mark.anyio

X86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are of x86-64")
CALLS = (
    "import ctypes\n"
    "libc, room = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(256)\n"
    "def refused(name, *call):\n"
    "    if libc.syscall(*call) != -1 or ctypes.get_errno() not in (1, 38): print('OPEN', name)\n"
)


def allowing(*names: str) -> dict[str, Any]:
    return {**seccomp.ALLOWED, **{name: FORBIDDEN[name] for name in names}}


def passing(name: str) -> dict[str, Any]:
    """A call's arguments are not looked at."""
    return {**seccomp._BODIES, name: [seccomp._PASS]}


@X86_64
@case(44, mutation=host(seccomp, "ALLOWED", allowing("ptrace", "process_vm_readv", "process_vm_writev")))
async def test_case_44_no_process_is_traced_or_read_by_another(place: Place) -> None:
    """Neither the agent nor one of the command's own: the calls themselves are refused."""
    program = CALLS + (
        "import os\n"
        "for pid in (1, os.getppid(), 0):\n"
        "    refused('attach', 101, 16, pid, 0, 0)\n"
        "    refused('seize', 101, 0x4206, pid, 0, 0)\n"
        "for pid in (1, os.getppid(), os.getpid()):\n"
        "    refused('read', 310, pid, 0, 0, 0, 0, 0)\n"
        "    refused('write', 311, pid, 0, 0, 0, 0, 0)\n"
        "if os.fork() == 0: refused('traceme', 101, 0, 0, 0, 0); os._exit(0)\n"
        "os.wait()"
    )
    assert await attempt(place, program) == ""


@X86_64
@case(45, mutation=host(seccomp, "ALLOWED", allowing(*FORBIDDEN)))
async def test_case_45_the_kernels_dangerous_doors_are_shut(place: Place) -> None:
    program = CALLS + (
        "calls = {'mount': (165, b'none', b'/tmp', b'tmpfs', 0, 0), 'chroot': (161, b'/tmp'),\n"
        "         'mknod': (133, b'/tmp/node', 0o60666, 0x800), 'bpf': (321, 0, 0, 0),\n"
        "         'io_uring': (425, 1, room), 'keyctl': (250, 0, -3, 0), 'userfaultfd': (323, 0),\n"
        "         'perf': (298, room, 0, -1, -1, 0), 'by_handle': (304, -100, room, 0),\n"
        "         'module': (175, 0, 0, 0), 'setns': (308, 0, 0), 'kexec': (246, 0, 0, 0, 0),\n"
        "         'kexec_file': (320, 0, 0, 0, 0, 0), 'pidfd_getfd': (438, 0, 0, 0)}\n"
        "for name, call in calls.items(): refused(name, *call)\n"
    )
    assert await attempt(place, program) == ""


@X86_64
@case(
    45,
    mutation=both(
        host(seccomp, "ALLOWED", allowing("unshare")),
        host(seccomp, "_BODIES", passing("clone")),
        host(bubblewrap, "_known_options", lambda _program: frozenset({"--size"})),
    ),
)
async def test_case_45_no_namespace_is_made(place: Place) -> None:
    program = CALLS + (
        "import os\n"
        "for flag in (0x10000000, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000):\n"
        "    if libc.unshare(flag) == 0: print('UNSHARED', hex(flag))\n"
        "    pid = libc.syscall(56, flag | 17, 0, 0, 0, 0)\n"
        "    if pid == 0: os._exit(0)\n"
        "    if pid > 0: print('CLONED', hex(flag))\n"
    )
    assert await attempt(place, program) == ""


@case(46, mutation=host(seccomp, "_BODIES", passing("socket")))
async def test_case_46_vsock_packet_alg_and_other_sockets_are_refused(place: Place) -> None:
    program = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for family in range(3, 46):\n"
        "    if family not in (10, 16) and (libc.socket(family, 1, 0) != -1 or ctypes.get_errno() != 1):\n"
        "        print('OPENED', family)\n"
    )
    assert await attempt(place, program) == ""
    program = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {}); print('opened')"
    assert await attempt(place, program.format(0)) == "opened", "routes alone"
    assert (await attempt(place, program.format(9))).startswith("PermissionError")


@X86_64
@case(46, mutation=host(seccomp, "_KILL_PROCESS", seccomp._ALLOW))
async def test_case_46_foreign_abis_are_refused(place: Place) -> None:
    """x32, by its bit, and ia32, by the interrupt: getpid is 20 there."""
    x32 = "import ctypes; print('pid', ctypes.CDLL(None).syscall(0x40000000 + 39), ctypes.get_errno())"
    assert await attempt(place, x32) in ("", "pid -1 0")
    ia32 = (
        "import ctypes, mmap\n"
        "page = mmap.mmap(-1, 4096, prot=7)\n"
        "page.write(bytes.fromhex('b814000000cd80c3'))\n"
        "call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))\n"
        "print('pid' if call() > 0 else '')"
    )
    assert await attempt(place, ia32) == ""


@case(52, mutation=host(seccomp, "_BODIES", passing("ioctl")))
async def test_case_52_nobody_types_into_a_terminal(place: Place) -> None:
    """TIOCSTI, with the number that the kernel cuts to it too; the terminal is the command's own (TIOCSCTTY),
    or the kernel itself would refuse.
    """
    program = (
        "import ctypes, fcntl, pty\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "master, slave = pty.openpty()\n"
        "fcntl.ioctl(slave, 0x540E, 0)\n"
        "for number in (0x5412, 0x5412 | 1 << 32):\n"
        "    print(libc.ioctl(slave, ctypes.c_ulong(number), b'x'), ctypes.get_errno())\n"
    )
    assert await attempt(place, program) == "-1 1\n-1 1"
