"""What the agent knows of its children: commands that run, and workers that list or search."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sandbox.pid1 import files, processes
from sandbox.pid1.frames import Header

WORKER_S = 30


class Command:
    """One running command: what it wrote, when it has to end, and why it was ended."""

    def __init__(self, number: int, request: Header, limits: Header, oom_events: int) -> None:
        self.number = number
        self.stream = bool(request["stream"])
        self.limits = limits
        self.oom_events = oom_events
        self.began = time.monotonic()
        self.deadline: float | None = self.began + request["timeout_s"]
        self.pid = 0
        self.output: int | None = None
        self.source: int | None = None
        self.pending = memoryview(b"")
        self.status: int | None = None
        self.timed_out = self.overflow = False
        self.killed = self.survivors = 0
        self.total = 0
        self._head = bytearray()
        self._tail = bytearray()

    def keep(self, data: bytes) -> None:
        """Keep the first and the last bytes of the output, whatever its length."""
        self.total += len(data)
        room = self.limits["head_bytes"] - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        most = self.limits["tail_bytes"]
        self._tail += data[max(0, len(data) - most) :]
        if len(self._tail) > 2 * most:
            del self._tail[: len(self._tail) - most]

    def result(self, code: int | None, oom_events: int) -> tuple[Header, bytes]:
        """The frame that says how it ended; the payload is the kept output."""
        status = self.status or 0
        tail = self._tail[max(0, len(self._tail) - self.limits["tail_bytes"]) :]
        header = {
            "id": self.number,
            "event": "done",
            "exit_code": code,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "timed_out": self.timed_out,
            "overflow": self.overflow,
            "oom": oom_events > self.oom_events,
            "head": len(self._head),
            "total": self.total,
            "duration_s": time.monotonic() - self.began,
            "killed": self.killed,
            "survivors": self.survivors,
        }
        return header, bytes(self._head + tail)

    def exit_code(self) -> int | None:
        """None when a signal or pawl ended it."""
        if self.status is None or self.timed_out or self.overflow or not os.WIFEXITED(self.status):
            return None
        return os.WEXITSTATUS(self.status)


class Worker:
    """A forked child that does what may take long, or for ever, and can be killed."""

    def __init__(self, number: int, task: Callable[[], Any]) -> None:
        self.number = number
        self.data = bytearray()
        self.status: int | None = None
        self.output: int | None
        self.output, theirs = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self.output)
            os.close(theirs)
            raise
        if self.pid == 0:
            try:
                _work(theirs, task)
            finally:
                os._exit(2)
        os.close(theirs)
        os.set_blocking(self.output, False)


def _work(output: int, task: Callable[[], Any]) -> None:
    """The worker's whole life. SIGALRM ends even a regular expression that backtracks for ever."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WORKER_S)
    with suppress(OSError):
        processes.prctl(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
    code = 0
    try:
        data = json.dumps(task()).encode("ascii")
    except files.Refused as refused:
        code, data = 1, f"{refused.kind} {refused}".encode("utf-8", "backslashreplace")
    except Exception as error:
        code, data = 1, f"SandboxError {type(error).__name__}: {error}".encode("utf-8", "replace")
    with open(output, "wb") as pipe:
        pipe.write(data)
    os._exit(code)
