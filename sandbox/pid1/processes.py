"""The process tree below the agent: look at it, start in it, end all of it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Dict, List, NamedTuple, Tuple


class Process(NamedTuple):
    parent: int
    session: int
    stopped: bool
    newborn: bool = False
    """Stopped before its first instruction: it has touched at most what the kernel touches for it."""


Table = Dict[int, Process]
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
TAG = "PAWL_COMMAND"
"""Environment variable that tells which command an orphan is of. Who clears it is only killed earlier."""

_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 256 * 1024
_DEADLINE_S = 2.0
_NEWBORN_FAULTS = 2
_DEFAULTED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


def prctl(option: int, value: int) -> None:
    """One prctl(2) call; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def living() -> Table:
    """Every process that is not yet dead, by its pid."""
    table: Table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/" + name + "/stat", "rb") as file:
                text = file.read()
        except OSError:
            continue
        state, parent, _group, session, _tty, _foreground, _flags, faults = text[
            text.rindex(b")") + 2 :
        ].split(None, 8)[:8]
        if state not in (b"Z", b"X"):
            stopped = state == b"T"
            newborn = stopped and int(faults) <= _NEWBORN_FAULTS
            table[int(name)] = Process(int(parent), int(session), stopped, newborn)
    return table


def below(table: Table, top: int) -> set[int]:
    """The pids of `table` that descend from `top`."""
    children: dict[int, list[int]] = {}
    for pid, process in table.items():
        children.setdefault(process.parent, []).append(pid)
    found: set[int] = set()
    waiting = [top]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def tag_of(pid: int) -> str | None:
    """The value of TAG in the environment that a process was started with, or None."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return None
    start = TAG.encode() + b"="
    for variable in variables:
        if variable.startswith(start):
            return variable[len(start) :].decode("ascii", "replace")
    return None


def send(pid: int, number: int) -> None:
    with suppress(OSError):  # it ended by itself
        os.kill(pid, number)


def send_group(group: int, number: int) -> None:
    with suppress(OSError):
        os.killpg(group, number)


def exterminate(
    members: Callable[[], set[int]], reap: Callable[[], object], group: int = 0
) -> tuple[int, int]:
    """Kill what `members()` names until it names nothing. Returns (number killed, number still there).

    All are stopped before any is killed: no parent can answer the death of a child with a new one. The kernel
    kills `group` as one besides, when given: no list ever holds a process that forks and exits for ever.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        alive = members()
        if not alive or time.monotonic() > deadline:
            if group:
                send_group(group, signal.SIGKILL)
            return len(killed), len(alive)
        fresh = alive - killed
        while fresh:
            for pid in fresh:
                send(pid, signal.SIGSTOP)
            now = members()
            fresh, alive = now - alive, alive | now
        for pid in alive:
            send(pid, signal.SIGKILL)
        if group:
            send_group(group, signal.SIGKILL)
        killed |= alive
        reap()
        time.sleep(0.0005)


def exterminate_all(reap: Callable[[], tuple[int, bool]]) -> tuple[int, int]:
    """For PID 1 alone in its namespace: one signal reaches every process at once, a fork bomb's too.

    `reap()` returns (processes reaped since the last call, whether none is left). Returns as `exterminate`.
    """
    _dead, done = reap()
    killed, deadline = 0, time.monotonic() + _DEADLINE_S
    while not done:
        with suppress(OSError):  # no other process
            os.kill(-1, signal.SIGKILL)
        count, done = reap()
        killed += count
        if time.monotonic() > deadline:
            return killed, len(living()) - 1
        if not done:
            time.sleep(0.0005)
    return killed, 0


def exterminate_some(members: Callable[[Table], set[int]], reap: Callable[[], object]) -> tuple[int, int]:
    """For PID 1 that has to spare some: kill what `members` names of a table of processes, and nothing else.

    A process that forks and exits for ever is in no list that is made while it runs. So only an empty list
    during which nothing was born is believed. Otherwise one signal stops every process at once, and after the
    kill those that are spared run on. Returns as `exterminate`.

    A fork that is under way at the stop ends after it: its child comes into no earlier list, and is stopped
    too. So what is to be killed is looked for until it is dead with all its children, and one signal to all
    lets the others run on. It does not reach the child of a fork that is still under way, such as that of a
    large process: the kernel keeps the stop for it and forgets the other. `wake` finds it later.
    """
    newest = _newest()
    if not members(living()) and newest is not None and newest == _newest():
        return 0, 0
    stopped = {pid for pid, process in living().items() if process.stopped and not process.newborn}
    killed: set[int] = set()
    send(-1, signal.SIGSTOP)
    deadline = time.monotonic() + _DEADLINE_S
    while (left := members(living())) and time.monotonic() < deadline:
        for pid in left - killed:
            send(pid, signal.SIGKILL)
        killed |= left
        reap()
        time.sleep(0.0005)
    send(-1, signal.SIGCONT)
    for pid in stopped - killed:
        send(pid, signal.SIGSTOP)
    return len(killed), len(left)


def wake() -> None:
    """Let those run on that `exterminate_some` has stopped before they were born."""
    for pid, process in living().items():
        if process.newborn:
            send(pid, signal.SIGCONT)


def _newest() -> int | None:
    """The pid that was given last here, which tells whether anything was born meanwhile."""
    try:
        with open("/proc/loadavg", "rb") as file:
            return int(file.read().split()[4])
    except (OSError, ValueError, IndexError):
        return None


def complaint(argv: List[str], error: Exception) -> Tuple[int, bytes]:
    """(exit code, what is printed) of a command that cannot be started, as a shell has them."""
    code = 127 if isinstance(error, FileNotFoundError) else 126
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return code, f"pawl: {argv[0]}: {reason}\n".encode("utf-8", "backslashreplace")


def _program(name: str, search: str) -> str:
    """Path of a program as execvp would find it, from the current folder."""
    if "/" in name:
        return name
    denied = None
    for folder in search.split(":"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            denied = path
    if denied is not None:
        raise PermissionError(13, "permission denied", denied)
    raise FileNotFoundError(2, "not found", name)


def shell(search: str) -> str:
    """bash where a PATH leads to one, else sh."""
    try:
        return _program("bash", search)
    except OSError:
        return "/bin/sh"


def pipe() -> tuple[int, int]:
    """(end to read, which does not block; end to write)."""
    output, theirs = os.pipe()
    fcntl.fcntl(output, fcntl.F_SETFL, os.O_NONBLOCK)
    with suppress(OSError):  # when the user's share of pipe memory is used up, the default size will do
        fcntl.fcntl(output, _F_SETPIPE_SZ, _PIPE_BYTES)
    return output, theirs


def spawn(argv: list[str], env: dict[str, str], actions: list[Any]) -> int:
    """Start a session of its own in the current folder; raises OSError or ValueError."""
    return os.posix_spawn(
        _program(argv[0], env.get("PATH", os.defpath)),
        argv,
        env,
        file_actions=actions,
        setsid=True,
        setsigdef=_DEFAULTED,
        setsigmask=(),
    )


def start(argv: list[str], env: dict[str, str], folder: int, with_input: bool) -> tuple[int, int, int | None]:
    """Start a session of its own in the folder (a descriptor).

    Returns (pid, descriptor of its output, descriptor of its input or None); both are non-blocking. The
    child has nothing of the agent's: no protocol descriptor, no ignored signal. Raises OSError.
    """
    output, theirs = pipe()
    ours: int | None = None
    if with_input:
        source, ours = os.pipe()
    else:
        source = os.open("/dev/null", os.O_RDONLY)
    actions = [
        (os.POSIX_SPAWN_DUP2, source, 0),
        (os.POSIX_SPAWN_DUP2, theirs, 1),
        (os.POSIX_SPAWN_DUP2, theirs, 2),
    ]
    try:
        os.fchdir(folder)
        pid = spawn(argv, env, actions)
    except BaseException:
        os.close(output)
        if ours is not None:
            os.close(ours)
        raise
    finally:
        os.chdir("/")
        os.close(theirs)
        os.close(source)
    if ours is not None:
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK)
    return pid, output, ours
