"""A recording proxy in front of a model server: it counts what every agent asks for and gets, all alike.

    async with Counter("http://127.0.0.1:8080/v1") as counter:
        counter.base_url      what the agent is given instead; same path, loopback, a port of its own
        counter.usage         requests, prompt, cached and output tokens so far

With the `Door` of a sandbox it listens there instead, at the port where the sandbox looks for a proxy. So it
is all the network of that sandbox, also for a program that knows of no proxy: what is asked of another host
is refused.

Bodies go through byte for byte, streams piece by piece as they come; when the agent goes away, so does the
request. Tokens are what the server itself tells (Chat Completions, Responses, Messages, Gemini); `untold`
counts the answers that tell nothing. Chat Completions tells in a stream only when asked to
(`stream_options.include_usage`), so that is added where the agent did not: the one change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from agent.messages import Usage
from agent.models.base import ModelAuth, ModelError, ModelQuota
from agent.models.faults import fault
from sandbox.door import Door
from sandbox.outlet import PORT

CONNECT_S = 15.0
CONNECTIONS = 128
"""That an agent may have at once."""
HEAD_BYTES = 64 * 1024
BODY_BYTES = 64 * 1024**2
KEPT_BYTES = 32 * 1024**2
"""Of an answer that is no stream, for its usage; a longer one is untold."""
NAMED = 20
"""Hosts that were asked for in vain."""
_HOPS = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade content-length host expect accept-encoding".split()
)
_KEYS = (b"authorization", b"x-api-key", b"x-goog-api-key")
_PLAIN = (b"accept-encoding", b"identity")
_ASKS = (":generateContent", ":streamGenerateContent")
_PATHS = ("/completions", "/responses", "/messages")


class _Request(msgspec.Struct, frozen=True):
    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    last: bool
    """The client wants the connection closed behind the answer."""
    host: str = ""
    """With its port, as a request to a proxy names it; "" when it is to us."""

    @property
    def asks(self) -> bool:
        """True when it asks a model for text; lists of models are not counted."""
        return self.method == "POST" and self.path.endswith((*_PATHS, *_ASKS))

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def keyed(self, key: str) -> tuple[bytes, bytes]:
        """The header that carries a key on the wire that is spoken here."""
        if self.path.endswith(_ASKS):
            return b"x-goog-api-key", key.encode()
        if "/messages" in self.path:
            return b"x-api-key", key.encode()
        return b"authorization", f"Bearer {key}".encode()


class Counter:
    """See the module. `upstream` is a base URL.

    With `api_key` each request carries it, whatever the agent sent: the agent need not know it. After
    `max_tokens`, prompts and output, everything is refused.
    """

    def __init__(
        self, upstream: str, *, api_key: str = "", max_tokens: int | None = None, door: Door | None = None
    ) -> None:
        parts = urlsplit(upstream)
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path.rstrip("/")
        # how long a model may think is for the agent to say
        self._client = httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(None, connect=CONNECT_S))
        self._key = api_key
        self._door = door
        self._max_tokens = max_tokens
        self._tasks: set[asyncio.Task[None]] = set()
        self.usage = Usage()
        self.untold = 0
        """Requests whose answer said nothing of tokens; the sums are then too small."""
        self.elsewhere: set[str] = set()
        """Hosts that the agent wanted to reach in vain, at most NAMED."""
        self.failures: list[int] = []
        """Status of each answer that was an error; 502 when the server could not be reached."""
        self.fault: ModelError | None = None
        """What the last answer, if it was an error, means; None after a good one. A hopeless one stays."""
        self.hopeless = asyncio.Event()
        """Set when the server refused the key, or its quota is used up: nothing that is asked will do."""

    @property
    def spent(self) -> bool:
        """True when `max_tokens` are used up."""
        used = self.usage.input_tokens + self.usage.output_tokens
        return self._max_tokens is not None and used >= self._max_tokens

    async def __aenter__(self) -> Counter:
        if self._door is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_BYTES)
            self.port: int = self._server.sockets[0].getsockname()[1]
        else:
            listening = self._door.listening
            self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=HEAD_BYTES)
            self.port = PORT
        self._authority = f"127.0.0.1:{self.port}"
        self.base_url = f"http://{self._authority}{self._path}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        await self._client.aclose()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the agent went away, or does not speak HTTP
        except asyncio.CancelledError:
            pass  # the proxy is being closed
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request after the other; a byte is read ahead, to see at once when the agent is gone."""
        ahead = asyncio.create_task(reader.read(1))
        serving: asyncio.Task[None] | None = None
        try:
            while begin := await ahead:
                request = await _read(begin, reader, writer)
                ahead = asyncio.create_task(reader.read(1))
                serving = asyncio.create_task(self._serve(request, writer))
                await asyncio.wait((ahead, serving), return_when=asyncio.FIRST_COMPLETED)
                if not serving.done() and not await ahead:
                    break
                await serving
                if request.last:
                    break
        finally:
            for task in (ahead, serving):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    async def _serve(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        if request.asks and self.spent:
            writer.write(_refusal(403, "the tokens of this unit are used up"))
            return
        if request.host not in ("", self._authority):
            self.elsewhere |= {request.host} if len(self.elsewhere) < NAMED else set()
            writer.write(_refusal(403, "nothing but the model's server can be reached"))
            return
        if request.method == "CONNECT":
            writer.write(b"HTTP/1.1 200 -\r\n\r\n")
            return
        body = _with_usage(request)
        headers = [*request.headers, _PLAIN]
        if self._key:
            headers = [*(field for field in headers if field[0] not in _KEYS), request.keyed(self._key)]
        tally = _Tally()
        status = 0  # stays so when the agent does not wait for an answer: asked for, and untold
        begun = False
        try:
            async with self._client.stream(
                request.method, self._root + request.target, headers=headers, content=body
            ) as answer:
                status = answer.status_code
                writer.write(_head(answer))
                begun = True
                async for piece in answer.aiter_raw():
                    tally.feed(piece)
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
                    await writer.drain()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except httpx.HTTPError as error:
            if begun:
                raise ConnectionError("the server broke off") from error
            status = 502
            writer.write(_refusal(502, f"the model server cannot be reached: {error}"))
        finally:
            if request.asks:
                self._count(status, tally)

    def _count(self, status: int, tally: _Tally) -> None:
        if status >= 400:
            self._fail(status, tally.text)
            return
        if not self.hopeless.is_set():
            self.fault = None
        found = tally.usage()
        self.untold += found is None
        self.usage += msgspec.structs.replace(found or Usage(), requests=1)

    def _fail(self, status: int, said: str) -> None:
        self.failures.append(status)
        if self.hopeless.is_set():
            return
        self.fault = fault(status, said, address=self._root, model="the model", secrets=(self._key,))
        if isinstance(self.fault, ModelAuth | ModelQuota):
            self.hopeless.set()


async def _read(begin: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Request:
    """The request that begins with that byte. Raises ValueError for what is no HTTP."""
    head = begin + await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    method, target, _ = first.decode("ascii").split(" ")
    pairs = [line.partition(b":") for line in lines]
    fields = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
    named = dict(fields)
    if named.get(b"expect", b"").lower() == b"100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if b"chunked" in named.get(b"transfer-encoding", b""):
        body = b"".join([piece async for piece in _chunks(reader)])
    else:
        body = await reader.readexactly(_bounded(int(named.get(b"content-length", b"0"))))
    host = target if method == "CONNECT" else ""
    if target.startswith("http://"):
        split = urlsplit(target)
        host, target = split.netloc, split.path + (f"?{split.query}" if split.query else "")
    passed = tuple(field for field in fields if field[0] not in _HOPS)
    last = named.get(b"connection", b"").lower() == b"close" and method != "CONNECT"
    return _Request(method, target, passed, body, last, host)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    total = 0
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        total = _bounded(total + size)
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readuntil(b"\r\n")) != b"\r\n":
        pass


def _bounded(size: int) -> int:
    if not 0 <= size <= BODY_BYTES:
        raise ValueError("a body of an impossible size")
    return size


def _head(answer: httpx.Response) -> bytes:
    kept = [(name, value) for name, value in answer.headers.raw if name.lower() not in _HOPS]
    lines = b"".join(b"%b: %b\r\n" % field for field in kept)
    return b"HTTP/1.1 %d -\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (answer.status_code, lines)


def _refusal(status: int, text: str) -> bytes:
    body = msgspec.json.encode({"error": {"message": text, "type": "refused"}})
    head = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _with_usage(request: _Request) -> bytes:
    """The body, of a Chat Completions stream with the wish to hear of the usage."""
    if not request.path.endswith("/completions"):
        return request.body
    with contextlib.suppress(msgspec.DecodeError):
        asked = msgspec.json.decode(request.body, type=dict[str, Any])
        options = asked.get("stream_options") or {}
        if asked.get("stream") and isinstance(options, dict) and not options.get("include_usage"):
            return msgspec.json.encode({**asked, "stream_options": {**options, "include_usage": True}})
    return request.body


class _Tally:
    """Looks for the usage in an answer as it passes: one JSON object, or server-sent events."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._whole = bytearray()
        self._told: dict[str, int] = {}

    def feed(self, piece: bytes) -> None:
        if len(self._whole) < KEPT_BYTES:
            self._whole += piece
        self._line += piece
        *lines, rest = bytes(self._line).split(b"\n")
        self._line = bytearray(rest[-KEPT_BYTES:])
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line[5:])

    @property
    def text(self) -> str:
        return self._whole.decode("utf-8", "replace")

    def usage(self) -> Usage | None:
        """What was told; in a stream the last figures count, for some servers repeat and raise them."""
        if self._line.startswith(b"data:"):
            self._take(bytes(self._line[5:]))
        if not self._told:
            self._take(bytes(self._whole))
        if not self._told:
            return None
        return Usage(self._told.get("input", 0), self._told.get("cached", 0), self._told.get("output", 0))

    def _take(self, text: bytes) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            self._told |= told_in(msgspec.json.decode(text))


def told_in(said: object) -> dict[str, int]:
    """Prompt (`input`, cached ones among them), `cached` and `output` tokens that an object tells of."""
    if not isinstance(said, dict):
        return {}
    if gemini := said.get("usageMetadata"):
        return _numbers(
            gemini,
            input=("promptTokenCount",),
            cached=("cachedContentTokenCount",),
            output=("candidatesTokenCount", "thoughtsTokenCount"),
        )
    for holder in (said, said.get("response"), said.get("message")):
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            return _openai(usage) if _is_openai(usage) else _anthropic(usage)
    return {}


def _is_openai(usage: dict[str, Any]) -> bool:
    return not {"prompt_tokens", "total_tokens", "input_tokens_details"}.isdisjoint(usage)


def _openai(usage: dict[str, Any]) -> dict[str, int]:
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    told = _numbers(
        usage, input=("prompt_tokens", "input_tokens"), output=("completion_tokens", "output_tokens")
    )
    return told | _numbers(details, cached=("cached_tokens",))


def _anthropic(usage: dict[str, Any]) -> dict[str, int]:
    """Messages counts what came from the cache, and what went there, beside its `input_tokens`."""
    kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return _numbers(usage, input=kinds, cached=("cache_read_input_tokens",), output=("output_tokens",))


def _numbers(said: object, **wanted: tuple[str, ...]) -> dict[str, int]:
    """For each name the sum of the fields that are numbers; names without any are left out."""
    if not isinstance(said, dict):
        return {}
    found = {
        name: [said[key] for key in keys if isinstance(said.get(key), int)] for name, keys in wanted.items()
    }
    return {name: sum(numbers) for name, numbers in found.items() if numbers}
