"""Which system calls a sandbox may make: one policy, as docker's profile and as a program for bubblewrap.

docker gets an allow-list. bubblewrap takes a classic BPF program, which is a deny-list here: what remains is
held by the empty capability set and the namespaces. Refused in both: the calls of `BANNED`, new namespaces,
sockets other than UNIX, IPv4, IPv6 and NETLINK_ROUTE, typing into a terminal (TIOCSTI), foreign ABIs.
"""

from __future__ import annotations

import errno
import platform
import struct
from typing import Any

from sandbox.syscalls import ALLOWED, BANNED, CONDITIONAL

_NEW_NAMESPACE = 0x7E020000
"""CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID and -NET."""
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_ROUTE = 0
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, Linux32 and their unsigned query, as docker's own profile allows them."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""machine -> (column of the tables, AUDIT_ARCH)."""
_X32_BIT = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_NUMBER, _ARCHITECTURE = 0, 4
_Rule = dict[str, Any]
_Instruction = tuple[int, int, int, int]


# --- docker ------------------------------------------------------------------------------------------------


def docker_profile() -> dict[str, Any]:
    """The profile as `docker run --security-opt seccomp=` takes it (JSON)."""
    rules = [
        _allow(ALLOWED),
        _allow(["clone"], _argument(0, _NEW_NAMESPACE, "SCMP_CMP_MASKED_EQ", 0)),
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        *(_allow(["socket"], _argument(0, family)) for family in (_UNIX, _INET, _INET6)),
        _allow(["socket"], _argument(0, _NETLINK), _argument(2, _ROUTE)),
        *(_allow(["personality"], _argument(0, value)) for value in _PERSONALITIES),
        *(_allow(["ioctl"], _argument(1, bit, "SCMP_CMP_MASKED_EQ", bit & ~_TIOCSTI)) for bit in _bits()),
    ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": rules,
    }


def _bits() -> list[int]:
    """An ioctl's number is its low 32 bits: it is not TIOCSTI when any of them differs."""
    return [1 << shift for shift in range(32)]


def _allow(names: list[str] | tuple[str, ...], *arguments: _Rule) -> _Rule:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", "args": list(arguments)}


def _argument(index: int, value: int, test: str = "SCMP_CMP_EQ", second: int = 0) -> _Rule:
    return {"index": index, "value": value, "valueTwo": second, "op": test}


# --- bubblewrap --------------------------------------------------------------------------------------------


def filter_program(machine: str | None = None) -> bytes | None:
    """A BPF program (struct sock_filter, little-endian) for `bwrap --seccomp`; None for other machines."""
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        return None
    column, architecture = _ARCHITECTURES[machine]
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32_BIT), _refuse(errno.ENOSYS)]
    for numbers in BANNED.values():
        number = numbers[column]
        if number is not None:
            program += _when(number, [_refuse()])
    for name, body in _BODIES.items():
        program += _when(CONDITIONAL[name][column], body)
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _argument_word(index: int) -> _Instruction:
    """Load the low half of an argument: all that the kernel looks at for the ones used here."""
    return (_LOAD, 0, 0, 16 + 8 * index)


def _refuse(number: int = errno.EPERM) -> _Instruction:
    return (_RETURN, 0, 0, 0x00050000 | number)


def _when(number: int, body: list[_Instruction]) -> list[_Instruction]:
    """Do `body`, which always returns, for one system call."""
    return [(_EQUAL, 0, len(body), number), *body]


_BODIES: dict[str, list[_Instruction]] = {
    "clone": [_argument_word(0), (_ANY_BIT, 0, 1, _NEW_NAMESPACE), _refuse(), (_RETURN, 0, 0, _ALLOW)],
    "clone3": [_refuse(errno.ENOSYS)],
    "ioctl": [
        _argument_word(1),
        (_EQUAL, 1, 0, _TIOCSTI),
        (_EQUAL, 0, 1, _TIOCLINUX),
        _refuse(),
        (_RETURN, 0, 0, _ALLOW),
    ],
    "socket": [
        _argument_word(0),
        (_EQUAL, 5, 0, _UNIX),
        (_EQUAL, 4, 0, _INET),
        (_EQUAL, 3, 0, _INET6),
        (_EQUAL, 0, 3, _NETLINK),
        _argument_word(2),
        (_EQUAL, 0, 1, _ROUTE),
        (_RETURN, 0, 0, _ALLOW),
        _refuse(),
    ],
}
