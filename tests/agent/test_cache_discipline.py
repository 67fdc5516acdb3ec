"""A session's request repeats the one before it byte for byte and goes on, whatever happened in between.

A server's prompt cache is bound to the prefix. Each feature that could insert text is gone through on every
wire; the test server compares each request with the one before (`append_only`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from agent.events import FilesRestored
from agent.guards import Progress, Remind
from agent.loop import run_turn
from agent.messages import Assistant, Image
from agent.models import wire as wires
from agent.models.base import NO_QUIRKS, Quirks
from agent.models.providers import PROVIDERS
from agent.models.retry import Retries
from agent.models.toolmode import ToolMode
from agent.models.transport import HttpModel
from tests.support.model_server import Answer, ModelServer, error
from tests.support.scene import Scene, call
from tests.support.spoken import all_spoken

pytestmark = pytest.mark.anyio

PIXEL = Image("image/png", b"\x89PNG")
QUIRKS = {provider.wire: provider.quirks for provider in reversed(PROVIDERS)} | {"openai_chat": NO_QUIRKS}
"""The quirks of each wire's first provider, cache marks and echoed reasoning among them."""
IN_TEXT = 'I look.\n```json\n{"name": "look", "arguments": {"name": "b"}}\n```'


class Nudge:
    """Reminds before the third step of each turn."""

    def before_step(self, progress: Progress) -> Remind | None:
        return Remind("Come to an end.") if len(progress.exchanges) == 2 else None


@pytest.fixture(params=wires.names())
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, guards=(Nudge(),)) as scene:
        yield scene


def model_at(server: ModelServer, wire: str, quirks: Quirks) -> HttpModel:
    root = server.base_url.removesuffix("/v1")
    retries = Retries(attempts=3, base_s=0.001)
    return HttpModel("test/m", root, "m", wire=wire, quirks=quirks, retries=retries)


async def test_every_feature_only_adds(scene: Scene, wire: str) -> None:
    cut_at = all_spoken()[wire].event_stream(Answer("one two three")).index(b"two ")
    look = call(1, "look", '{"name": "a"}')
    silent = Answer("never", wait_for=asyncio.Event())
    answers: list[Answer | str] = [
        Answer(
            "I look.", (look, call(2, "look", "{}")), reasoning="Hm.", signature="c2ln"
        ),  # broken arguments
        IN_TEXT,  # a dialect's call; its results go back as text, and a reminder behind them
        error(529, "Overloaded", "overloaded_error"),  # retried
        Answer("one two three", cut_at=cut_at),  # begun anew
        "Done.",
        Answer(tool_calls=(call(3, "look", '{"name": "a"}'),)),  # the second turn, with an image
        silent,  # interrupted while it is silent
        Answer(tool_calls=(call(4, "look", '{"name": "b"}'),)),  # the third turn, after an undo
        error(400, "bad field"),  # ends the turn
        "All right.",
    ]
    async with ModelServer(answers, append_only=True) as server:
        scene.agent.model = model = model_at(server, wire, QUIRKS[wire])
        assert (await run_turn(scene.agent, "Look at a and b.")).status == "done"

        turn = asyncio.create_task(run_turn(scene.agent, "And this?", (PIXEL,)))
        while len(server.requests) < 7:
            await asyncio.sleep(0.001)
        turn.cancel()
        with suppress(asyncio.CancelledError):
            await turn

        scene.branch.emit(FilesRestored("undo", ("a.py",), 1))
        assert (await run_turn(scene.agent, "Go on.")).status == "error"
        assert (await run_turn(scene.agent, "Once more.")).status == "done"
        await model.aclose()
    assert len(server.requests) == len(answers)
    last = server.requests[-1].raw
    added = (b"c2ln", b"Come to an end.", b"tool_response", b"iVBORw==", b"undid the file", b"Once more.")
    assert [piece for piece in added if piece not in last] == []


@pytest.mark.parametrize("mode", ["dialect", "grammar"])
async def test_tools_told_in_the_messages_only_add_too(scene: Scene, wire: str, mode: ToolMode) -> None:
    """With calls that the server told among those in the text, and the right form shown once."""
    answers: list[Answer | str] = [
        '<tool_call>\n{"name": "lok", "arguments": {"name": "a"}}\n</tool_call>',
        '<tool_call>\n{"name": "look", "arguments": {"name": 7, "x\n</tool_call>',
        Answer("I look.", (call(1, "look", '{"name": "a"}'),), reasoning="Hm."),
        "Done.",
        "Again.",
    ]
    async with ModelServer(answers, append_only=True) as server:
        scene.agent.tool_mode, scene.agent.dialect = mode, "hermes"
        scene.agent.model = model = model_at(server, wire, QUIRKS[wire])
        await run_turn(scene.agent, "Look at a.")
        scene.agent.branch.emit(FilesRestored("undo", ("a.py",), 1))
        assert (await run_turn(scene.agent, "Once more.")).status == "done"
        await model.aclose()
    assert server.requests[-1].raw.count(b"A call is written like this:") == 1


async def test_a_session_that_is_loaded_again_sends_the_same_bytes(scene: Scene, wire: str) -> None:
    signed = Answer("I look.", (call(1, "look", '{"name": "a"}'),), reasoning="Hm.", signature="c2ln")
    async with ModelServer([signed, "Done.", "Again."], append_only=True) as server:
        scene.agent.model = model = model_at(server, wire, QUIRKS[wire])
        await run_turn(scene.agent, "Look.")
        events = scene.reload()
        assert events == scene.branch.events()
        replies = [event.message for event in events if hasattr(event, "message")]
        assert [reply.origin for reply in replies] == ["test/m", "test/m"]
        await run_turn(scene.agent, "Go on.")
        await model.aclose()


def test_a_message_survives_the_log_byte_for_byte() -> None:
    message = Assistant(
        "t", native=({"type": "thinking", "signature": "s", "n": 1.0, "deep": {"b": 1, "a": []}},)
    )
    raw = msgspec.json.encode(message)
    assert msgspec.json.encode(msgspec.json.decode(raw, type=Assistant)) == raw
