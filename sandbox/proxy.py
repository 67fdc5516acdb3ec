"""The one way out of a sandbox: a proxy in pawl's own process, on a unix socket that is shown inside.

A name is resolved here, once; each address is judged, and the very address that was judged is connected to.
A tunnel to port 443 must begin with a TLS ClientHello that names the host of the tunnel: neither another
protocol nor another site. Each request is decided once and told before a byte goes through; whatever fails,
closes. What an allowed server does with a request is not seen: it is inside TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import msgspec

from sandbox import hello, network
from sandbox.base import Outlet
from sandbox.door import Door
from sandbox.hello import HelloError
from sandbox.network import HTTPS, HostError, NetworkRules, Rule, authority, is_literal, normal_host
from sandbox.proxyhead import HEAD_BYTES, Refusal, Request, parse_head

_BLOCK = 64 * 1024
_UNREACHABLE = 502
"""Status of an answer for a host that is allowed but not there."""
_ADDRESSES = 4
"""How many addresses of one name are looked at."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Connect = Callable[[str, int], Awaitable[Streams]]


class Decision(msgspec.Struct, frozen=True):
    """What became of one request. `host` is the start of what was asked for when it was no host."""

    host: str
    port: int
    allowed: bool
    reason: str


class Bounds(msgspec.Struct, frozen=True):
    """Times in seconds. `decisions` bounds what a hostile command can write into the log."""

    head_s: float = 15.0
    resolve_s: float = 15.0
    connect_s: float = 15.0
    idle_s: float = 300.0
    connections: int = 128
    decisions: int = 20_000


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host, as the system finds them; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[4][0]) for place in found]


async def connect(address: str, port: int) -> Streams:
    """Connect to an IP address; nothing is looked up."""
    return await asyncio.open_connection(address, port, limit=_BLOCK)


class Proxy:
    """Serves until it is closed. Every decision is handed to `on_decision`; when that raises, it is a no.

    `resolve`, `connect` and `tls_ports` are for those who bring a world of their own.
    """

    def __init__(
        self,
        rules: NetworkRules,
        on_decision: Callable[[Decision], object],
        *,
        resolve: Resolve = resolve,
        connect: Connect = connect,
        tls_ports: frozenset[int] = frozenset({HTTPS}),
        bounds: Bounds | None = None,
    ) -> None:
        self.rules = rules
        """What holds for the next request."""
        self._on_decision = on_decision
        self._resolve, self._connect = resolve, connect
        self._tls_ports = tls_ports
        self._bounds = bounds or Bounds()
        self._decided = 0
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._door: Door | None = None
        self.outlet = Outlet("", rules.texts())

    async def open(self) -> Outlet:
        """Begin to serve. Gives what a SandboxSpec takes; raises SandboxUnavailable."""
        self._door = door = await asyncio.to_thread(Door, self._bounds.connections)
        self.outlet = door.outlet(self.rules.texts())
        self._server = await asyncio.start_unix_server(
            self._take, sock=door.listening, limit=HEAD_BYTES, backlog=self._bounds.connections
        )
        return self.outlet

    async def aclose(self) -> None:
        """End every connection and remove the socket. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._door is not None:
            await asyncio.to_thread(self._door.close)

    # --- one connection ------------------------------------------------------------------------------------

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or len(self._running) >= self._bounds.connections:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside = (reader, writer)
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, HelloError):
            try:
                await self._answer(inside)
            except Refusal as refusal:
                self._tell(refusal.host, refusal.port, refusal.status == _UNREACHABLE, refusal.reason)
                writer.write(_refused(refusal))
                await writer.drain()

    def _tell(self, host: str, port: int, allowed: bool, reason: str) -> None:
        """Hand a decision on; raises ConnectionError when it cannot be kept, or is one too many."""
        self._decided += 1
        if self._decided > self._bounds.decisions:
            raise ConnectionError("too many requests")
        try:
            self._on_decision(Decision(host, port, allowed, reason))
        except Exception as error:
            raise ConnectionError("the decision cannot be kept") from error

    async def _answer(self, inside: Streams) -> None:
        request = await self._request(inside[0])
        try:
            rule = self.rules.find(request.host, request.port)
            if rule is None:
                raise Refusal(f"not allowed; allowed: {', '.join(self.rules.texts()) or 'nothing'}")
            outside = await self._reach(rule, request)
            with contextlib.closing(outside[1]):
                first = request.head or await self._open_tunnel(inside, request)
                self._tell(request.host, request.port, True, f"allowed by {rule}")
                outside[1].write(first)
                await self._carry_both(inside, outside, None if request.tunnel else request.body_bytes)
        except Refusal as refusal:
            raise Refusal(refusal.reason, refusal.status, request.host, request.port) from None

    async def _request(self, reader: asyncio.StreamReader) -> Request:
        try:
            async with asyncio.timeout(self._bounds.head_s):
                return parse_head(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            raise Refusal(f"a head of more than {HEAD_BYTES} bytes", 431) from None
        except TimeoutError:
            raise Refusal("no request came", 408) from None

    async def _reach(self, rule: Rule, request: Request) -> Streams:
        """A connection to the host, by an address that was judged."""
        failure: object = "it has no address"
        for address in await self._addresses(rule, request):
            try:
                async with asyncio.timeout(self._bounds.connect_s):
                    return await self._connect(address, request.port)
            except OSError as error:
                failure = str(error) or "it takes too long"
        raise Refusal(f"allowed by {rule}, but it cannot be reached: {failure}", _UNREACHABLE)

    async def _addresses(self, rule: Rule, request: Request) -> list[str]:
        """The addresses that may be connected to: judged, unless the person named the address itself."""
        if rule.literal:
            return [request.host]
        found: Sequence[str] = [request.host]
        if not is_literal(request.host):
            try:
                async with asyncio.timeout(self._bounds.resolve_s):
                    found = await self._resolve(request.host, request.port)
            except (OSError, UnicodeError) as error:
                reason = f"allowed by {rule}, but it cannot be found: {str(error) or 'it takes too long'}"
                raise Refusal(reason, _UNREACHABLE) from None
        faults = {address: self._fault(address, request.port) for address in found[:_ADDRESSES]}
        fit = [address for address, fault in faults.items() if fault is None]
        if faults and not fit:
            told = ", ".join(f"{address} ({fault})" for address, fault in faults.items())
            raise Refusal(f"it is at {told[:300]}; only a rule that names the address itself allows that")
        return fit

    def _fault(self, address: str, port: int) -> str | None:
        """Why a name may not lead there; None when it may, or a rule names the address as well."""
        rule = self.rules.find(address, port)
        return None if rule and rule.literal else network.unfit(address) or _own(address)

    # --- tunnels -------------------------------------------------------------------------------------------

    async def _open_tunnel(self, inside: Streams, request: Request) -> bytes:
        """Say yes to CONNECT. Gives the first bytes for the server: a judged ClientHello, or none."""
        inside[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await inside[1].drain()
        if request.port not in self._tls_ports:
            return b""
        try:
            async with asyncio.timeout(self._bounds.head_s):
                raw, message = await _read_hello(inside[0])
            check_name(request.host, hello.server_name(message))
        except (HelloError, EOFError, TimeoutError) as error:
            reason = str(error) if isinstance(error, HelloError) else "no TLS begins here"
            self._tell(request.host, request.port, False, reason)
            raise HelloError(reason) from None
        return raw

    async def _carry_both(self, inside: Streams, outside: Streams, body_bytes: int | None) -> None:
        """Carry bytes until both sides are done (of a plain request, the server), or all is idle."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.idle_s) as idle:
                alive = functools.partial(_put_off, idle, self._bounds.idle_s)
                try:
                    async with asyncio.TaskGroup() as both:
                        outward = both.create_task(_carry(inside[0], outside[1], alive, body_bytes))
                        await both.create_task(_carry(outside[0], inside[1], alive))
                        if body_bytes is not None:
                            outward.cancel()
                except* OSError:
                    pass  # one side is gone, and so is the connection


def check_name(host: str, name: str | None) -> None:
    """Raises HelloError unless TLS names the host of the tunnel. An IP address is never named (RFC 6066)."""
    if name is None:
        if is_literal(host):
            return
        raise HelloError("TLS without a server name")
    try:
        same = normal_host(name) == host
    except HostError:
        same = False
    if not same:
        raise HelloError(f"TLS names another server: {ascii(name[:100])[1:-1]}")


async def _read_hello(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """(the records as they came, the message in them) of a ClientHello; raises HelloError, EOFError."""
    raw, message = b"", b""
    while not hello.is_whole(message):
        header = await reader.readexactly(hello.RECORD_HEADER)
        payload = await reader.readexactly(hello.record_length(header))
        raw += header + payload
        message += payload
    return raw, message


def _put_off(idle: asyncio.Timeout, seconds: float) -> None:
    if not idle.expired():
        idle.reschedule(asyncio.get_running_loop().time() + seconds)


async def _carry(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    alive: Callable[[], None],
    left: int | None = None,
) -> None:
    """Carry bytes to the source's end, or `left` of them; the end too is carried, but for a counted body."""
    while left is None or left > 0:
        data = await source.read(_BLOCK if left is None else min(left, _BLOCK))
        if not data:
            break
        alive()
        target.write(data)
        await target.drain()
        alive()
        left = None if left is None else left - len(data)
    if left is None and target.can_write_eof():
        target.write_eof()


def _own(address: str) -> str | None:
    """This machine's own addresses are no way around: packets to them would come from them."""
    found = ip_address(address)
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((address, 9))  # of a datagram socket: nothing is sent
        if ip_address(probe.getsockname()[0]) == found:
            return "of this machine"
    return None


def _refused(refusal: Refusal) -> bytes:
    place = authority(refusal.host, refusal.port) if refusal.port else refusal.host
    text = f"pawl: {place}: {refusal.reason}\n".encode("ascii", "backslashreplace")
    status = f"{refusal.status} {http.HTTPStatus(refusal.status).phrase}".encode()
    head = b"HTTP/1.1 " + status + b"\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(text) + text
