"""The host's side against a peer that lies, falls silent or dies: a real socket, and frames made by hand."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox import client as client_module
from sandbox.base import (
    Caps,
    FileConflict,
    FileError,
    FileMissing,
    FileTooLarge,
    Limits,
    NotRegular,
    PathEscape,
    SandboxDied,
    SandboxError,
    SandboxSpec,
)
from sandbox.client import AgentClient

pytestmark = pytest.mark.anyio

CAPS = Caps(backend="local", network=False, pids=False, memory=False, read_scope=False)
DONE = {
    "event": "done",
    "exit_code": 0,
    "signal": None,
    "timed_out": False,
    "overflow": False,
    "oom": False,
    "head": 0,
    "total": 0,
    "duration_s": 0.1,
    "killed": 0,
    "survivors": 0,
}


class Peer:
    """The other end: reads requests, sends whatever a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.ended = 0

    async def request(self) -> dict[str, Any]:
        header, payload = struct.unpack(">II", await self.reader.readexactly(8))
        request: dict[str, Any] = json.loads(await self.reader.readexactly(header))
        await self.reader.readexactly(payload)
        return request

    async def send(self, header: object, payload: bytes = b"") -> None:
        self.writer.write(frame(header, payload))
        await self.writer.drain()


def frame(header: object, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">II", len(text), len(payload)) + text + payload


@asynccontextmanager
async def connected(limits: Limits) -> AsyncIterator[tuple[AgentClient, Peer]]:
    ours, theirs = socket.socketpair()
    peer = Peer(*await asyncio.open_connection(sock=theirs))

    async def end() -> None:
        peer.ended += 1

    spec = SandboxSpec(tree=Path("/tree"), root="/tree", session="test", limits=limits)
    client = AgentClient(*await asyncio.open_connection(sock=ours), spec, CAPS, end)
    try:
        yield client, peer
    finally:
        await client.aclose()
        peer.writer.close()
        assert peer.ended == 1


@pytest.fixture
async def pair(anyio_backend: str) -> AsyncIterator[tuple[AgentClient, Peer]]:
    async with connected(Limits()) as both:
        yield both


Pair = tuple[AgentClient, Peer]


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        {"id": 1},
        {"event": "done", "id": 1},
        {"event": "stranger", "id": 1},
        {**DONE, "id": 1, "exit_code": "0"},
        {**DONE, "id": 99},
        {**DONE, "id": 0},
        {**DONE, "id": -1},
        {**DONE, "id": 1, "head": 5},
        {**DONE, "id": 1, "head": -5},
        {"event": "answer", "id": 1},
        b"[" * 60_000,
    ],
)
async def test_what_is_no_answer_ends_the_sandbox(pair: Pair, header: object) -> None:
    client, peer = pair
    running = asyncio.create_task(client.run("true"))
    await peer.request()
    await peer.send(header)
    with pytest.raises(SandboxDied):
        await asyncio.wait_for(running, 5)
    with pytest.raises(SandboxDied):
        await client.run("true")


@pytest.mark.parametrize("lengths", [(64 * 1024 + 1, 0), (10, 48 * 1024 * 1024 + 1), (2**32 - 1, 2**32 - 1)])
async def test_a_frame_that_is_too_large_is_not_taken(pair: Pair, lengths: tuple[int, int]) -> None:
    client, peer = pair
    running = asyncio.create_task(client.run("true"))
    await peer.request()
    peer.writer.write(struct.pack(">II", *lengths))
    with pytest.raises(SandboxDied, match="too large"):
        await asyncio.wait_for(running, 5)


async def test_all_calls_fail_when_the_peer_goes(pair: Pair) -> None:
    client, peer = pair
    calls = [asyncio.create_task(c) for c in (client.run("true"), client.run("sleep 1"))]
    reading = asyncio.create_task(client.read("x"))
    for _ in range(3):
        await peer.request()
    peer.writer.close()
    results = await asyncio.wait_for(asyncio.gather(*calls, reading, return_exceptions=True), 5)
    assert [type(result) for result in results] == [SandboxDied] * 3


async def test_output_comes_before_the_end(pair: Pair) -> None:
    client, peer = pair
    heard: list[bytes] = []
    running = asyncio.create_task(client.run("true", on_output=heard.append))
    number = (await peer.request())["id"]
    await peer.send({"event": "output", "id": number}, b"one")
    await peer.send({"event": "output", "id": number}, b"two")
    await peer.send({**DONE, "id": number, "head": 3, "total": 10, "exit_code": 3}, b"onewo")
    done = await running
    assert heard == [b"one", b"two"]
    assert (done.exit_code, done.head, done.tail, done.total_bytes) == (3, b"one", b"wo", 10)


@pytest.mark.parametrize("kind", [FileError, PathEscape, FileMissing, NotRegular, FileConflict, FileTooLarge])
async def test_refusals_have_their_type_and_path(pair: Pair, kind: type[FileError]) -> None:
    client, peer = pair
    reading = asyncio.create_task(client.read("a/b.txt"))
    number = (await peer.request())["id"]
    await peer.send({"event": "failure", "id": number, "kind": kind.__name__, "message": "because"})
    with pytest.raises(kind) as caught:
        await reading
    assert type(caught.value) is kind
    assert (caught.value.path, str(caught.value)) == ("a/b.txt", "a/b.txt: because")


async def test_an_unknown_failure_is_the_sandboxs(pair: Pair) -> None:
    client, peer = pair
    reading = asyncio.create_task(client.read("x"))
    number = (await peer.request())["id"]
    await peer.send({"event": "failure", "id": number, "kind": "SystemExit", "message": "odd"})
    with pytest.raises(SandboxError, match="odd") as caught:
        await reading
    assert type(caught.value) is SandboxError


@pytest.mark.parametrize("rows", [b"", b"{}", b"[[1]]", b'[["a","file",1,2,3,4]]', b'[["a","door",1,2,3]]'])
async def test_a_broken_list_ends_the_sandbox(pair: Pair, rows: bytes) -> None:
    client, peer = pair
    listing = asyncio.create_task(client.list())
    number = (await peer.request())["id"]
    await peer.send({"event": "answer", "id": number}, rows)
    if rows == b"{}":
        assert await listing == []
        return
    with pytest.raises(SandboxDied, match="broken list"):
        await listing


@pytest.mark.parametrize(
    ("call", "payload"),
    [
        (lambda client: client.resolve("a"), b"[]"),
        (lambda client: client.resolve("a"), b'[["a","file"],["b","file"]]'),
        (lambda client: client.resolve("a"), b'[["a","door"]]'),
        (lambda client: client.heads(["a", "b"], 9), b""),
        (lambda client: client.heads(["a", "b"], 9), b"[1]\nx"),
        (lambda client: client.heads(["a", "b"], 9), b"[2,-1]\nx"),
        (lambda client: client.heads(["a", "b"], 9), b"[-1,2]\nx"),
        (lambda client: client.heads(["a", "b"], 9), b"[1,1]\nx"),
        (lambda client: client.heads(["a", "b"], 9), b"[1,null]\nxy"),
        (lambda client: client.heads(["a", "b"], 9), b'["x",null]\nx'),
    ],
)
async def test_other_answers_about_paths_end_the_sandbox(
    pair: Pair, call: Callable[[AgentClient], Coroutine[Any, Any, object]], payload: bytes
) -> None:
    client, peer = pair
    asking = asyncio.create_task(call(client))
    await peer.send({"event": "answer", "id": (await peer.request())["id"]}, payload)
    with pytest.raises(SandboxDied, match="the sandbox was ended"):
        await asking


async def test_a_cancelled_call_waits_until_the_command_is_dead(pair: Pair) -> None:
    client, peer = pair
    running = asyncio.create_task(client.run("sleep 100"))
    number = (await peer.request())["id"]
    running.cancel()
    cancel = await peer.request()
    assert (cancel["op"], cancel["target"]) == ("cancel", number)
    assert not running.done()
    await peer.send({**DONE, "id": number, "exit_code": None, "signal": 9})
    with pytest.raises(asyncio.CancelledError):
        await running
    await peer.send({**DONE, "id": number})  # once more, too late: ignored
    again = asyncio.create_task(client.run("true"))
    await peer.send({**DONE, "id": (await peer.request())["id"]})
    assert (await again).ok


async def test_a_silent_peer_is_ended_by_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_WATCHDOG_S", 0.05)
    monkeypatch.setattr(client_module, "_SECOND_LOOK_S", 0.05)
    async with connected(Limits(timeout_s=0.05, grace_s=0.05)) as (client, peer):
        running = asyncio.create_task(client.run("true"))
        await peer.request()
        with pytest.raises(SandboxDied, match="no answer"):
            await asyncio.wait_for(running, 5)


async def test_an_answer_that_came_while_pawl_was_stopped_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_WATCHDOG_S", 0.0)
    async with connected(Limits(timeout_s=0.1, grace_s=0.0)) as (client, peer):
        running = asyncio.create_task(client.run("true"))
        number = (await peer.request())["id"]
        time.sleep(0.3)  # noqa: ASYNC251  (as if the whole process had been stopped)
        peer.writer.write(frame({**DONE, "id": number, "head": 1_000_000}, bytes(1_000_000)))
        assert (await running).head == bytes(1_000_000)


async def test_what_cannot_be_sent_is_refused_and_harms_nothing(pair: Pair) -> None:
    client, peer = pair
    with pytest.raises(ValueError, match="empty"):
        await client.run([])
    with pytest.raises(ValueError, match="at most"):
        await client.run("true", stdin=bytes(48 * 1024 * 1024 + 1))
    with pytest.raises(ValueError, match="at most"):
        await client.run(["echo", *["x" * 100_000] * 50])
    with pytest.raises(FileTooLarge):
        await client.write("x", bytes(16 * 1024 * 1024 + 1))
    running = asyncio.create_task(client.run("true"))
    await peer.send({**DONE, "id": (await peer.request())["id"]})
    assert (await running).ok
