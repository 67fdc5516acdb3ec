"""What a check is made of. It is written once, for the conformance suite and for `pawl sandbox info --check`.

    @needs("network")
    async def check_no_route(sandbox: Sandbox) -> None:
        \"\"\"no address of the network can be reached\"\"\"

It returns when what its docstring says holds, else it raises CheckFailed. It changes nothing but files
of its own in the sandbox's tree, runs beside others unless it is marked `alone`, and takes well under a
second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sandbox.base import Limits, Sandbox

LIMITS = Limits(
    timeout_s=8,
    grace_s=0.2,
    stream_bytes=8 * 1024**2,
    read_bytes=1024**2,
    write_bytes=1024**2,
    memory_bytes=128 * 1024**2,
    tmp_bytes=4 * 1024**2,
    pids=128,
    open_files=512,
)
"""What a sandbox must be opened with to be checked: small enough to be met quickly."""

Function = Callable[[Sandbox], Awaitable[None]]
F = TypeVar("F", bound=Function)

_NEEDS, _ALONE = "selfcheck_needs", "selfcheck_alone"


class CheckFailed(Exception):
    """Something does not hold here. The message says what was seen."""


def needs(field: str) -> Callable[[F], F]:
    """The check is of what a field of Caps promises: it is not made where that is false."""

    def mark(function: F) -> F:
        vars(function)[_NEEDS] = field
        return function

    return mark


def alone(function: F) -> F:
    """Nothing else may run in the sandbox meanwhile."""
    vars(function)[_ALONE] = True
    return function


def needed_by(function: Function) -> str:
    """The field of Caps that a check needs, or an empty string."""
    return str(vars(function).get(_NEEDS, ""))


def is_alone(function: Function) -> bool:
    return _ALONE in vars(function)


def expect(holds: object, seen: str) -> None:
    if not holds:
        raise CheckFailed(seen)


def expect_equal(seen: object, wanted: object) -> None:
    if seen != wanted:
        raise CheckFailed(f"expected {_short(wanted)}, saw {_short(seen)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:120]}... ({len(text)} characters)"


async def expect_refused(error: type[Exception], action: Awaitable[object], what: str) -> None:
    """The file operation must raise `error` and no other one."""
    try:
        seen = await action
    except error:
        return
    except Exception as other:
        raise CheckFailed(
            f"{what}: expected {error.__name__}, saw {type(other).__name__}: {other}"
        ) from other
    raise CheckFailed(f"{what}: expected {error.__name__}, but it was done: {_short(seen)}")


async def attempt(sandbox: Sandbox, program: str, *arguments: str) -> list[str]:
    """The lines that a Python program prints inside; an exception is printed as its type and message."""
    wrapped = f"try:\n    exec({program!r})\nexcept BaseException as e:\n    print(type(e).__name__, e)"
    done = await sandbox.run(["python3", "-I", "-S", "-c", wrapped, *arguments])
    if done.exit_code != 0:
        raise CheckFailed(f"the probe ended with {done.exit_code or done.signal}: {_short(done.output)}")
    return done.output.decode("utf-8", "replace").splitlines()


def sleeper(marker: int) -> str:
    """A shell command that sleeps for long and is found by its marker."""
    return f"sleep 40.{marker}"


async def alive(sandbox: Sandbox, marker: int) -> int:
    """How many sleepers with the marker can be seen from inside.

    By a shell, which starts in a tenth of Python's time; the brackets keep its own words from being counted.
    """
    found = f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -cx '40[.]{marker}'"
    return int((await sandbox.run(found)).output)
