"""Answers that fit a schema: what a schema is, what fits it, and how each wire is asked for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.config import ConfigError
from agent.events import Noted, TurnEnded
from agent.loop import last_reply, run_turn
from agent.models import wire as wires
from agent.models.retry import Retries
from agent.models.toolmode import ToolMode
from agent.models.transport import HttpModel
from agent.solve.answer import MAX_SCHEMA_BYTES, AnswerUnfit, Form, bare, read_schema
from tests.support.model_server import Answer, ModelServer, error
from tests.support.scene import TOOLS, Scene, call

pytestmark = pytest.mark.anyio

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/count"}, "why": {"type": "string"}},
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 1}},
}
MARKS = (b'"json_schema"', b'"responseJsonSchema"')
BESIDE_CALLS = ("anthropic_messages", "openai_responses")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"n": 1}', ""),
        (' \n{"n": 1, "why": "so"}\n', ""),
        ('```json\n{"n": 1}\n```', ""),
        ('<think>```\n{}\n```</think>\n{"n": 1}', ""),
        ('Here it is: {"n": 1}', "it is no JSON: "),
        ('```json\n{"n": 1}\n```\nDone.', "it is no JSON: "),
        ('{"n": NaN}', "it is no JSON: NaN"),
        ("[" * 100_000, "it is no JSON: "),
        ("", "it is no JSON: "),
        ('{"n": 0}', "$.n: 0 is less than the minimum of 1"),
        ('{"n": "1"}', "$.n: '1' is not of type 'integer'"),
        ("{}", "$: 'n' is a required property"),
        ("7", "$: 7 is not of type 'object'"),
    ],
)
def test_what_fits(text: str, problem: str) -> None:
    found = Form(SCHEMA).problem(text)
    assert found.startswith(problem) and bool(found) == bool(problem)
    if not problem:
        assert json.loads(bare(text))["n"] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is no JSON: "),
        (b"\xff", "is no JSON: "),
        (b"[" * 100_000, "is no JSON: "),
        (b"[]", "expected an object"),
        (b'{"properties": {"n": {"type": "number "}}}', "no JSON Schema: properties.n.type: 'number '"),
        (b'{"$ref": "https://example.org/s.json"}', "'https://example.org/s.json' points to nothing"),
        (b'{"$ref": "other.json"}', "'other.json' points to nothing"),
        (
            b'{"items": [{"$ref": "#/$defs/n"}], "$schema": "http://json-schema.org/draft-07/schema#"}',
            "#/$defs/n",
        ),
        (b'{"title": "' + b"x" * MAX_SCHEMA_BYTES + b'"}', ""),
    ],
)
def test_what_is_no_schema(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "schema.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_schema(file)
    assert str(file) in str(refused.value) and said in str(refused.value)
    with pytest.raises(ConfigError, match="cannot read"):
        read_schema(tmp_path)
    file.write_text(json.dumps(SCHEMA))
    assert read_schema(file) == SCHEMA


@pytest.mark.parametrize("mode", ["native", "grammar"])
@pytest.mark.parametrize("wire", wires.names())
async def test_each_wire_is_asked_for_it(tmp_path: Path, wire: str, mode: ToolMode) -> None:
    """Beside calls only where text can be held to a schema then; in the end everywhere."""
    answers = [Answer("", (call(1, "look", '{"name": "a"}'),)), "There is one.", '{"n": 1}', "Hm.", "Hm."]
    async with ModelServer(answers, append_only=True) as server:
        with Scene(tmp_path, toolset=TOOLS) as scene:
            agent, form = scene.agent, Form(SCHEMA)
            agent.model = HttpModel("test/m", server.root, "m", wire=wire)
            agent.tool_mode, agent.output_schema = mode, SCHEMA
            ended = await run_turn(agent, f"How many?\n\n{form.wanted}")
            assert (await form.settle(agent, ended), last_reply(agent.branch)) == (
                TurnEnded("done"),
                '{"n": 1}',
            )
            ended = await run_turn(agent, "Again?")
            with pytest.raises(AnswerUnfit, match="also when asked for again: it is no JSON"):
                await form.settle(agent, ended)
            await agent.model.aclose()
    told = [any(mark in request.raw for mark in MARKS) for request in server.requests]
    first = wire in BESIDE_CALLS and mode == "native"
    assert told[:3] == [first, first, True]
    assert b"This does not fit the schema: it is no JSON" in server.requests[2].raw


async def test_a_server_that_refuses_the_schema_is_asked_without_it(tmp_path: Path) -> None:
    async with ModelServer([error(400, "unsupported keyword"), '{"n": 1}'], append_only=True) as server:
        with Scene(tmp_path, toolset=TOOLS) as scene:
            agent = scene.agent
            agent.model = HttpModel(
                "test/m", server.root, "m", wire="openai_responses", retries=Retries(attempts=1)
            )
            agent.output_schema = SCHEMA
            assert await run_turn(agent, "How many?") == TurnEnded("done")
            [note] = [event for event in scene.branch.events() if isinstance(event, Noted)]
            await agent.model.aclose()
    assert "which was refused: " in note.text and "unsupported keyword" in note.text
    assert [any(mark in request.raw for mark in MARKS) for request in server.requests] == [True, False]
