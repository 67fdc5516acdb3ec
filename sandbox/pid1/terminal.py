"""A command on a pseudo-terminal of its own, for a person: the agent holds the other end and relays bytes.

`op_terminal` starts it; `op_type` and `op_resize` are further requests with the same id and have no answer.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from sandbox.pid1 import processes
from sandbox.pid1.frames import Header
from sandbox.pid1.records import Command
from sandbox.pid1.usage import Free

_BLOCK = 64 * 1024


class Terminal(Command):
    """Its output goes to the host alone and is not kept; it has no deadline: the person ends it."""

    def __init__(self, number: int, request: Header, limits: Header, oom_events: int, free: Free) -> None:
        super().__init__(number, dict(request, stream=True, timeout_s=0), limits, oom_events, free)
        self.deadline = None

    def keep(self, data: bytes) -> None:
        pass

    def start(self, argv: list[str], env: dict[str, str], folder: int, rows: int, columns: int) -> None:
        """Start in the folder (a descriptor), as leader of a session with this terminal. Raises OSError."""
        master, slave = os.openpty()
        try:
            resize(master, rows, columns)
            os.fchdir(folder)
            # the new session's leader opens the terminal, which makes it the session's own
            opened = (os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0)
            actions = [opened, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
            self.pid = processes.spawn(argv, env, actions)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.chdir("/")
            os.close(slave)
        os.set_blocking(master, False)
        self.output = master
        self.source = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)  # a selector takes a number once

    def type(self, data: bytes) -> bool:
        """Type what the terminal takes now of this and of what waits; True when some is still waiting."""
        self.pending = memoryview(bytes(self.pending) + data)
        while self.pending and self.source is not None:
            try:
                self.pending = self.pending[os.write(self.source, self.pending[:_BLOCK]) :]
            except BlockingIOError:
                return True
            except OSError:  # nobody holds it any more
                self.pending = memoryview(b"")
        return False


def resize(terminal: int, rows: int, columns: int) -> None:
    """Set the size of the window; who runs in it is told by SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
