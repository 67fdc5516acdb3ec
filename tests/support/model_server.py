"""A real HTTP/1.1 server on loopback that speaks streamed Chat Completions from a script, faults included.

    async with ModelServer([Answer("hello"), Answer(status=503)], api_key="k") as server:
        model = HttpModel("m", server.base_url, "m", "k")

Every request is checked (`violations`); leaving the block fails on the first one that broke a rule.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any

import msgspec

from agent.messages import ToolCall

Body = dict[str, Any]

USAGE: Body = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 90}}
LLAMA_CPP_PROPS: Body = {"total_slots": 4, "default_generation_settings": {"n_ctx": 8192}}


@dataclass(frozen=True)
class Answer:
    """One scripted answer. The defaults are a plain, whole, well-formed stream."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    finish: str | None = None
    """`tool_calls` or `stop` by what the answer holds, when None."""
    usage: Mapping[str, Any] | None = field(default_factory=lambda: USAGE)
    timings: Mapping[str, Any] | None = None
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of the event stream."""
    write_bytes: int = 2**16
    """Bytes of the body per write, each an HTTP chunk of its own."""
    wait_for: asyncio.Event | None = None
    """Nothing is sent until this is set: a slow first byte."""
    stall_at: int | None = None
    """Bytes of the body after which nothing more comes, the connection staying open."""
    cut_at: int | None = None
    """Bytes of the body after which the connection is closed."""
    reset: bool = False
    """Break the connection instead of answering."""
    second_end: bool = False
    """The final events come twice."""


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Body:
        return msgspec.json.decode(self.raw, type=Body)

    @property
    def raw_messages(self) -> bytes:
        """The bytes of the messages array."""
        return bytes(msgspec.json.decode(self.raw, type=dict[str, msgspec.Raw])["messages"])


def error(status: int, message: str, kind: str = "error", **headers: str) -> Answer:
    """An answer as servers word their errors; header names are written with underscores."""
    body = json.dumps({"error": {"message": message, "type": kind, "code": status}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, body=body, content_type="application/json", headers=named)


def refused_url() -> str:
    """A base URL on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def event_stream(answer: Answer) -> bytes:
    """The body of a well-formed streamed answer."""
    deltas: list[Body] = [{"role": "assistant", "content": None}]
    deltas += [{"reasoning_content": piece} for piece in _pieces(answer.reasoning)]
    deltas += [{"content": piece} for piece in _pieces(answer.text)]
    for index, call in enumerate(answer.tool_calls):
        head = {
            "index": index,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        deltas.append({"tool_calls": [head]})
        for piece in _pieces(call.arguments):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    finish = answer.finish or ("tool_calls" if answer.tool_calls else "stop")
    events = [_event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) for delta in deltas]
    end = _event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if answer.usage is not None or answer.timings is not None:
        counts = {"usage": answer.usage, "timings": answer.timings}
        end += _event({"choices": [], **{key: value for key, value in counts.items() if value is not None}})
    end += b"data: [DONE]\n\n"
    return b"".join(events) + end * (2 if answer.second_end else 1)


def _event(data: Body) -> bytes:
    return (
        b"data: "
        + json.dumps({"object": "chat.completion.chunk"} | data, ensure_ascii=False).encode()
        + b"\n\n"
    )


def _pieces(text: str) -> list[str]:
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def violations(
    received: Received, secrets: Iterable[str] = (), previous: Received | None = None
) -> list[str]:
    """What is wrong with a request. `previous` is the one that this one must extend, byte for byte."""
    found = [f"the secret {secret!r} is in the body" for secret in secrets if secret.encode() in received.raw]
    if previous and not received.raw_messages.startswith(previous.raw_messages[:-1]):
        found.append("the messages do not extend those of the request before")
    messages = received.body.get("messages") or []
    roles = [message.get("role") for message in messages]
    if not roles or roles[-1] not in ("user", "tool"):
        found.append(f"the last message must be the user's or a tool's: {roles}")
    if "system" in roles[1:]:
        found.append("a system message may only be the first")
    if any(pair == ("assistant", "assistant") for pair in pairwise(roles)):
        found.append("two assistant messages in a row")
    if strange := set(roles) - {"system", "user", "assistant", "tool"}:
        found.append(f"unknown roles: {strange}")
    found += [f"content is no text: {m}" for m in messages if not isinstance(m.get("content"), str)]
    return found + _call_violations(messages)


def _call_violations(messages: list[Body]) -> list[str]:
    """Each call has a new id, an object as arguments, and exactly one result, right behind its message."""
    found: list[str] = []
    open_ids: list[str] = []
    seen: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message.get("tool_call_id") in open_ids:
                open_ids.remove(message["tool_call_id"])
            else:
                found.append(f"a result without a call: {message.get('tool_call_id')!r}")
            continue
        found += [f"a call without a result: {call_id!r}" for call_id in open_ids]
        calls = message.get("tool_calls") or []
        open_ids = [call["id"] for call in calls]
        found += [f"a call's id is empty or not new: {i!r}" for i in open_ids if not i or i in seen]
        seen.update(open_ids)
        for call in calls:
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                found.append(f"arguments are no object: {call['function']['arguments']!r}")
    return found + [f"a call without a result: {call_id!r}" for call_id in open_ids]


class ModelServer:
    """Answers completion N with answer N, a plain string being an answer of that text, or by a function.

    With `append_only`, each completion must extend the one before it. A wrong key gets a 401.
    """

    def __init__(
        self,
        answers: Iterable[Answer | str] | Callable[[Body], Answer | str],
        *,
        api_key: str | None = None,
        secrets: Iterable[str] = (),
        append_only: bool = False,
        models: Iterable[Mapping[str, Any]] = ({"id": "m", "owned_by": "llamacpp"},),
        props: Mapping[str, Any] | None = None,
    ) -> None:
        self._answer_to = answers if callable(answers) else None
        self._answers = [] if callable(answers) else list(answers)
        self._api_key = api_key
        self._secrets = (*secrets, *([api_key] if api_key else ()))
        self._append_only = append_only
        self._pages = {"/v1/models": {"object": "list", "data": list(models)}, "/props": props}
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
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
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
        if self._api_key and received.headers.get("authorization") != f"Bearer {self._api_key}":
            answer = error(401, "Invalid API Key", "authentication_error")
        elif received.path == "/v1/chat/completions":
            answer = self._next(received)
        elif page := self._pages.get(received.path):
            answer = Answer(body=json.dumps(page).encode(), content_type="application/json")
        else:
            answer = error(404, "File Not Found", "not_found_error")
        return await _Sender(reader, writer, self.left).send(answer)

    def _next(self, received: Received) -> Answer:
        number = len(self.requests)
        previous = self.requests[-1] if self.requests and self._append_only else None
        self.requests.append(received)
        self.came.set()
        self.violations += [
            f"request {number + 1}: {v}" for v in violations(received, self._secrets, previous)
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

    async def send(self, answer: Answer) -> bool:
        if answer.wait_for and not await self._or_left(answer.wait_for):
            return False
        if answer.reset:
            linger = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        head = {"content-type": answer.content_type, "transfer-encoding": "chunked", **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self._writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{lines}\r\n".encode())
        body = event_stream(answer) if answer.body is None else answer.body
        sent = body[: answer.cut_at][: answer.stall_at]
        for at in range(0, len(sent), answer.write_bytes):
            piece = sent[at : at + answer.write_bytes]
            self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self._writer.drain()
            await asyncio.sleep(0)
        if answer.stall_at is not None:
            await self._or_left(asyncio.Event())
            return False
        if answer.cut_at is not None:
            self._writer.close()
            await self._writer.wait_closed()
            return False
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return True

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
