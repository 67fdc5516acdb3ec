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
from sandbox.pid1.usage import Free

WORKER_S = 30


class Command:
    """One command or job: what it wrote, when it has to end, and why it was ended."""

    def __init__(self, number: int, request: Header, limits: Header, oom_events: int, free: Free) -> None:
        self.number = number
        self.job = request["op"] == "start"
        self.stream = bool(request.get("stream"))
        self.limits = limits
        self.oom_events = oom_events
        self.free = free
        self.began = time.monotonic()
        self.ended: float | None = None
        self.deadline: float | None = None if self.job else self.began + request["timeout_s"]
        self.pid = 0
        self.output: int | None = None
        self.source: int | None = None
        self.pending = memoryview(b"")
        self.status: int | None = None
        self.timed_out = self.overflow = self.oom = False
        self.bound = ""
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

    def result(self, code: int | None) -> tuple[Header, bytes]:
        """The frame that says how it ended; the payload is the kept output."""
        tail = self._tail[max(0, len(self._tail) - self.limits["tail_bytes"]) :]
        header = {
            "id": self.number,
            "event": "done",
            "exit_code": code,
            "signal": self.signal(),
            "timed_out": self.timed_out,
            "overflow": self.overflow,
            "oom": self.oom,
            "bound": self.bound,
            "head": len(self._head),
            "total": self.total,
            "duration_s": self.duration(),
            "killed": self.killed,
            "survivors": self.survivors,
        }
        return header, bytes(self._head + tail)

    def since(self, offset: int) -> tuple[int, bytes]:
        """(where it starts, data): the output from an offset on, up to what is not kept."""
        tail_at = self.total - len(self._tail)
        if offset >= len(self._head):
            start = min(max(offset, tail_at), self.total)
            return start, bytes(self._tail[start - tail_at :])
        whole = tail_at == len(self._head)
        return offset, bytes(self._head[offset:] + (self._tail if whole else b""))

    def exit_code(self) -> int | None:
        """None when a signal or pawl ended it."""
        ours = self.timed_out or self.overflow or self.bound
        if self.status is None or ours or not os.WIFEXITED(self.status):
            return None
        return os.WEXITSTATUS(self.status)

    def signal(self) -> int | None:
        status = self.status or 0
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None

    def duration(self) -> float:
        return (self.ended or time.monotonic()) - self.began


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
