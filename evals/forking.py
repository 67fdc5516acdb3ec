"""A process that has imported all and forks a worker for each work: a crash is one work's, a start takes
milliseconds, and no work sees what another left in memory.

    python -P -m evals.forking FD ENTRY [MODULE]...

`FD` is a SOCK_SEQPACKET socket. In: `start ID` with two descriptors (the work's connection, its stderr), and
`kill ID`. Out: `ID STATUS`, an exit code or minus a signal, once all of the worker's process group is dead.
When the other side is gone, however it went, all workers are killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

import msgspec

from evals.engine import Work

_PR_SET_PDEATHSIG = 1


class Server:
    def __init__(self, control: socket.socket, entry: Any) -> None:
        self.control = control
        self.entry = entry
        self.children: dict[int, str] = {}
        """Process id -> id of its work."""

    def serve(self) -> None:
        """Until the other side is gone."""
        deaths, wake = socket.socketpair()
        deaths.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self.control, selectors.EVENT_READ)
            selector.register(deaths, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if deaths in ready:
                    deaths.recv(4096)
                    self._reap()
                if self.control in ready and not self._obey():
                    break
        for pid in self.children:
            _kill_group(pid)

    def _obey(self) -> bool:
        """Do what the next message asks; False when there will be none."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self.control, 4096, 2)
        except ConnectionError:
            return False
        word, _, identity = message.decode().partition(" ")
        match word:
            case "start":
                pid = os.fork()
                if not pid:
                    self._be_worker(*descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                self.children[pid] = identity
            case "kill":
                for pid, running in self.children.items():
                    if running == identity:
                        _kill_group(pid)
        return bool(message)

    def _reap(self) -> None:
        while self.children:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            _kill_group(found.si_pid)  # what it left running; its id is not free before it is waited for
            _, status = os.waitpid(found.si_pid, 0)
            identity = self.children.pop(found.si_pid, None)
            if identity is not None:
                self.control.send(f"{identity} {os.waitstatus_to_exitcode(status)}".encode())

    def _be_worker(self, connection: int, errors: int) -> NoReturn:
        code = 1
        try:
            _detach()
            os.setsid()
            self.control.close()
            for target in (1, 2):
                os.dup2(errors, target)
            with socket.socket(fileno=connection) as peer:
                with peer.makefile("rb") as wanted:
                    work = msgspec.msgpack.decode(wanted.read(), type=Work)
                peer.sendall(asyncio.run(self.entry(work)))
                peer.shutdown(socket.SHUT_RDWR)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _detach() -> None:
    """Die with the server; take signals as any process does."""
    parent = os.getppid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # it may not lead a group yet
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def load_entry(name: str) -> Any:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def main() -> None:
    descriptor, entry, *preload = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    function = load_entry(entry)
    for name in ("platformdirs", *preload):  # which tells every worker its folders
        importlib.import_module(name)
    Server(socket.socket(fileno=int(descriptor)), function).serve()


if __name__ == "__main__":
    main()
