"""A real HTTP/1.1 server on loopback that speaks every wire, streamed, from a script, faults included.

    async with ModelServer([Answer("hello"), Answer(status=503)], api_key="k") as server:
        model = HttpModel("m", server.base_url, "m", "k")

Every request is checked (`violations`); leaving the block fails on the first one that broke a rule.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec

from tests.support.answers import USAGE, Answer, Body, error
from tests.support.spoken import Spoken, all_spoken, broken_rules, extends, history, openai_chat, spoken_at
from tests.support.spoken.openai_chat import event_stream

__all__ = ["USAGE", "Answer", "Body", "ModelServer", "Received", "error", "event_stream", "violations"]

LLAMA_CPP_PROPS: Body = {"total_slots": 4, "default_generation_settings": {"n_ctx": 8192}}


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def spoken(self) -> Spoken:
        return spoken_at(self.path) or openai_chat

    @property
    def body(self) -> Body:
        return msgspec.json.decode(self.raw, type=Body)

    @property
    def raw_messages(self) -> bytes:
        """The bytes of the messages array."""
        return history(self.spoken, self.raw)


def refused_url() -> str:
    """A base URL on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def violations(
    received: Received,
    secrets: Iterable[str] = (),
    previous: Received | None = None,
    *,
    prefill: bool = False,
) -> list[str]:
    """What is wrong with a request. `previous` is the one that this one must extend, byte for byte."""
    found = [f"the secret {secret!r} is in the body" for secret in secrets if secret.encode() in received.raw]
    if previous and not extends(received.spoken, previous.raw, received.raw):
        found.append("the messages do not extend those of the request before")
    try:
        return found + broken_rules(received.spoken, received.body, prefill=prefill)
    except (AssertionError, KeyError) as broken:
        return [*found, f"{type(broken).__name__}: {broken}"]


class ModelServer:
    """Answers completion N with answer N, a plain string being an answer of that text, or by a function.

    With `append_only`, each completion must extend the one before it; with `prefill` it may end in a message
    of the assistant's. A wrong key gets a 401. `pages` are further JSON pages by path, or
    functions of what is posted to them.
    """

    def __init__(
        self,
        answers: Iterable[Answer | str] | Callable[[Body], Answer | str],
        *,
        api_key: str | None = None,
        secrets: Iterable[str] = (),
        append_only: bool = False,
        prefill: bool = False,
        tls: ssl.SSLContext | None = None,
        models: Iterable[Mapping[str, Any]] = ({"id": "m", "owned_by": "llamacpp"},),
        props: Mapping[str, Any] | None = None,
        pages: Mapping[str, Any] | None = None,
    ) -> None:
        self._answer_to = answers if callable(answers) else None
        self._answers = [] if callable(answers) else list(answers)
        self._api_key = api_key
        self._secrets = (*secrets, *([api_key] if api_key else ()))
        self._append_only = append_only
        self._prefill = prefill
        self._tls = tls
        listed = {"object": "list", "data": list(models)}
        self._pages = {"/v1/models": listed, "/v1beta/models": listed, "/props": props, **(pages or {})}
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[Received] = []
        """The completions that were asked for."""
        self.violations: list[str] = []
        self.connections = 0
        self.came = asyncio.Event()
        """Set by each completion that is asked for."""
        self.left = asyncio.Event()
        """Set once a client has gone away in the middle of an answer."""

    async def __aenter__(self) -> ModelServer:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.root = (
            f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        )
        self.base_url = f"{self.root}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        if error is None:
            assert not self.violations, "\n".join(self.violations)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while received := await _read_request(reader, writer):
                if not await self._respond(received, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        except asyncio.CancelledError:
            pass  # the server is being closed
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _respond(
        self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; False when the connection is over."""
        spoken = received.spoken
        page = self._pages.get(received.path)
        speakers = all_spoken().values() if page else [spoken]
        given = {received.headers.get(one.KEY_HEADER, "").removeprefix("Bearer ") for one in speakers}
        if self._api_key and self._api_key not in given:
            answer = error(401, "Invalid API Key", "authentication_error")
        elif spoken_at(received.path):
            answer = self._next(received)
        elif page:
            shown = page(received.body) if callable(page) else page
            answer = Answer(body=json.dumps(shown).encode(), content_type="application/json")
        else:
            answer = error(404, "File Not Found", "not_found_error")
        return await _Sender(reader, writer, self.left).send(answer, spoken)

    def _next(self, received: Received) -> Answer:
        number = len(self.requests)
        previous = self.requests[-1] if self.requests and self._append_only else None
        self.requests.append(received)
        self.came.set()
        self.violations += [
            f"request {number + 1}: {broken}"
            for broken in violations(received, self._secrets, previous, prefill=self._prefill)
        ]
        if self._answer_to:
            answer = self._answer_to(received.body)
        elif number < len(self._answers):
            answer = self._answers[number]
        else:
            self.violations.append(f"request {number + 1}: the script holds {len(self._answers)} answers")
            answer = error(400, "the script is at its end")
        return Answer(answer) if isinstance(answer, str) else answer


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Received | None:
    """The next request of a connection; None at its end, or when it does not speak HTTP."""
    begin = await reader.read(1)
    if not begin.isalpha():
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" if begin else b"")
        return None
    head = begin + await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, raw)


class _Sender:
    """Writes one answer, with its faults."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: asyncio.Event
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._left = left

    async def send(self, answer: Answer, spoken: Spoken) -> bool:
        if answer.wait_for and not await self._or_left(answer.wait_for):
            return False
        if answer.reset:
            linger = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        head = {"content-type": answer.content_type, "transfer-encoding": "chunked", **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self._writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{lines}\r\n".encode())
        body = spoken.event_stream(answer) if answer.body is None else answer.body
        if answer.problem:
            body = json.dumps(spoken.error_body(answer.status, *answer.problem)).encode()
        sent = body[: answer.cut_at][: answer.stall_at]
        for at in range(0, len(sent), answer.write_bytes):
            piece = sent[at : at + answer.write_bytes]
            self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self._writer.drain()
            await asyncio.sleep(0)
        if answer.stall_at is not None:
            beat = asyncio.create_task(self._beat(answer.pulse))
            try:
                await self._or_left(asyncio.Event())
            finally:
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)
            return False
        if answer.cut_at is not None:
            self._writer.close()
            await self._writer.wait_closed()
            return False
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return True

    async def _beat(self, pulse: bytes) -> None:
        while pulse:
            self._writer.write(b"%x\r\n%b\r\n" % (len(pulse), pulse))
            await self._writer.drain()
            await asyncio.sleep(0.02)

    async def _or_left(self, event: asyncio.Event) -> bool:
        """Wait for the event; False when the client went away first."""
        gone = asyncio.create_task(self._reader.read(1))
        come = asyncio.create_task(event.wait())
        try:
            await asyncio.wait((gone, come), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, come):
                task.cancel()
            await asyncio.gather(gone, come, return_exceptions=True)
        if event.is_set():
            return True
        self._left.set()
        return False
