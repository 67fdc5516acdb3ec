"""What every file of `agent/models/wire/` must keep, found by listing the folder."""

from __future__ import annotations

import importlib
from types import ModuleType

import msgspec
import pytest

from agent.messages import Assistant, Message, System, ToolCall, ToolResult, User
from agent.models import wire
from agent.models.base import NO_QUIRKS, Finish, ModelBadReply, Request, ToolSpec

NAMES = wire.names()
TOOL = ToolSpec("read", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
STEPS: tuple[tuple[Message, ...], ...] = (
    (System("You repair code."), User("Fix größe.py \U0001f527.")),
    (
        Assistant("I look.", (ToolCall("c1", "read", '{ "path": "a" }'),)),
        ToolResult("c1", "read", "x\x1b[0m"),
    ),
    (Assistant("Done."), User("Go on.")),
)


@pytest.fixture(params=NAMES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"{wire.__name__}.{request.param}")


def test_there_is_one() -> None:
    assert "openai_chat" in NAMES


def test_it_has_the_two_sides_of_a_wire(module: ModuleType) -> None:
    assert module.__doc__
    assert module.PATH.startswith("/")
    assert callable(module.to_wire)


def test_each_request_extends_the_one_before_byte_for_byte(module: ModuleType) -> None:
    before = b""
    for count in range(1, len(STEPS) + 1):
        messages = tuple(message for step in STEPS[:count] for message in step)
        request = Request(messages, (TOOL,), temperature=0.2, max_tokens=64)
        body = msgspec.json.encode(module.to_wire(request, model="m", quirks=NO_QUIRKS))
        again = msgspec.json.encode(module.to_wire(request, model="m", quirks=NO_QUIRKS))
        assert body == again
        assert body.startswith(before)
        before = body.rstrip(b"]}")


def test_a_reply_that_never_ends_is_no_reply(module: ModuleType) -> None:
    decoder = module.Decoder()
    assert not decoder.ended
    try:
        finish = decoder.finish()
    except ModelBadReply:
        return
    assert isinstance(finish, Finish) and finish.reason == "unknown"
