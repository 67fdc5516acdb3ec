"""Each wire that llama.cpp's server speaks, against the real one."""

from __future__ import annotations

import pytest

from agent.messages import Assistant, Image, Message, System, ToolCall, ToolResult, User
from agent.models.assemble import assemble
from agent.models.base import (
    ContextOverflow,
    Finish,
    ModelRefusedRequest,
    PromptProgress,
    Request,
    ToolSpec,
)
from agent.models.catalog import find
from agent.models.local import RETRIES, LocalServer, ServerSettings
from agent.models.providers import LLAMA_CPP
from agent.models.transport import HttpModel
from agent.models.weights import location
from agent.paths import cache_dir

pytestmark = [pytest.mark.anyio, pytest.mark.model]

WIRES = ("openai_chat", "openai_responses", "anthropic_messages")
READ = ToolSpec(
    "read",
    "Read a file.",
    {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)
FIRST: tuple[Message, ...] = (System("You are a coder."), User("Read a.py and say what x is. " * 8))
CALL = ToolCall("c1", "read", '{"path": "a.py"}')
PIXEL = Image("image/png", b"\x89PNG\r\n\x1a\n")


async def reply(model: HttpModel, messages: tuple[Message, ...], slot: int) -> tuple[Assistant, Finish, bool]:
    request = Request(messages, (READ,), temperature=0.0, max_tokens=6, slot=slot)
    deltas = [delta async for delta in model.stream(request)]
    message, finish = assemble(deltas)
    assert finish is not None
    return message, finish, any(isinstance(delta, PromptProgress) for delta in deltas)


async def test_every_wire_streams_caches_and_says_what_is_wrong() -> None:
    weights = find("smollm2-135m").weights
    assert weights
    settings = ServerSettings(slots=len(WIRES), context_tokens=2048)
    async with LocalServer.start(location(weights, cache_dir()), settings) as server:
        for slot, wire in enumerate(WIRES):
            model = HttpModel(
                "local/m", server.base_url, server.model, server.api_key, wire=wire, quirks=LLAMA_CPP,
                retries=RETRIES,
            )  # fmt: skip
            message, finish, progress = await reply(model, FIRST, slot)
            assert message.text, wire
            assert (finish.reason, finish.usage.output_tokens) == ("length", 6), wire
            assert progress is (wire != "anthropic_messages")

            asked = (*FIRST, Assistant("", (CALL,)), ToolResult("c1", "read", "x = 1"), User("So?"))
            _, after, _ = await reply(model, asked, slot)
            assert after.usage.input_tokens > finish.usage.input_tokens, wire
            assert after.usage.cached_input_tokens > 0.8 * finish.usage.input_tokens, wire

            with pytest.raises(ContextOverflow) as caught:
                await reply(model, (User("word " * 3000),), slot)
            assert (caught.value.limit, (caught.value.needed or 0) > 2048) == (2048, True), wire
            with pytest.raises(ModelRefusedRequest, match="cannot see images"):
                await reply(model, (User("What is this?", (PIXEL,)),), slot)
            await model.aclose()
