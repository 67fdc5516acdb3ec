from __future__ import annotations

import asyncio

import pytest

from agent.messages import Assistant, ToolCall, User
from agent.models.assemble import Assembler
from agent.models.base import Delta, Finish, Model, ModelUnreachable, Request, TextDelta
from agent.models.scripted import Reply, ScriptedModel, ScriptExhausted

pytestmark = pytest.mark.anyio

ASK = Request((User("Hi"),))


async def collect(model: Model) -> tuple[Assistant, list[Delta]]:
    assembler = Assembler()
    deltas = [delta async for delta in model.stream(ASK)]
    for delta in deltas:
        assembler.add(delta)
    return assembler.message(), deltas


async def test_replies_come_in_order_and_requests_are_kept() -> None:
    call = ToolCall("c1", "read", '{"path": "a.py"}')
    model = ScriptedModel(["Hello there", Reply("I look.", (call,), reasoning="Hm.")])
    assert (await collect(model))[0] == Assistant("Hello there")
    message, deltas = await collect(model)
    assert message == Assistant("I look.", (call,), "Hm.")
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].reason == "tool_calls"
    assert model.requests == [ASK, ASK]


async def test_an_error_comes_at_once_or_after_text() -> None:
    model = ScriptedModel([ModelUnreachable("down"), Reply("Half", error=ModelUnreachable("cut"))])
    with pytest.raises(ModelUnreachable, match="down"):
        await collect(model)
    got: list[Delta] = []
    with pytest.raises(ModelUnreachable, match="cut"):
        async for delta in model.stream(ASK):
            got.append(delta)
    assert got == [TextDelta("Half")]


async def test_a_reply_can_be_held_and_left() -> None:
    begin, end = asyncio.Event(), asyncio.Event()
    model = ScriptedModel([Reply("Hi", wait_for=begin, wait_at_end=end)])
    deltas = model.stream(ASK)
    first = asyncio.ensure_future(anext(deltas))
    await asyncio.sleep(0)
    assert not first.done()
    begin.set()
    assert await first == TextDelta("Hi")
    await deltas.aclose()
    assert model.cancelled == 1


async def test_more_than_was_written_is_a_defect() -> None:
    with pytest.raises(ScriptExhausted, match="holds 0 replies, this is request 1"):
        await collect(ScriptedModel([]))
