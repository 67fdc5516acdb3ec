"""HTTP connections to one model server: httpx, its errors, and its way of being cancelled.

httpx's pool can lose a connection when a request is cancelled, at once or twice (httpx #3782, httpcore #830).
So each client here carries one request at a time: after a clean end it is kept for the next one, after any
other end it is closed, by a task of its own that a second cancellation does not reach.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from typing import cast
from urllib.request import getproxies, proxy_bypass

import httpx

from agent.models.address import is_loopback, shown_address
from agent.models.base import ModelBadReply, ModelError, ModelRefusedRequest, ModelUnreachable
from agent.models.catalog import UnknownModel

CONNECT_S = 10.0
READ_S = 30.0
LOOK_S = 2.0
"""How long to look whether a server speaks the other scheme."""
MAX_IDLE = 4


class WrongEnvironment(ModelError):
    """A variable that says how to reach servers is wrong."""

    exit_code = 2


class Connections:
    """Clients for one server. `headers` go with every request; they may hold a key and are never shown."""

    def __init__(self, base_url: str, headers: dict[str, str]) -> None:
        self._address = shown_address(base_url)
        self._headers = headers
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise UnknownModel(f"{self._address!r} is no address of a model server: {error}") from error
        self._url = url
        self._trust_env = not is_loopback(url.host)
        self._verify: ssl.SSLContext | bool | None = None
        if url.scheme == "http" and not self._trust_env:
            self._verify = False
            """No certificates are involved; loading those of the system takes 30 ms."""
        self._idle: list[httpx.AsyncClient] = []
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, content: bytes = b"", header_s: float
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and give its response once the headers are there, the body unread.

        `header_s`: seconds that the server may take until the headers. Raises ModelUnreachable.
        """
        client = self._idle.pop() if self._idle else self._client()
        try:
            response = await self._send(client, client.build_request(method, url, content=content), header_s)
            try:
                yield response
            finally:
                if not response.is_closed:
                    await self._finally(response.aclose())
        except BaseException:
            await self._finally(client.aclose())
            raise
        if len(self._idle) < MAX_IDLE:
            self._idle.append(client)
        else:
            await self._finally(client.aclose())

    async def _send(
        self, client: httpx.AsyncClient, request: httpx.Request, header_s: float
    ) -> httpx.Response:
        try:
            async with asyncio.timeout(header_s):
                return await client.send(request, stream=True)
        except TimeoutError:
            raise ModelUnreachable(f"{self._address} gave no answer within {header_s:g} s") from None
        except httpx.LocalProtocolError as error:
            raise _translated(error, self._address) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise await self._meaning(error) from error

    async def _meaning(self, error: httpx.HTTPError | httpx.InvalidURL) -> ModelError:
        """What an error before any answer means, after a look whether the scheme is the right one."""
        found = _translated(error, self._address)
        if type(found) is not ModelUnreachable:
            return found
        if proxy := self._proxy():
            through = f"the proxy {proxy} (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY)"
            return ModelUnreachable(f"{found}, and is {through} running?")
        other = "https" if self._url.scheme == "http" else "http"
        # an error without words is a connection that was taken, and closed in the handshake
        refused = isinstance(error, httpx.ConnectTimeout | httpx.ConnectError) and str(error)
        if not refused and await _speaks(other, self._url):
            return UnknownModel(
                f"{self._address} does not speak {self._url.scheme}; write {other}:// in the base URL"
            )
        return found

    def _proxy(self) -> str:
        """The proxy that is asked for this server, without its password; empty if none is."""
        if not self._trust_env or proxy_bypass(self._url.host):
            return ""
        named = getproxies()
        return named.get(self._url.scheme, named.get("all", "")).rpartition("@")[2]

    async def next_chunk(
        self, chunks: AsyncIterator[bytes], stall_s: float, since: float | None = None
    ) -> bytes | None:
        """The next bytes of a body, None at its end. Raises ModelUnreachable when it stalls or breaks.

        `stall_s` counts from `since`, by the loop's clock; from now when None.
        """
        try:
            async with asyncio.timeout_at((since or asyncio.get_running_loop().time()) + stall_s):
                return await anext(chunks, None)
        except TimeoutError:
            raise ModelUnreachable(f"{self._address} sent nothing for {stall_s:g} s") from None
        except httpx.HTTPError as error:
            raise _translated(error, self._address) from error

    def body(self, response: httpx.Response) -> aclosing[AsyncGenerator[bytes, None]]:
        """The response's body in chunks, for `next_chunk`."""
        return aclosing(cast(AsyncGenerator[bytes, None], response.aiter_bytes()))

    async def read(self, response: httpx.Response, limit: int) -> bytes:
        """A short body at once: what comes of it within READ_S, and no more than about `limit` bytes."""
        pieces: list[bytes] = []
        with suppress(ModelUnreachable):
            async with self.body(response) as chunks:
                ends = asyncio.get_running_loop().time() + READ_S
                while sum(map(len, pieces)) < limit:
                    left = ends - asyncio.get_running_loop().time()
                    if not (chunk := await self.next_chunk(chunks, left)):
                        break
                    pieces.append(chunk)
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Close what is idle, and wait for what is being closed."""
        while self._idle:
            await self._finally(self._idle.pop().aclose())
        while self._closing:
            await asyncio.gather(*self._closing)

    def _client(self) -> httpx.AsyncClient:
        if self._verify is None:
            self._verify = _certificates()
        try:
            return httpx.AsyncClient(
                headers=self._headers,
                timeout=httpx.Timeout(None, connect=CONNECT_S),
                trust_env=self._trust_env,
                verify=self._verify,
            )
        except (ImportError, ValueError, httpx.InvalidURL):
            # its words may show the proxy's password
            raise WrongEnvironment(
                f"{_proxies()} cannot be used: a proxy is http://host:port, or socks5://host:port with "
                "`pip install 'httpx[socks]'`"
            ) from None

    async def _finally(self, closing: Coroutine[object, object, None]) -> None:
        """Run this to its end, even when we are cancelled meanwhile."""
        task = asyncio.create_task(_quietly(closing))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        await asyncio.shield(task)


async def _quietly(closing: Coroutine[object, object, None]) -> None:
    with suppress(httpx.HTTPError, OSError):
        await closing


def _translated(error: httpx.HTTPError | httpx.InvalidURL, address: str) -> ModelError:
    """httpx's error as ours. Its own words are kept, for they name the cause."""
    words = str(error) or type(error).__name__
    match error:
        case httpx.ConnectTimeout():
            return ModelUnreachable(f"{address} did not take a connection within {CONNECT_S:g} s")
        case httpx.ConnectError() if "WRONG_VERSION_NUMBER" in words or "record layer" in words.lower():
            return UnknownModel(f"{address} does not speak https; try http:// in the base URL ({words})")
        case httpx.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in words:
            return ModelRefusedRequest(
                f"the certificate of {address} is not trusted here ({words}); "
                "name a file with its CA's certificate in SSL_CERT_FILE"
            )
        case httpx.ConnectError() | httpx.ProxyError():
            return ModelUnreachable(f"nothing answers at {address} ({words}); is the server running?")
        case httpx.DecodingError():
            return ModelBadReply(f"{address} sent a body that cannot be decoded ({words})")
        case httpx.LocalProtocolError():
            # its words may show a header, and so the key
            return ModelRefusedRequest(f"{address} cannot be asked; check the base URL and the key")
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return ModelRefusedRequest(f"{address} cannot be asked ({words}); check the base URL and the key")
        case _:
            return ModelUnreachable(f"the connection to {address} broke ({words})")


def _certificates() -> ssl.SSLContext:
    """Raises WrongEnvironment."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR") or "certificates"
        raise WrongEnvironment(
            f"SSL_CERT_FILE: {named} cannot be read ({error}); name a file of certificates (PEM), or unset it"
        ) from error


async def _speaks(scheme: str, url: httpx.URL) -> bool:
    """Whether the server of this URL takes a TLS handshake, or answers a line of plain HTTP."""
    context = None
    if scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = url.port or (443 if url.scheme == "https" else 80)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(LOOK_S):
            reader, writer = await asyncio.open_connection(url.host, port, ssl=context)
            try:
                if context:
                    return True
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                return (await reader.read(5)).startswith(b"HTTP")
            finally:
                writer.transport.abort()
    return False


def _proxies() -> str:
    """The variables that name proxies, without passwords."""
    named = getproxies()
    schemes = [scheme for scheme in ("all", "http", "https") if scheme in named]
    return ", ".join(f"{scheme.upper()}_PROXY={named[scheme].rpartition('@')[2]}" for scheme in schemes)
