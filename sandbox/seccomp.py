"""Which system calls a sandbox may make: one allow-list, as docker's profile and as a program for bubblewrap.

Of the calls whose arguments decide there are no new namespaces, no sockets other than UNIX, IPv4, IPv6 and
NETLINK_ROUTE, and nobody types into a terminal (TIOCSTI, TIOCLINUX); nor are foreign ABIs there. A call that
is not listed fails with EPERM; one that is newer than the list, with ENOSYS, so that a C library falls back.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterable
from typing import Any

from sandbox.syscalls import ALLOWED, CONDITIONAL

_NEW_NAMESPACE = 0x7E020000
"""CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID and -NET."""
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_ROUTE = 0
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, Linux32 and their unsigned query, as docker's own profile allows them."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""machine -> (column of the tables, AUDIT_ARCH)."""

_LOAD, _GO, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_NUMBER, _ARCHITECTURE = 0, 4
_Rule = dict[str, Any]
_Instruction = tuple[int, int, int, int]
_Verdict = tuple[int, list[_Instruction]]


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
        *(
            _allow(["ioctl"], _argument(1, mask, "SCMP_CMP_MASKED_EQ", bits))
            for mask, bits in _other_ioctls()
        ),
    ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": rules,
    }


def _other_ioctls() -> list[tuple[int, int]]:
    """(mask, bits) that together fit every number but the two: an ioctl's number is its low 32 bits.

    It is another one when a bit differs in which the two agree, or when their other bits are neither's.
    """
    differing = _TIOCSTI ^ _TIOCLINUX
    same = [1 << shift for shift in range(32) if not differing >> shift & 1]
    bits = range(0, differing + 1, 2)  # the lowest bit that differs is the second
    neither = {each & differing for each in bits} - {_TIOCSTI & differing, _TIOCLINUX & differing}
    return [(bit, bit & ~_TIOCSTI) for bit in same] + [(differing, each) for each in sorted(neither)]


def _allow(names: Iterable[str], *arguments: _Rule) -> _Rule:
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
    program += _decision(_verdicts(column))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _verdicts(column: int) -> list[_Verdict]:
    """What is done from which number on, in their order; the first is 0."""
    special: dict[int, list[_Instruction]] = {
        numbers[column]: _BODIES[name] for name, numbers in CONDITIONAL.items()
    }
    allowed = {numbers[column] for numbers in ALLOWED.values()}
    newest = max(number for number in (*allowed, *special) if number is not None)
    verdicts: list[_Verdict] = []
    for number in range(newest + 1):
        body = special.get(number) or [_PASS if number in allowed else _refuse()]
        if not verdicts or verdicts[-1][1] != body:
            verdicts.append((number, body))
    return [*verdicts, (newest + 1, [_refuse(errno.ENOSYS)])]  # x32 too, which is told by a high bit


def _decision(verdicts: list[_Verdict]) -> list[_Instruction]:
    """Find the verdict on the number that is loaded, by halves."""
    if len(verdicts) == 1:
        return verdicts[0][1]
    middle = len(verdicts) // 2
    below, above = _decision(verdicts[:middle]), _decision(verdicts[middle:])
    return [(_AT_LEAST, 0, 1, verdicts[middle][0]), (_GO, 0, 0, len(below)), *below, *above]


def _argument_word(index: int) -> _Instruction:
    """Load the low half of an argument: all that the kernel looks at for the ones used here."""
    return (_LOAD, 0, 0, 16 + 8 * index)


def _refuse(number: int = errno.EPERM) -> _Instruction:
    return (_RETURN, 0, 0, 0x00050000 | number)


_PASS: _Instruction = (_RETURN, 0, 0, _ALLOW)
_BODIES: dict[str, list[_Instruction]] = {
    "clone": [_argument_word(0), (_ANY_BIT, 0, 1, _NEW_NAMESPACE), _refuse(), _PASS],
    "clone3": [_refuse(errno.ENOSYS)],
    "ioctl": [
        _argument_word(1),
        (_EQUAL, 1, 0, _TIOCSTI),
        (_EQUAL, 0, 1, _TIOCLINUX),
        _refuse(),
        _PASS,
    ],
    "personality": [
        _argument_word(0),
        *((_EQUAL, len(_PERSONALITIES) - at, 0, value) for at, value in enumerate(_PERSONALITIES)),
        _refuse(),
        _PASS,
    ],
    "socket": [
        _argument_word(0),
        (_EQUAL, 5, 0, _UNIX),
        (_EQUAL, 4, 0, _INET),
        (_EQUAL, 3, 0, _INET6),
        (_EQUAL, 0, 3, _NETLINK),
        _argument_word(2),
        (_EQUAL, 0, 1, _ROUTE),
        _PASS,
        _refuse(),
    ],
}
