"""The system call policy: docker's profile by its rules, the filter program by running it."""

from __future__ import annotations

import errno
import json
import re
import struct
from pathlib import Path

import pytest

from sandbox.seccomp import docker_profile, filter_program
from sandbox.syscalls import ALLOWED, CONDITIONAL
from tests.sandbox.forbidden import FORBIDDEN

X86_64, AARCH64, I386, ARM = 0xC000003E, 0xC00000B7, 0x40000003, 0x40000028
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
MACHINES = [("x86_64", X86_64, 0), ("aarch64", AARCH64, 1)]


def decide(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run a classic BPF program as the kernel does, on one seccomp_data."""
    data = struct.pack("<II Q 6Q", number, architecture, 0, *[*arguments, *[0] * 6][:6])
    code = list(struct.iter_unpack("<HBBI", program))
    place = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[place]
        place += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x06:
            return int(value)
        elif operation == 0x05:
            place += value
        else:
            holds = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[operation]
            place += if_true if holds else if_false


@pytest.mark.parametrize(("machine", "architecture", "column"), MACHINES)
def test_what_is_not_listed_is_refused(machine: str, architecture: int, column: int) -> None:
    program = filter_program(machine)
    assert program is not None
    allowed = {numbers[column] for numbers in ALLOWED.values()} - {None}
    judged = {numbers[column] for numbers in CONDITIONAL.values()}
    newest = max(*allowed, *judged)
    for number in {*range(newest + 1)} - judged:
        assert decide(program, architecture, number) == (ALLOW if number in allowed else EPERM), number
    for number in (newest + 1, newest + 9, 1000, 0x40000000, 0xFFFFFFFF):
        assert decide(program, architecture, number) == ENOSYS
    assert not {numbers[column] for numbers in FORBIDDEN.values()} & (allowed | judged)
    assert len(program) < 4096 * 8  # BPF_MAXINSNS


@pytest.mark.parametrize(("machine", "architecture", "column"), MACHINES)
def test_arguments_decide(machine: str, architecture: int, column: int) -> None:
    program = filter_program(machine)
    assert program is not None
    numbers = {name: columns[column] for name, columns in CONDITIONAL.items()}

    def decided(name: str, *arguments: int) -> int:
        return decide(program, architecture, numbers[name], *arguments)

    assert decided("clone3") == ENOSYS
    assert decided("clone", 0x01200011) == ALLOW
    for bit in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert decided("clone", bit | 17) == EPERM
    for family in range(64):
        assert decided("socket", family, 1, 0) == (ALLOW if family in (1, 2, 10, 16) else EPERM)
    assert decided("socket", 16, 3, 9) == EPERM
    assert decided("socket", 1 << 32 | 40, 1, 0) == EPERM
    assert decided("ioctl", 0, 0x5401) == ALLOW
    for number in (0x5412, 1 << 32 | 0x5412, 0x541C):
        assert decided("ioctl", 0, number) == EPERM
    for persona in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert decided("personality", persona) == ALLOW
    for persona in (1, 0x0040000, 0x20009, 0x0400000):
        assert decided("personality", persona) == EPERM


def test_ordinary_calls_pass_and_foreign_abis_do_not() -> None:
    program = filter_program("x86_64")
    assert program is not None
    for number in (0, 1, 2, 9, 39, 59, 231, 257, 262, 437):
        assert decide(program, X86_64, number) == ALLOW
    assert decide(program, X86_64, 0x40000000 | 39) == ENOSYS
    assert decide(program, I386, 102) == KILL
    assert decide(program, AARCH64, 39) == KILL


def test_on_arm64_ordinary_calls_pass_and_foreign_abis_do_not() -> None:
    """openat, close, read, write, exit_group, futex, getpid, socketpair, execve, mmap, openat2, ..."""
    program = filter_program("aarch64")
    assert program is not None
    for number in (56, 57, 63, 64, 94, 98, 172, 199, 221, 222, 437, 439):
        assert decide(program, AARCH64, number) == ALLOW
    assert decide(program, ARM, 5) == KILL
    assert decide(program, X86_64, 63) == KILL


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_the_kernels(column: int, header: str) -> None:
    """arm64 has the numbers of asm-generic."""
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    known.setdefault("newfstatat", known.get("fstatat", ""))  # its name in asm-generic
    for name, numbers in {**FORBIDDEN, **ALLOWED, **CONDITIONAL}.items():
        number = numbers[column]
        if number is None:
            assert name not in known
        elif name in known:  # older headers lack the newest calls
            assert int(known[name]) == number, name


def test_an_unknown_machine_has_no_program() -> None:
    assert filter_program("s390x") is None


def test_the_profile_allows_nothing_that_is_forbidden() -> None:
    profile = json.loads(json.dumps(docker_profile()))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert "SCMP_ARCH_X86" not in profile["architectures"]
    free = {name for rule in profile["syscalls"] if not rule.get("args") for name in rule["names"]}
    assert not free & (set(FORBIDDEN) | set(CONDITIONAL) - {"clone3"})
    assert {"read", "execve", "mmap", "futex", "openat", "wait4", "getrandom", "rseq"} <= set(ALLOWED)


def test_the_profile_tells_two_terminal_calls_from_all_others() -> None:
    rules = [rule["args"][0] for rule in docker_profile()["syscalls"] if rule["names"] == ["ioctl"]]

    def allowed(number: int) -> bool:
        return any(number & rule["value"] == rule["valueTwo"] for rule in rules)

    assert not allowed(0x5412)
    assert not allowed(1 << 32 | 0x5412)
    assert not allowed(0x541C)
    for number in {*range(0x5400, 0x5500), 0, 0x15412, 0x1541C, 0xFFFFFFFF} - {0x5412, 0x541C}:
        assert allowed(number), hex(number)
