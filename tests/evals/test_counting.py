"""The recording proxy: what goes through it is unchanged, and what was asked for and told is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from agent.messages import ToolCall, Usage
from agent.models.base import ModelUnreachable
from evals.counting import Counter, told_in
from tests.support.model_server import Answer, Body, ModelServer, error, refused_url
from tests.support.spoken import all_spoken

pytestmark = pytest.mark.anyio

TEXT = "Grüße \U0001f527 " * 40
WHERE = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini": "/v1beta/models/m:streamGenerateContent?alt=sse",
}
ASKED: dict[str, Body] = {
    "openai_chat": {"messages": [{"role": "user", "content": "hi"}], "stream": True},
    "openai_responses": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
    "anthropic_messages": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    },
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


@asynccontextmanager
async def counted(url: str) -> AsyncIterator[tuple[Counter, httpx.AsyncClient]]:
    async with httpx.AsyncClient(trust_env=False) as client, Counter(url) as counter:
        yield counter, client


@pytest.mark.parametrize("wire", sorted(all_spoken()))
async def test_every_wire_is_passed_on_byte_for_byte_and_counted(wire: str) -> None:
    answer = Answer(TEXT, tool_calls=(ToolCall("c1", "read", '{"path": "b"}'),), write_bytes=7)
    async with (
        ModelServer([answer] * 2, api_key="key-12345") as server,
        counted(server.root) as (counter, client),
    ):
        key = {
            all_spoken()[wire].KEY_HEADER: "Bearer key-12345" if wire.startswith("openai") else "key-12345"
        }
        for number in (1, 2):
            got = await client.post(counter.base_url + WHERE[wire], json=ASKED[wire], headers=key)
            assert got.status_code == 200
            assert got.content == all_spoken()[wire].event_stream(answer)
            assert counter.usage == Usage(100 * number, 90 * number, 5 * number, number)
        assert (counter.untold, counter.failures) == (0, [])
        assert server.requests[0].headers["host"] == server.root.removeprefix("http://")


@pytest.mark.parametrize("wire", sorted(all_spoken()))
async def test_the_agent_need_not_know_the_key(wire: str) -> None:
    async with (
        ModelServer(["a"], api_key="key-12345") as server,
        httpx.AsyncClient(trust_env=False) as client,
        Counter(server.root, api_key="key-12345") as counter,
    ):
        wrong = {"authorization": "Bearer none", "x-api-key": "none", "x-goog-api-key": "none"}
        got = await client.post(counter.base_url + WHERE[wire], json=ASKED[wire], headers=wrong)
        assert (got.status_code, counter.fault) == (200, None)
        assert "none" not in server.requests[0].headers.values()


async def test_a_stream_comes_piece_by_piece_and_its_end_is_told() -> None:
    stream = all_spoken()["openai_chat"].event_stream(Answer(TEXT))
    async with (
        ModelServer([Answer(TEXT, stall_at=200), Answer(TEXT, cut_at=300)]) as server,
        counted(server.base_url) as (counter, client),
    ):
        url = f"{counter.base_url}/chat/completions"
        async with client.stream("POST", url, json=ASKED["openai_chat"]) as got:
            came = b""
            async with asyncio.timeout(5):
                async for piece in got.aiter_raw():
                    came += piece
                    if len(came) >= 200:
                        break
        assert came == stream[:200]
        await server.left.wait()
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(url, json=ASKED["openai_chat"])
        assert counter.untold == 2
        assert counter.usage.requests == 2


async def test_a_stream_is_asked_to_tell_its_usage_and_nothing_else_changes() -> None:
    async with ModelServer(["a", "b"]) as server, counted(server.base_url) as (counter, client):
        options: Body
        for options in ({}, {"stream_options": {"include_usage": True}}):
            await client.post(
                f"{counter.base_url}/chat/completions", json={**ASKED["openai_chat"], **options}
            )
        first, second = (request.body for request in server.requests)
        assert first == second == {**ASKED["openai_chat"], "stream_options": {"include_usage": True}}


async def test_errors_and_lists_are_passed_on_and_not_counted_as_requests() -> None:
    script = [error(503, "busy", retry_after="7"), Answer(body=b'{"no": "usage"}')]
    async with ModelServer(script) as server, counted(server.base_url) as (counter, client):
        assert (await client.get(f"{counter.base_url}/models")).json()["data"][0]["id"] == "m"
        got = await client.post(f"{counter.base_url}/chat/completions", json=ASKED["openai_chat"])
        assert (got.status_code, got.headers["retry-after"], counter.failures) == (503, "7", [503])
        assert counter.usage == Usage()
        await client.post(f"{counter.base_url}/chat/completions", json=ASKED["openai_chat"])
        assert (counter.usage, counter.untold) == (Usage(requests=1), 1)


async def test_a_server_that_is_not_there_is_a_502_that_says_so() -> None:
    async with counted(refused_url()) as (counter, client):
        got = await client.post(f"{counter.base_url}/chat/completions", json=ASKED["openai_chat"])
        assert got.status_code == 502
        assert "cannot be reached" in got.json()["error"]["message"]
        assert (counter.failures, type(counter.fault)) == ([502], ModelUnreachable)
        assert not counter.hopeless.is_set()


async def test_what_is_no_http_ends_its_connection_alone() -> None:
    async with ModelServer(["a"]) as server, counted(server.base_url) as (counter, client):
        for junk in (b"\x16\x03\x01 hello\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9e9\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", counter.port)
            writer.write(junk)
            assert await reader.read() == b""
            writer.close()
        got = await client.post(f"{counter.base_url}/chat/completions", json=ASKED["openai_chat"])
        assert got.status_code == 200


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"usage": {"prompt_tokens": 7, "completion_tokens": 2}}', {"input": 7, "output": 2}),
        (
            '{"message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 4}}}',
            {"input": 7, "cached": 4},
        ),
        ('{"usage": null}', {}),
        ('{"usage": [1]}', {}),
        ("[1]", {}),
    ],
)
def test_what_an_object_tells(said: str, told: dict[str, int]) -> None:
    assert told_in(json.loads(said)) == told
