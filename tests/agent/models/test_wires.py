"""What every file of `agent/models/wire/` must keep, found by listing the folder."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Assistant, Image, Message, System, ToolCall, ToolResult, Usage, User
from agent.models import wire as wires
from agent.models.assemble import assemble
from agent.models.base import (
    NO_QUIRKS,
    Delta,
    Finish,
    ModelError,
    Quirks,
    ReasoningDelta,
    Request,
    TextDelta,
    ToolSpec,
)
from agent.models.faults import fault
from agent.models.providers import PROVIDERS
from agent.models.transport import Reply
from agent.models.wire import Wire
from agent.models.wire._plain import UNSEEN
from tests.support.answers import Answer
from tests.support.spoken import all_spoken, broken_rules, extends

GOLDEN = Path(__file__).parents[2] / "golden" / "wire"
NAMES = wires.names()
ME = "test/m"
TOOL = ToolSpec("read", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PIXEL = Image("image/png", b"\x89PNG")
CALLS = (ToolCall("c1", "read", '{"path": "größe.py"}'), ToolCall("c2", "read", '{"path": "b"}'))
CONVERSATION: tuple[Message, ...] = (
    System("You repair code."),
    User("Fix größe.py \U0001f527.", (PIXEL,)),
    Assistant(
        "I look.", (*CALLS[:1], ToolCall("c2", "read", '{"path": "b')), reasoning="Hm.", origin="other/x"
    ),
    ToolResult("c1", "read", "x = 1\x1b[0m"),
    ToolResult("c2", "read", "broken arguments", is_error=True),
    User("Hurry."),
    Assistant('```json\n{"name": "read"}\n```', (ToolCall("c3", "read", "{}"),), dialect="fenced_json"),
    ToolResult("c3", "read", "y = 2"),
    Assistant("Done."),
    User("Go on."),
)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def wire(name: str) -> Wire:
    return wires.load(name)


def encoded(wire: Wire, messages: tuple[Message, ...], **more: object) -> bytes:
    request = Request(messages, (TOOL,), temperature=0.2, max_tokens=64, **more)  # type: ignore[arg-type]
    return msgspec.json.encode(wire.to_wire(request, model="m", quirks=NO_QUIRKS, origin=ME))


def decoded(name: str, stream: bytes, piece: int = 2**16) -> list[Delta]:
    reply = Reply(
        wires.load(name), "here", lambda status, body: fault(status, body, address="here", model="m")
    )
    deltas = [d for at in range(0, len(stream), piece) for d in reply.feed(stream[at : at + piece])]
    return [*deltas, reply.finish()]


def test_every_wire_is_there_and_spoken_by_the_test_server() -> None:
    assert set(NAMES) == {"openai_chat", "openai_responses", "anthropic_messages", "gemini"}
    assert set(NAMES) == set(all_spoken())
    assert {provider.wire for provider in PROVIDERS} == set(NAMES)


def test_importing_one_needs_no_event_loop_and_no_network_stack(name: str) -> None:
    program = f"import sys; import agent.models.wire.{name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = {module.partition(".")[0] for module in done.stdout.split()}
    assert imported & {"asyncio", "httpx", "ssl", "socket", "rapidfuzz", "keyring"} == set()
    assert len(done.stdout.split()) < 160


def test_golden_request(name: str, wire: Wire) -> None:
    schema = {"type": "object"}
    body = encoded(wire, CONVERSATION, seed=7, stop=("END",), output_schema=schema, answer_only=True)
    file = GOLDEN / f"{name}.all.json"
    assert body.decode() == file.read_text().rstrip("\n")


def test_a_request_keeps_the_rules_and_holds_the_image(name: str, wire: Wire) -> None:
    body = encoded(wire, CONVERSATION)
    spoken = all_spoken()[name]
    assert broken_rules(spoken, msgspec.json.decode(body)) == []
    assert b"iVBORw==" in body
    assert list(msgspec.json.decode(body))[-1] == spoken.HISTORY


SHOWN: tuple[Message, ...] = (
    User("Look."),
    Assistant("", CALLS),
    ToolResult("c1", "read", "a.png: PNG image", images=(PIXEL,)),
    ToolResult("c2", "read", "b = 1"),
    User("Hurry."),
    Assistant('```json\n{"name": "read"}\n```', (ToolCall("c3", "read", "{}"),), dialect="fenced_json"),
    ToolResult("c3", "read", "c.png: PNG image", images=(PIXEL, PIXEL)),
)
"""Images in results, of a call that the server told and of one in the text."""


def test_golden_request_with_images_in_results(name: str, wire: Wire) -> None:
    body = encoded(wire, SHOWN)
    assert broken_rules(all_spoken()[name], msgspec.json.decode(body)) == []
    assert body.count(b"iVBORw==") == 3
    file = GOLDEN / f"{name}.images.json"
    assert body.decode() == file.read_text().rstrip("\n")


def test_a_blind_model_is_told_that_it_is(name: str, wire: Wire) -> None:
    request = Request(SHOWN, (TOOL,))
    body = msgspec.json.encode(wire.to_wire(request, model="m", quirks=Quirks(images=False), origin=ME))
    assert broken_rules(all_spoken()[name], msgspec.json.decode(body)) == []
    assert (b"iVBORw==" in body, body.count(UNSEEN.encode())) == (False, 2)


texts = st.text(max_size=12)
raw_arguments = st.one_of(st.just('{"path": "a"}'), texts)


@st.composite
def steps(draw: st.DrawFn) -> list[list[Message]]:
    """A conversation as the lists of messages that each step adds; some replies are signed."""
    added: list[list[Message]] = [[System(draw(texts)), User(draw(texts))]]
    for step in range(draw(st.integers(0, 5))):
        given_arguments = draw(st.lists(raw_arguments, max_size=3))
        calls = tuple(ToolCall(f"c{step}_{n}", "read", raw) for n, raw in enumerate(given_arguments))
        dialect = draw(st.sampled_from(["", "hermes", "fenced_json"])) if calls else ""
        messages: list[Message] = [Assistant(draw(texts), calls, draw(texts), dialect)]
        shown = draw(st.sampled_from([(), (PIXEL,), (PIXEL, PIXEL)]))
        messages += [ToolResult(call.id, "read", draw(texts), images=shown) for call in calls]
        if not calls or draw(st.booleans()):
            messages.append(User(draw(texts), (PIXEL,) if draw(st.booleans()) else ()))
        added.append(messages)
    return added


@pytest.mark.parametrize("each", NAMES)
@given(added=steps())
@settings(max_examples=60, deadline=None)
def test_each_request_extends_the_one_before(each: str, added: list[list[Message]]) -> None:
    wire, spoken = wires.load(each), all_spoken()[each]
    conversation: tuple[Message, ...] = ()
    bodies: list[bytes] = []
    for messages in added:
        conversation = (*conversation, *messages)
        bodies.append(encoded(wire, conversation))
        assert bodies[-1] == encoded(wire, conversation)
        assert broken_rules(spoken, msgspec.json.decode(bodies[-1])) == []
    assert all(extends(spoken, shorter, longer) for shorter, longer in pairwise(bodies))


ANSWER = Answer("Grüß dich 🙂", CALLS, reasoning="Hm, 世界.", signature="c2lnbmVk")


@pytest.mark.parametrize("piece", [1, 7, 2**16])
def test_a_reply_is_understood_however_it_is_cut(name: str, piece: int) -> None:
    deltas = decoded(name, all_spoken()[name].event_stream(ANSWER), piece)
    message, finish = assemble(deltas, (TOOL,))
    assert finish is not None
    assert (message.text, message.reasoning) == (ANSWER.text, ANSWER.reasoning)
    arguments = [(call.name, msgspec.json.decode(call.arguments)) for call in message.tool_calls]
    assert arguments == [("read", {"path": "größe.py"}), ("read", {"path": "b"})]
    assert len({call.id for call in message.tool_calls}) == 2
    assert (finish.reason, finish.usage) == ("tool_calls", Usage(100, 90, 5, 1))


ENDS = {
    "length": ("length", "max_output_tokens", "max_tokens", "MAX_TOKENS"),
    "content_filter": ("content_filter", "content_filter", "refusal", "SAFETY"),
    "unknown": ("odd", "other", "pause_turn", "OTHER"),
}
"""Why a reply ended -> as each wire says it."""
IN_ORDER = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")


@pytest.mark.parametrize("reason", ENDS)
def test_why_it_stopped(name: str, reason: str) -> None:
    answer = Answer("Hello", finish=ENDS[reason][IN_ORDER.index(name)])
    end = decoded(name, all_spoken()[name].event_stream(answer))[-1]
    assert isinstance(end, Finish) and end.reason == reason


def test_reasoning_goes_back_unchanged_to_its_model_alone(name: str, wire: Wire) -> None:
    finish_and_all = decoded(name, all_spoken()[name].event_stream(ANSWER))
    last = finish_and_all[-1]
    assert isinstance(last, Finish) and last.native
    mine = msgspec.structs.replace(last, origin=ME)
    message, _ = assemble([*finish_and_all[:-1], mine], (TOOL,))
    message = msgspec.json.decode(msgspec.json.encode(message), type=Assistant)  # through the session log
    results = tuple(ToolResult(call.id, call.name, "x = 1") for call in message.tool_calls)
    asked = (User("Go."), message, *results)
    body = encoded(wire, asked)
    assert b"c2lnbmVk" in body
    assert broken_rules(all_spoken()[name], msgspec.json.decode(body)) == []
    other = msgspec.json.encode(
        wire.to_wire(Request(asked, (TOOL,)), model="m", quirks=NO_QUIRKS, origin="other/x")
    )
    assert b"c2lnbmVk" not in other and "Hm, 世界".encode() not in other
    assert broken_rules(all_spoken()[name], msgspec.json.decode(other)) == []
    longer = encoded(wire, (*asked, Assistant("Done."), User("More.")))
    assert extends(all_spoken()[name], body, longer)


def test_a_partial_reply_keeps_nothing_signed(name: str) -> None:
    """It could not be sent back: the provider signed the whole."""
    deltas = decoded(name, all_spoken()[name].event_stream(ANSWER))[:-1]
    message, _ = assemble(deltas, (TOOL,))
    assert (message.native, message.tool_calls) == ((), ())


KEYS = (
    "type", "delta", "content", "choices", "item", "index", "text", "parts", "candidates", "functionCall",
    "name", "error", "response", "usage", "content_block", "message",
)  # fmt: skip
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
KINDS = (
    "content_block_start", "content_block_delta", "message_delta", "response.output_item.added",
    "response.output_item.done", "response.function_call_arguments.delta", "response.completed",
)  # fmt: skip


@pytest.mark.parametrize("each", NAMES)
@given(
    events=st.lists(st.dictionaries(st.sampled_from(KEYS), junk, max_size=5), max_size=4),
    kind=st.sampled_from(KINDS),
)
@settings(max_examples=80, deadline=None)
def test_any_json_is_understood_or_refused(each: str, events: list[dict[str, object]], kind: str) -> None:
    stream = b"".join(
        b"data: " + msgspec.json.encode({"type": kind} | event if number % 2 else event) + b"\n\n"
        for number, event in enumerate(events)
    )
    try:
        deltas = decoded(each, stream)
    except ModelError:
        return
    assert all(isinstance(d.text, str) for d in deltas if isinstance(d, TextDelta | ReasoningDelta))
