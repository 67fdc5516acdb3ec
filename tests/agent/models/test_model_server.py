"""The checks of the test server must themselves fail when they should."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.messages import User
from agent.models.base import Request
from agent.models.transport import HttpModel
from tests.support.model_server import Answer, ModelServer, Received, violations

SYSTEM = {"role": "system", "content": "s"}
USER = {"role": "user", "content": "u"}
TEXT = {"role": "assistant", "content": "t"}


def called(*ids: str, arguments: str = "{}") -> dict[str, Any]:
    calls = [{"id": i, "type": "function", "function": {"name": "read", "arguments": arguments}} for i in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "r"}


def received(*messages: dict[str, Any]) -> Received:
    return Received("POST", "/", {}, msgspec.json.encode({"messages": messages}))


@pytest.mark.parametrize(
    "messages",
    [
        (USER,),
        (SYSTEM, USER, TEXT, USER),
        (USER, called("a", "b"), result("b"), result("a")),
        (USER, called("a"), result("a"), USER),
    ],
)
def test_legal(messages: tuple[dict[str, Any], ...]) -> None:
    assert violations(received(*messages)) == []


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ((), "last message"),
        ((USER, TEXT), "last message"),
        ((USER, SYSTEM, USER), "only be the first"),
        ((USER, TEXT, TEXT, USER), "two assistant"),
        ((USER, called("a"), USER), "without a result"),
        ((USER, called("a"), result("a"), result("a")), "without a call"),
        ((USER, called("a", "b"), result("a"), USER), "without a result: 'b'"),
        ((USER, result("a")), "without a call"),
        ((USER, called("a"), result("a"), called("a"), result("a")), "not new"),
        ((USER, called(""), result("")), "empty"),
        ((USER, called("a", arguments="[]"), result("a")), "no object"),
        (({"role": "user", "content": None},), "no text"),
        (({"role": "developer", "content": "x"}, USER), "unknown roles"),
    ],
)
def test_illegal(messages: tuple[dict[str, Any], ...], words: str) -> None:
    assert any(words in violation for violation in violations(received(*messages)))


def test_secrets_and_changed_prefixes_are_seen() -> None:
    assert violations(received(USER), ["u"]) == ["the secret 'u' is in the body"]
    assert violations(received(SYSTEM, USER, TEXT, USER), previous=received(SYSTEM, USER)) == []
    assert violations(received(USER, TEXT, USER), previous=received(SYSTEM, USER))


@pytest.mark.anyio
async def test_leaving_the_server_fails_on_what_it_saw() -> None:
    with pytest.raises(AssertionError, match="request 2: the messages do not extend"):
        async with ModelServer(["a", Answer("b")], append_only=True) as server:
            model = HttpModel("m", server.base_url, "m")
            for text in ("one", "two"):
                assert [delta async for delta in model.stream(Request((User(text),)))]
            await model.aclose()
