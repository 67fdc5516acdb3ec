"""A sandbox with a way out: the proxy, a small world that it sees, and real servers on the loopback.

Names and public addresses are of the tests' own: what resolves and what connects are parameters of the proxy.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from sandbox import proxy
from sandbox.network import parse_rules
from sandbox.proxy import Decision, Proxy, Streams
from tests.sandbox.places import LIMITS, Place, opened

PUBLIC = "151.101.0.223"
"""A public address; in the tests' world it is a server on the loopback."""

SAY = """
import socket, sys
with socket.create_connection(("127.0.0.1", 3128), 10) as s:
    s.settimeout(10)
    try:
        s.sendall(sys.stdin.buffer.read())
        while data := s.recv(65536): sys.stdout.buffer.write(data)
    except ConnectionError: pass
"""


class World:
    """What there is outside: names, public addresses that are servers here, and what was asked of it."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        """One for each time that a name is asked for; the last one stays."""
        self.moved: dict[int, int] = {}
        """Port of a public address -> the port of its server here, where that is another."""
        self.names: list[str] = []
        self.connected: list[str] = []
        self.decisions: list[Decision] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.names.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def connect(self, address: str, port: int) -> Streams:
        self.connected.append(address)
        if address == PUBLIC:
            return await proxy.connect("127.0.0.1", self.moved.get(port, port))
        return await proxy.connect(address, port)

    def clear(self) -> None:
        self.answers = [[PUBLIC]]
        self.moved.clear()
        self.names.clear()
        self.connected.clear()
        self.decisions.clear()


class Server:
    """Answers every request with `hello`, and keeps what it was sent and the names that TLS asked it for."""

    def __init__(self, port: int, got: list[bytes], names: list[str | None]) -> None:
        self.port, self.got, self.names = port, got, names


class Net(NamedTuple):
    """A sandbox with a proxy, the world that this proxy sees, and two servers in it."""

    place: Place
    proxy: Proxy
    world: World
    plain: Server
    tls: Server

    async def say(self, data: bytes) -> str:
        """What the proxy answers to raw bytes from inside."""
        done = await self.place.sandbox.run(["python3", "-c", SAY], stdin=data)
        return done.output.decode("latin-1")

    async def program(self, text: str, *arguments: object) -> str:
        done = await self.place.sandbox.run(["python3", "-c", text, *map(str, arguments)])
        return done.output.decode("utf-8", "replace")

    async def get(self, host: str, port: int | None = None) -> str:
        return await self.say(f"GET http://{host}:{port or self.plain.port}/ HTTP/1.1\r\n\r\n".encode())

    def allow(self, text: str) -> None:
        self.proxy.rules = parse_rules(text)

    def clear(self) -> None:
        """Nothing allowed and nothing seen."""
        self.allow("")
        self.world.clear()
        for server in (self.plain, self.tls):
            server.got.clear()
            server.names.clear()

    @property
    def refusals(self) -> list[str]:
        return [made.reason for made in self.world.decisions if not made.allowed]


async def serve(context: ssl.SSLContext | None, names: list[str | None]) -> tuple[asyncio.Server, Server]:
    """Start a Server on a free port of the loopback, with TLS when a context is given."""
    got: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            got.append(data)
            if b"\r\n\r\n" in data:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                await writer.drain()
                break
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    return listening, Server(listening.sockets[0].getsockname()[1], got, names)


def _certificate(folder: Path) -> ssl.SSLContext:
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@asynccontextmanager
async def opened_net(backend: str, folder: Path) -> AsyncIterator[Net]:
    """All of it; first the plain server alone is allowed. The TLS server's port counts as 443."""
    names: list[str | None] = []
    context, world = _certificate(folder), World()
    context.sni_callback = lambda _socket, name, _context: names.append(name)  # type: ignore[assignment]
    plain, plain_server = await serve(None, [])
    tls, tls_server = await serve(context, names)
    own = Proxy(
        parse_rules(f"127.0.0.1:{plain_server.port}"),
        world.decisions.append,
        resolve=world.resolve,
        connect=world.connect,
        tls_ports=frozenset({tls_server.port}),
    )
    async with plain, tls:
        outlet = await own.open()
        try:
            async with opened(backend, folder, limits=LIMITS, outlet=outlet) as place:
                yield Net(place, own, world, plain_server, tls_server)
        finally:
            await own.aclose()
