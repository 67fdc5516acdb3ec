"""Real exchanges with a model server, written down and played again without it.

A recording is a file of JSON lines, one exchange each: the request's body, the answer's status, content type
and text. Headers are left out, for they carry the key, and the key is struck out of both bodies.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

import msgspec

from agent.models import wire as wires
from agent.models.base import NO_QUIRKS, Delta, Finish, ModelBadReply, ModelError, Quirks, Request
from agent.models.faults import LONG, fault, struck_out
from agent.models.retry import Retries, retried
from agent.models.transport import Reply, going_on, resumable


class Exchange(msgspec.Struct, frozen=True):
    """One line of a recording."""

    name: str
    """The model as it was configured."""
    wire: str
    model: str
    """As the server is told."""
    quirks: Quirks
    request: msgspec.Raw
    status: int
    content_type: str
    answer: str
    digest: str = ""
    """SHA-256 of the body as it was sent, before anything was struck out of it."""


class Recorder:
    """Appends exchanges to a file that only its owner can read. `scrub` strikes out what else is secret.

    Raises CannotRecord, before anything is asked when the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        wire: str,
        model: str,
        quirks: Quirks,
        scrub: Callable[[str], str] = str,
    ) -> None:
        self._path = path
        self._scrub = scrub
        self._head = (name, wire, model, quirks)
        self._append(b"")

    def add(
        self, request: bytes, status: int, content_type: str, answer: bytes, *, secrets: Iterable[str]
    ) -> None:
        """Write one exchange; the secrets are struck out, of a model's words only those that are no words."""
        if status == 200:
            secrets = [secret for secret in secrets if len(secret) >= LONG]
        sent = self._scrub(struck_out(request.decode(), secrets))
        said = self._scrub(struck_out(answer.decode(errors="replace"), secrets))
        exchange = Exchange(
            *self._head, msgspec.Raw(sent.encode()), status, content_type, said, digest(request)
        )
        self._append(msgspec.json.encode(exchange) + b"\n")

    def _append(self, line: bytes) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
                file.write(line)
        except OSError as error:
            raise CannotRecord(
                f"PAWL_RECORD: {self._path} cannot be written: {error.strerror}; name another file"
            ) from error


def digest(request: bytes) -> str:
    return hashlib.sha256(request).hexdigest()


class CannotRecord(ModelError):
    exit_code = 2


class NotRecorded(ModelBadReply):
    """The recording holds no such request."""


class RecordedModel:
    """Answers each request as the recording says, by the wire's own decoder; nothing is sent anywhere.

    A request must be the recorded one byte for byte; equal ones are answered in the order of the recording.
    Faults that the recorded model got over are got over again.
    """

    def __init__(self, path: Path) -> None:
        self.context_tokens: int | None = None
        self._path = path
        self._quirks = NO_QUIRKS
        try:
            lines = path.read_bytes().splitlines()
            self._left = [msgspec.json.decode(line, type=Exchange) for line in lines if line.strip()]
            self.name = self._left[0].name
        except (OSError, msgspec.DecodeError, IndexError) as error:
            raise NotRecorded(f"{path} is no recording of a model: {error}") from error

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Raises NotRecorded, and what the last recorded answer means."""
        failed: list[ModelError] = []

        async def ask(received: str) -> AsyncGenerator[Delta, None]:
            exchange = self._take(going_on(request, received), failed)
            self._quirks = exchange.quirks
            try:
                for delta in self._answered(exchange):
                    yield delta
            except ModelError as error:
                failed.append(error)
                raise

        async with aclosing(
            retried(
                ask,
                Retries(total_s=float("inf")),
                resumable=lambda text: resumable(request, self._quirks, text),
                sleep=lambda _: asyncio.sleep(0),
            )
        ) as deltas:
            async for delta in deltas:
                yield delta

    def _answered(self, exchange: Exchange) -> Iterator[Delta]:
        where = f"the recording {self._path.name}"
        if exchange.status != 200:
            raise fault(exchange.status, exchange.answer, address=where, model=exchange.model)
        reply = Reply(
            wires.load(exchange.wire),
            where,
            lambda status, body: fault(status, body, address=where, model=exchange.model),
        )
        read = reply.whole if exchange.content_type.startswith("application/json") else reply.feed
        yield from read(exchange.answer.encode())
        yield self._named(reply.finish())

    async def aclose(self) -> None:
        """Nothing is open."""

    def _named(self, finish: Finish) -> Finish:
        return msgspec.structs.replace(finish, origin=self.name)

    def _take(self, request: Request, failed: list[ModelError]) -> Exchange:
        """The answer to the request; when none is left, the fault that the recorded model gave up at."""
        for place, exchange in enumerate(self._left):
            wire = wires.load(exchange.wire)
            body = wire.to_wire(request, model=exchange.model, quirks=exchange.quirks, origin=exchange.name)
            asked = msgspec.json.encode(body)
            if asked == bytes(exchange.request) or digest(asked) == exchange.digest:
                return self._left.pop(place)
        if failed:
            raise failed[-1]
        raise NotRecorded(
            f"{self._path} holds no answer to this request ({len(self._left)} exchanges are left); "
            "the prompt, the tools or the settings are not those of the recording"
        )
