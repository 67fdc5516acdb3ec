"""Docker's daemon over its unix socket, by asyncio alone: one request, and a container's streams.

docker-py blocks and cannot be cancelled; what is long or streams goes this way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import IO

from sandbox.naming import plain

_STREAM_HEADER = struct.Struct(">BxxxI")
_CREDENTIALS = struct.Struct("3i")
"""pid, uid, gid; struct ucred of socket.h."""
_STDOUT = 1
_COMPLAINT_BYTES = 4000
_BLOCK = 256 * 1024
_PROBE_S = 3
SLOW = "it takes too long"


def socket_path() -> Path | None:
    """The unix socket of the daemon: DOCKER_HOST, the system's, or the user's own (rootless)."""
    host = os.environ.get("DOCKER_HOST")
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    usual = ["unix:///var/run/docker.sock", f"unix://{runtime}/docker.sock"]
    for address in [host] if host else usual:
        path = Path(address.removeprefix("unix://"))
        if address.startswith("unix://") and path.exists():
            return path
    return None


async def available() -> str | None:
    """None when a daemon answers over a local socket, else the reason why not."""
    path = socket_path()
    if path is None:
        host = os.environ.get("DOCKER_HOST", "")
        if host and not host.startswith("unix://"):
            return (
                f"DOCKER_HOST is {plain(host)}, and pawl uses docker only over a unix socket of this machine"
            )
        return "no docker daemon is running on this machine"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"no permission to use the docker daemon ({path})"
    try:
        async with asyncio.timeout(_PROBE_S):
            status, _, writer = await request("GET /_ping")
            writer.close()
    except (OSError, TimeoutError) as error:
        return f"the docker daemon does not answer: {str(error) or SLOW}"
    return None if status == 200 else f"the docker daemon is not well (it answers {status})"


def rootless() -> bool:
    """True when the daemon is the user's own: then root inside is the user outside."""
    path = socket_path()
    return path is not None and path.stat().st_uid == os.geteuid() != 0


def listener(path: Path) -> int:
    """Process id of who listens on a unix socket, 0 when it cannot be seen from here. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(os.fspath(path))
        pid: int = _CREDENTIALS.unpack(
            asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )[0]
        return pid


async def request(
    what: str, *headers: str, body: IO[bytes] | None = None
) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """One HTTP request on a connection of its own: (status, reader after the headers, writer)."""
    reader, writer = await asyncio.open_unix_connection(socket_path())
    try:
        lines = [f"{what} HTTP/1.1", "Host: docker", *headers]
        writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii"))
        with contextlib.suppress(ConnectionError):  # a daemon that refuses may not read it all
            while body is not None and (block := await asyncio.to_thread(body.read, _BLOCK)):
                writer.write(block)
                await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        return int(answer.split(b" ", 2)[1]), reader, writer
    except (asyncio.IncompleteReadError, ValueError, IndexError) as error:
        writer.close()
        raise ConnectionError("something else than a docker daemon answers") from error
    except BaseException:
        writer.close()
        raise


class Stdout:
    """The agent's standard output out of docker's two-in-one stream; the start of its stderr is kept."""

    def __init__(self, reader: asyncio.StreamReader, complaint: bytearray) -> None:
        self._reader = reader
        self._complaint = complaint
        self._data = bytearray()

    async def readexactly(self, n: int, /) -> bytes:
        while len(self._data) < n:
            kind, size = _STREAM_HEADER.unpack(await self._reader.readexactly(_STREAM_HEADER.size))
            part = await self._reader.readexactly(size)
            if kind == _STDOUT:
                self._data += part
            elif len(self._complaint) < _COMPLAINT_BYTES:
                self._complaint += part[:_COMPLAINT_BYTES]
        taken = bytes(self._data[:n])
        del self._data[:n]
        return taken
