"""Background jobs: commands that no other command's end touches, and that are asked about by number."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from typing import Dict, List, Tuple

from sandbox.pid1 import processes
from sandbox.pid1.files import Refused
from sandbox.pid1.frames import Header
from sandbox.pid1.records import Command

_REMEMBERED = 8
"""Ended jobs whose output is kept."""


class Jobs:
    """The jobs by number, in the order of their start."""

    def __init__(self) -> None:
        self._records: Dict[int, Command] = {}

    def find(self, number: int) -> Command:
        if number not in self._records:
            raise Refused("NoSuchJob", f"there is no job {number}")
        return self._records[number]

    def check_room(self, most: int) -> None:
        """Raise Refused when `most` jobs run."""
        running = [job for job in self._records.values() if job.ended is None]
        if len(running) >= most:
            raise Refused("TooManyJobs", f"{most} jobs run already; kill one first")

    def add(self, job: Command) -> None:
        """Know a job that was started; the oldest of those that ended is forgotten for it."""
        self._records[job.number] = job
        over = [number for number, each in self._records.items() if each.ended is not None][:-_REMEMBERED]
        for number in over:
            del self._records[number]

    def states(self) -> List[Header]:
        return [state(job) for job in self._records.values()]


def state(job: Command) -> Header:
    """What a job is now, as base.JobState has it; its command is the host's to know."""
    return {
        "job": job.number,
        "running": job.ended is None,
        "exit_code": None if job.ended is None else job.exit_code(),
        "signal": None if job.ended is None else job.signal(),
        "total_bytes": job.total,
        "duration_s": job.duration(),
        "overflow": job.overflow,
        "oom": job.oom,
        "bound": job.bound,
    }


def supervise(argv: List[str], env: Dict[str, str], folder: int) -> Tuple[int, int]:
    """Start a job under a supervisor of its own; returns (pid of the supervisor, descriptor of the output).

    All orphans of the job fall to the supervisor, which ends when the job's own process does, and as it did.
    """
    output, theirs = processes.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            try:
                _supervise(argv, env, folder, theirs)
            finally:
                os._exit(126)
    except OSError:
        os.close(output)
        raise
    finally:
        os.close(theirs)
    return pid, output


def _supervise(argv: List[str], env: Dict[str, str], folder: int, output: int) -> None:
    """The supervisor's whole life. No signal but KILL and STOP reaches it; for the job none is blocked."""
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
    os.setsid()
    processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
    processes.prctl(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.fchdir(folder)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    try:
        pid = processes.spawn(argv, env, [])
    except (OSError, ValueError) as error:
        code, message = processes.complaint(argv, error)
        os.write(1, message)
        os._exit(code)
    ended = 0
    while ended != pid:
        ended, status = os.waitpid(-1, 0)
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    with suppress(OSError):  # SIGKILL has no handler to be reset
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
