"""A session's request repeats the one before it byte for byte and goes on, whatever happened in between.

A server's prompt cache is bound to the prefix. Each feature that could insert text is gone through on every
wire; the test server compares each request with the one before (`append_only`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.bus import Bus
from agent.compaction import SUMMARISE, SUMMED_UP
from agent.events import AnyEvent, Compacted, FilesRestored, Resumed, TurnEnded
from agent.guards import Progress, Remind
from agent.loop import compact, run_turn
from agent.messages import Assistant, Image
from agent.models import wire as wires
from agent.models.base import NO_QUIRKS, Model
from agent.models.fallback import Fallback
from agent.models.providers import PROVIDERS
from agent.models.retry import Retries
from agent.models.toolmode import ToolMode
from agent.models.transport import HttpModel
from agent.resume import leaf
from agent.session import Envelope, SessionLog
from tests.support.model_server import Answer, Body, ModelServer, Received, error
from tests.support.scene import TOOLS, Board, Gate, Scene, call
from tests.support.spoken import all_spoken, extends, head
from tools.base import Effect, ToolOutput, tool
from tools.builtin.todo import todo

pytestmark = pytest.mark.anyio

PIXEL = Image("image/png", b"\x89PNG")
QUIRKS = {provider.wire: provider.quirks for provider in reversed(PROVIDERS)} | {"openai_chat": NO_QUIRKS}
"""The quirks of each wire's first provider, cache marks and echoed reasoning among them."""
IN_TEXT = 'I look.\n```json\n{"name": "look", "arguments": {"name": "b"}}\n```'


@pytest.fixture(params=wires.names())
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@tool(Effect.READ)
async def see(ctx: Board) -> ToolOutput:
    """Show a picture."""
    return ToolOutput("a PNG image", images=(PIXEL,))


class Stage:
    """A session on a server that answers by a script, with a second one to fall back to."""

    def __init__(self, folder: Path, wire: str, servers: Sequence[ModelServer], context: int | None) -> None:
        self.scene = Scene(folder, guards=(self,), toolset={**TOOLS, "todo": todo, "see": see})
        self.scene.board.notes["a"] = "A line of the note.\n" * 150
        self.wire = wire
        self.context = context
        self.servers = tuple(servers)
        self.script: deque[Answer | str] = deque()
        self.said: list[str] = []
        """What is said to the model while it answers, one text an answer."""
        self.reminder = ""
        self.breaks: set[tuple[int, int]] = set()
        """Server, and the number of the first request there behind a compaction."""
        self.calls = 0
        self.agent = self.scene.agent
        first = self.model_at(servers[0])
        self.agent.model = Fallback(first, ["second"], self.open_second, lambda note: None)
        self.scene.bus.sinks.append(self.hear)

    def before_step(self, progress: Progress) -> Remind | None:
        reminder, self.reminder = self.reminder, ""
        return Remind(reminder) if reminder else None

    def hear(self, event: AnyEvent, envelope: Envelope) -> None:
        if isinstance(event, Compacted):
            self.breaks |= {(number, len(server.requests)) for number, server in enumerate(self.servers)}

    def model_at(self, server: ModelServer) -> HttpModel:
        root = server.base_url.removesuffix("/v1")
        retries = Retries(attempts=2, base_s=0.001)
        number = self.servers.index(server)
        return HttpModel(
            f"test/m{number}",
            root,
            "m",
            wire=self.wire,
            quirks=QUIRKS[self.wire],
            context_tokens=self.context,
            retries=retries,
        )

    async def open_second(self, name: str) -> Model:
        return self.model_at(self.servers[1])

    def answer(self, body: Body) -> Answer | str:
        if SUMMARISE in msgspec.json.encode(body).decode():
            return SUMMARY
        if self.said and self.said[0]:
            self.agent.steering.append(self.said[0])
        del self.said[:1]
        return self.script.popleft()

    def look(self, arguments: str = '{"name": "a"}', text: str = "") -> Answer:
        self.calls += 1
        made = (call(self.calls, "look", arguments),)
        return Answer(text, made, reasoning="Hm.", signature="c2ln", usage=None)

    async def turn(self, *answers: Answer | str, images: tuple[Image, ...] = ()) -> TurnEnded:
        self.script.extend(answers)
        ended = await run_turn(self.agent, "Look at a and b.", images)
        assert not self.script, "every answer was asked for"
        return ended

    def check(self) -> None:
        """Each request extends the one before, but for one break behind each compaction; nothing that was
        only asked for a summary stays. Where what is newest does not fit beside it, that question stands
        behind a beginning of the request before.
        """
        for number, server in enumerate(self.servers):
            one: Received | None = None
            for place, two in enumerate(server.requests):
                question = two.raw_messages.find(SUMMARISE.encode())
                new = (number, place) in self.breaks
                assert b"cache_control" not in two.raw_messages
                if place:
                    assert head(two.spoken, server.requests[0].raw) == head(two.spoken, two.raw)
                if one is not None:
                    goes_on = extends(one.spoken, one.raw, two.raw)
                    if question > 0 and not new:
                        begin = two.raw_messages[: max(question - 80, 0)]
                        assert goes_on or one.raw_messages.startswith(begin), two.raw.decode()
                    else:
                        assert goes_on != new, two.raw.decode()
                if question < 0:
                    one = two
                elif new:
                    one = None


DONE = Answer("Done.", usage=None)
SUMMARY = Answer("They look at a and b.", usage=None)


async def talk(stage: Stage) -> None:
    await stage.turn(DONE)


async def calls_and_a_reminder(stage: Stage) -> None:
    stage.reminder = "Come to an end."
    await stage.turn(stage.look(text="I look."), DONE)


async def a_corrected_call(stage: Stage) -> None:
    await stage.turn(stage.look("{}"), stage.look('{"name": "nothing"}'), DONE)


async def a_call_in_the_text_and_a_reminder(stage: Stage) -> None:
    async def later(message: Assistant) -> str | None:
        stage.agent.follow_up = None
        return "The check still fails."

    stage.agent.follow_up = later
    await stage.turn(IN_TEXT, DONE, IN_TEXT, DONE)


async def a_broken_call_in_the_text(stage: Stage) -> None:
    wrong = '<tool_call>\n{"name": "lok", "arguments": {"name": "a"}}\n</tool_call>'
    cut = '<tool_call>\n{"name": "look", "arguments": {"name": 7, "x\n</tool_call>'
    await stage.turn(wrong, cut, DONE)


async def steering(stage: Stage) -> None:
    stage.said = ["Not a.", "", "Nor b."]
    await stage.turn(stage.look(), IN_TEXT, DONE, DONE)


async def an_interrupt(stage: Stage) -> None:
    server = stage.servers[isinstance(stage.agent.model, Fallback) and not stage.agent.model._others]
    server.came.clear()
    turn = asyncio.create_task(stage.turn(Answer("never", wait_for=asyncio.Event())))
    await server.came.wait()
    turn.cancel()
    with suppress(asyncio.CancelledError):
        await turn
    stage.script.clear()  # nobody has asked for it when a summary was interrupted
    assert stage.scene.branch.events()[-1] == TurnEnded("interrupted")


async def interrupted_calls(stage: Stage) -> None:
    gate = stage.scene.board.gates["a"] = Gate()
    turn = asyncio.create_task(stage.turn(stage.look()))
    await gate.reached.wait()
    turn.cancel()
    with suppress(asyncio.CancelledError):
        await turn
    del stage.scene.board.gates["a"]


async def a_cut_stream(stage: Stage) -> None:
    at = all_spoken()[stage.wire].event_stream(Answer("one two three")).index(b"two ")
    await stage.turn(Answer("one two three", cut_at=at), DONE)


async def a_refusal(stage: Stage) -> None:
    assert (await stage.turn(error(400, "bad field"))).status == "error"


async def an_undo(stage: Stage) -> None:
    stage.scene.branch.emit(FilesRestored("undo", ("a.py",), 1))


async def an_image(stage: Stage) -> None:
    await stage.turn(DONE, images=(PIXEL,))


async def images_in_results(stage: Stage) -> None:
    stage.calls += 2
    both = (call(stage.calls - 1, "see"), call(stage.calls, "look", '{"name": "b"}'))
    in_text = 'I see.\n```json\n{"name": "see", "arguments": {}}\n```'
    await stage.turn(Answer("", both, usage=None), in_text, DONE)


async def a_todo_list(stage: Stage) -> None:
    stage.calls += 1
    made = (call(stage.calls, "todo", '{"items": [{"text": "Water the plants."}]}'),)
    await stage.turn(Answer("", made, usage=None), DONE)


async def a_fallback(stage: Stage) -> None:
    model = stage.agent.model
    assert isinstance(model, Fallback)
    if model._others:
        await stage.turn(*[error(529, "Overloaded", "overloaded_error")] * 2, DONE)


async def a_resumed_session(stage: Stage) -> None:
    """As another process would go on: nothing but the file is left, and files have changed meanwhile."""
    scene = stage.scene
    scene.log.close()
    scene.log = SessionLog.load(scene.log.path)
    scene.bus = Bus(scene.log, scene.bus.sinks)
    scene.branch = stage.agent.branch = scene.bus.branch(leaf(scene.log))
    scene.branch.emit(Resumed(("a.py",), 1, True))


async def a_compaction(stage: Stage) -> None:
    await compact(stage.agent)


FEATURES = (
    talk,
    calls_and_a_reminder,
    a_corrected_call,
    a_call_in_the_text_and_a_reminder,
    a_broken_call_in_the_text,
    steering,
    an_interrupt,
    interrupted_calls,
    a_cut_stream,
    a_refusal,
    an_undo,
    an_image,
    images_in_results,
    a_todo_list,
    a_fallback,
    a_resumed_session,
    a_compaction,
)
Feature = Callable[[Stage], Awaitable[None]]


async def perform(
    wire: str, mode: ToolMode, features: Sequence[Feature], context: int | None = None
) -> Stage:
    """Go through the features on both servers, and check each request that was sent."""

    def reply(body: Body) -> Answer | str:
        return stage.answer(body)

    with TemporaryDirectory() as folder:
        async with ModelServer(reply) as first, ModelServer(reply) as second:
            stage = Stage(Path(folder), wire, (first, second), context)
            stage.agent.tool_mode, stage.agent.dialect = mode, "hermes"
            with stage.scene:
                try:
                    for feature in (talk, *features, talk):
                        await feature(stage)
                finally:
                    await stage.agent.model.aclose()
            stage.check()
    return stage


@pytest.mark.parametrize("mode", ["native", "dialect", "grammar"])
async def test_every_feature_only_adds(wire: str, mode: ToolMode) -> None:
    stage = await perform(wire, mode, FEATURES)
    sent = b"".join(request.raw for server in stage.servers for request in server.requests)
    added = (
        b"Come to an end.",
        b"tool_response",
        b"iVBORw==",
        b"undid the file",
        b"Nor b.",
        b"still fails",
        b"Changed since",
    )
    assert [piece for piece in added if piece not in sent] == []
    assert (b"c2ln" in sent) == (mode == "native")
    assert sent.count(SUMMED_UP.encode()) >= 1 and len(stage.breaks) == 2


@given(
    st.lists(st.sampled_from(FEATURES), min_size=1, max_size=8),
    st.sampled_from(["native", "dialect"]),
    st.sampled_from([None, 3000]),
)
@settings(max_examples=25, deadline=None)
def test_so_they_do_in_any_order(features: list[Feature], mode: ToolMode, context: int | None) -> None:
    """Also where the context is so small that compactions come by themselves."""
    for wire in wires.names():
        asyncio.run(perform(wire, mode, features, context))


def test_a_message_survives_the_log_byte_for_byte() -> None:
    message = Assistant(
        "t", native=({"type": "thinking", "signature": "s", "n": 1.0, "deep": {"b": 1, "a": []}},)
    )
    raw = msgspec.json.encode(message)
    assert msgspec.json.encode(msgspec.json.decode(raw, type=Assistant)) == raw
