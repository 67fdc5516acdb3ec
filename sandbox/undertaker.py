"""Removes a container that was made and not started, when its pawl is killed in between.

A container that runs ends with its pawl, and the daemon removes it; one that was only made would stay until
the next pawl sweeps. So while one is being made, a process outside of pawl waits for pawl's end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PROGRAM = """\
import socket, sys, time
if sys.stdin.buffer.read(1):
    sys.exit()
end = time.monotonic() + 2
status = 404
while status == 404 and time.monotonic() < end:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(sys.argv[1])
        request = f"DELETE /containers/{sys.argv[2]}?force=1&v=1 HTTP/1.0\\r\\nHost: docker\\r\\n\\r\\n"
        daemon.sendall(request.encode())
        status = int(daemon.recv(64).split()[1])
    time.sleep(0.02)
"""
"""Hears by the end of its input, without a word, that pawl is no more; the making may still be under way."""


@contextmanager
def watching(daemon: str, name: str) -> Iterator[None]:
    """Have the container of this name removed if pawl is killed within; `daemon` is the path of its socket.

    Raises OSError.
    """
    words = [sys.executable, "-I", "-S", "-c", _PROGRAM, daemon, name]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    ) as undertaker:
        try:
            yield
        finally:
            assert undertaker.stdin is not None
            with suppress(BrokenPipeError):  # it was killed, too
                undertaker.stdin.write(b"x")
                undertaker.stdin.close()
