"""A reply whose stream breaks off: gone on from where the server can, else begun anew; never half a call."""

from __future__ import annotations

from typing import Any

import pytest

from agent.messages import Assistant, User
from agent.models.assemble import assemble
from agent.models.base import NO_QUIRKS, ModelUnreachable, Quirks, Request, ToolSpec
from agent.models.providers import LLAMA_CPP
from agent.models.retry import Retries
from agent.models.transport import HttpModel
from tests.support.model_server import Answer, ModelServer, event_stream

pytestmark = pytest.mark.anyio

ASK = (User("Say something."),)
READ = ToolSpec("read", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
TEXT = "Grüße und mehr"
STREAM = event_stream(Answer(TEXT))


async def reply(
    server: ModelServer,
    quirks: Quirks,
    tools: tuple[ToolSpec, ...] = (),
    schema: dict[str, Any] | None = None,
) -> Assistant:
    retries = Retries(attempts=3, base_s=0.001)
    model = HttpModel("test/m", server.base_url, "m", quirks=quirks, retries=retries)
    try:
        deltas = [delta async for delta in model.stream(Request(ASK, tools, output_schema=schema))]
    finally:
        await model.aclose()
    return assemble(deltas, tools)[0]


@pytest.mark.parametrize(
    "cut_at",
    [STREAM.index("ü".encode()) + 1, STREAM.index(b"d me"), STREAM.index(b'"stop"')],
    ids=["in a character", "in JSON", "before the end"],
)
async def test_text_is_gone_on_from(cut_at: int) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        last = body["messages"][-1]
        received = last["content"] if last["role"] == "assistant" else ""
        first = len(server.requests) == 1
        return Answer(TEXT.removeprefix(received), cut_at=cut_at if first else None)

    async with ModelServer(answer, append_only=True, prefill=True) as server:
        message = await reply(server, LLAMA_CPP)
    assert message.text == TEXT
    assert len(server.requests) == 2


async def test_another_server_is_asked_the_same_again() -> None:
    answers: list[Answer | str] = [Answer(TEXT, cut_at=STREAM.index(b"d me")), TEXT]
    async with ModelServer(answers) as server:
        assert (await reply(server, NO_QUIRKS)).text == TEXT
    assert server.requests[0].raw == server.requests[1].raw


async def test_text_that_may_begin_a_call_is_not_gone_on_from() -> None:
    text = '```json\n{"name": "read", "arguments": {"path": "b.py"}}\n```'
    answers: list[Answer | str] = [Answer(text, cut_at=event_stream(Answer(text)).index(b"b.py")), text]
    async with ModelServer(answers) as server:
        message = await reply(server, LLAMA_CPP, (READ,))
    assert server.requests[0].raw == server.requests[1].raw
    assert [call.arguments for call in message.tool_calls] == ['{"path": "b.py"}']


async def test_inside_of_a_schema_it_begins_anew() -> None:
    answers: list[Answer | str] = [Answer(TEXT, cut_at=STREAM.index(b"d me")), TEXT]
    async with ModelServer(answers) as server:
        assert (await reply(server, LLAMA_CPP, schema={"type": "string"})).text == TEXT
    assert server.requests[0].raw == server.requests[1].raw


async def test_a_server_that_reads_may_be_silent_longer_than_one_that_writes() -> None:
    """Its progress is no beginning of the reply: the longer limit still holds behind it."""
    progress = b'data: {"choices": [], "prompt_progress": {"processed": 1, "total": 2}}\n\n'
    slow = Answer(body=progress * 3 + STREAM, stall_at=len(progress) * 3)
    async with ModelServer([slow]) as server:
        model = HttpModel(
            "test/m", server.base_url, "m", first_byte_s=0.3, stall_s=0.01, retries=Retries(attempts=1)
        )
        with pytest.raises(ModelUnreachable, match=r"nothing for 0\.3 s"):
            [delta async for delta in model.stream(Request(ASK))]
        await model.aclose()
