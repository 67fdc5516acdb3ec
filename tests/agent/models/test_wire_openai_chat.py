from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.messages import Assistant, Message, System, ToolCall, ToolResult, Usage, User
from agent.models.base import (
    NO_QUIRKS,
    Delta,
    Finish,
    PromptProgress,
    Quirks,
    ReasoningDelta,
    Request,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
)
from agent.models.providers import LLAMA_CPP
from agent.models.wire.openai_chat import Decoder, to_wire
from tests.support.model_server import Received, violations

GOLDEN = Path(__file__).parents[2] / "golden" / "wire" / "openai_chat.json"

READ = ToolSpec(
    "read",
    "Read a file.",
    {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)
CONVERSATION: tuple[Message, ...] = (
    System("You repair code."),
    User("Fix größe.py."),
    Assistant(
        "I look.",
        (ToolCall("c1", "read", '{ "path": "größe.py" }'), ToolCall("c2", "read", '{"path": "b')),
        reasoning="It may be b.",
    ),
    ToolResult("c1", "read", "x = 1"),
    ToolResult("c2", "read", "broken arguments", is_error=True),
    Assistant(
        '<tool_call>\n{"name": "read", "arguments": {"path": "b.py"}}\n</tool_call>',
        (ToolCall("c3", "read", '{"path": "b.py"}'),),
        dialect="hermes",
    ),
    ToolResult("c3", "read", "y = 2"),
    User("Go on."),
)


def encoded(request: Request, quirks: Quirks = NO_QUIRKS) -> bytes:
    return msgspec.json.encode(to_wire(request, model="m", quirks=quirks))


def test_golden_request() -> None:
    request = Request(CONVERSATION, (READ,), temperature=0.2, max_tokens=512, seed=7, stop=("END",), slot=1)
    assert encoded(request, LLAMA_CPP).decode() == GOLDEN.read_text().rstrip("\n")


def test_only_what_was_asked_for_is_in_the_body() -> None:
    body = to_wire(Request((User("Hi"),), slot=3), model="m", quirks=Quirks(extra={"stream_options": None}))
    assert body == {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    limited = Request((User("Hi"),), max_tokens=5)
    quirks = Quirks(max_tokens_field="max_completion_tokens", effort="high")
    body = to_wire(limited, model="m", quirks=quirks)
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (5, "high")


def test_a_body_with_broken_arguments_can_still_be_read() -> None:
    calls = tuple(
        ToolCall(f"c{n}", "read", raw) for n, raw in enumerate(['{"path": "b', "", "[1]", '"x"', "\ud800"])
    )
    results = tuple(ToolResult(call.id, "read", "") for call in calls)
    received = Received("POST", "/", {}, encoded(Request((User("Hi"), Assistant("", calls), *results))))
    assert violations(received) == []
    arguments = [c["function"]["arguments"] for c in received.body["messages"][1]["tool_calls"]]
    assert arguments == [
        '{"unparsed":"{\\"path\\": \\"b"}',
        "{}",
        '{"unparsed":"[1]"}',
        '{"unparsed":"\\"x\\""}',
        '{"unparsed":"?"}',
    ]


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    name = b"gr\xf6\xdfe.py".decode(errors="surrogateescape")
    assert (
        to_wire(Request((User(name),)), model="m", quirks=NO_QUIRKS)["messages"][0]["content"] == "gr??e.py"
    )


def decoded(*events: dict[str, Any]) -> list[Delta]:
    decoder = Decoder()
    return [*(delta for event in events for delta in decoder.decode(event)), decoder.finish()]


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call_piece(
    index: int | None, call_id: str | None = None, name: str | None = None, arguments: Any = ""
) -> Any:
    function = {"name": name, "arguments": arguments}
    return chunk(tool_calls=[{"index": index, "id": call_id, "function": function}])


def test_a_stream_of_llama_cpp() -> None:
    timings = {"cache_n": 19, "prompt_n": 1, "prompt_ms": 8.5, "predicted_n": 2, "predicted_ms": 136.5}
    usage = {"completion_tokens": 2, "prompt_tokens": 20, "prompt_tokens_details": {"cached_tokens": 19}}
    assert decoded(
        chunk(role="assistant", content=None),
        chunk(reasoning_content="Hm."),
        chunk(content="Hel"),
        chunk(content="lo"),
        chunk("length"),
        {"choices": [], "usage": usage, "timings": timings},
    ) == [
        ReasoningDelta("Hm."),
        TextDelta("Hel"),
        TextDelta("lo"),
        Finish("length", Usage(20, 19, 2, 1), prompt_ms=8.5, output_ms=136.5),
    ]


def test_counts_come_from_timings_when_there_is_no_usage() -> None:
    timings = {"cache_n": 19, "prompt_n": 1, "predicted_n": 2}
    assert decoded(chunk("stop"), {"timings": timings})[-1] == Finish("stop", Usage(20, 19, 2, 1))


def test_cached_tokens_as_deepseek_names_them() -> None:
    usage = {"prompt_tokens": 20, "prompt_cache_hit_tokens": 16, "completion_tokens": 1}
    assert decoded(chunk("stop"), {"usage": usage})[-1] == Finish("stop", Usage(20, 16, 1, 1))


def test_reasoning_as_openrouter_names_it() -> None:
    assert decoded(chunk("stop", reasoning="Hm."))[0] == ReasoningDelta("Hm.")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("function_call", "tool_calls"),
        ("max_tokens", "length"),
        ("abort", "unknown"),
        (None, "unknown"),
    ],
)
def test_reasons(theirs: str | None, ours: str) -> None:
    finish = decoded(chunk(theirs, content="x"))[-1]
    assert isinstance(finish, Finish)
    assert finish.reason == ours


@pytest.mark.parametrize(
    "events",
    [
        [
            call_piece(0, "a", "read", '{"x'),
            call_piece(0, None, None, '": 1}'),
            call_piece(1, "b", "grep", "{}"),
        ],
        [call_piece(0, "a", "read", '{"x": 1}'), call_piece(0, "b", "grep", "{}")],
        [
            call_piece(None, "a", "read", '{"x'),
            call_piece(None, None, None, '": 1}'),
            call_piece(None, "b", "grep", "{}"),
        ],
        [call_piece(3, "a", "read", '{"x": 1}'), call_piece(7, "b", "grep", "{}")],
        [
            call_piece(0, "a", "read", '{"x'),
            call_piece(0, "a", None, '": 1}'),
            call_piece(1, "b", "grep", "{}"),
        ],
    ],
    ids=["as OpenAI", "one index for all", "no index", "gaps", "id repeated"],
)
def test_pieces_of_calls_belong_together(events: list[dict[str, Any]]) -> None:
    pieces = [delta for delta in decoded(*events) if isinstance(delta, ToolCallDelta)]
    whole = {i: "".join(p.arguments for p in pieces if p.index == i) for i in (0, 1)}
    assert whole == {0: '{"x": 1}', 1: "{}"}
    assert {(p.index, p.name) for p in pieces if p.name} == {(0, "read"), (1, "grep")}


@pytest.mark.parametrize("counts", ["none", {"prompt_tokens": None}, {"prompt_tokens_details": 5}, [1]])
def test_counts_that_make_no_sense_are_passed_over(counts: Any) -> None:
    assert decoded(chunk("stop"), {"usage": counts, "timings": counts})[-1] == Finish(
        "stop", Usage(requests=1)
    )


def test_arguments_that_are_no_text_become_json() -> None:
    assert decoded(call_piece(0, "a", "read", {"path": "ä"}))[0] == ToolCallDelta(
        0, "a", "read", '{"path":"ä"}'
    )


def test_the_progress_of_a_local_server() -> None:
    progress = {"total": 237, "cache": 100, "processed": 128, "time_ms": 181}
    event = {"choices": [{"delta": {"role": "assistant", "content": None}}], "prompt_progress": progress}
    assert decoded(event)[0] == PromptProgress(128, 237)


def test_reasoning_of_mistral_comes_in_parts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    deltas = decoded(chunk(content=[thought]), chunk("stop", content=[{"type": "text", "text": "Hi"}]))
    assert deltas[:2] == [ReasoningDelta("Hm."), TextDelta("Hi")]


def test_pieces_of_reasoning_details_are_one_again() -> None:
    pieces = [{"type": "reasoning.text", "index": 0, "text": text} for text in ("H", "m.")]
    signed = {"type": "reasoning.text", "index": 0, "signature": "s"}
    other = {"type": "reasoning.encrypted", "index": 1, "data": "d"}
    finish = decoded(*(chunk(reasoning_details=[one]) for one in (*pieces, signed, other)), chunk("stop"))[-1]
    assert isinstance(finish, Finish)
    whole = {"type": "reasoning.text", "index": 0, "text": "Hm.", "signature": "s"}
    assert finish.native == ({"reasoning_details": [whole, other]},)


def test_what_openrouter_says_it_cost() -> None:
    finish = decoded(chunk("stop"), {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5}})[-1]
    assert isinstance(finish, Finish) and finish.usage.cost_usd == 0.5
