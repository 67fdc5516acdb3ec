from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.messages import Assistant, ToolCall, Usage
from agent.models import dialects
from agent.models.assemble import Assembler, assemble
from agent.models.base import Delta, Finish, ReasoningDelta, TextDelta, ToolCallDelta, ToolSpec

READ = ToolSpec("read", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
END = Finish("stop", Usage(requests=1))
CALL = '<tool_call>\n{"name": "read", "arguments": {"path": "a"}}\n</tool_call>'


def test_pieces_are_joined_by_kind() -> None:
    deltas: list[Delta] = [
        ReasoningDelta("Let "),
        ReasoningDelta("me see."),
        TextDelta("Hel"),
        TextDelta("lo"),
        ToolCallDelta(1, "b", "grep"),
        ToolCallDelta(0, "a", "read"),
        ToolCallDelta(0, arguments='{"path"'),
        ToolCallDelta(1, arguments="{}"),
        ToolCallDelta(0, arguments=': "a"}'),
        END,
    ]
    calls = (ToolCall("a", "read", '{"path": "a"}'), ToolCall("b", "grep", "{}"))
    assert assemble(deltas) == (Assistant("Hello", calls, "Let me see."), END)


def test_a_call_in_text_is_found_and_the_text_is_kept() -> None:
    message, _ = assemble([TextDelta(CALL), END], (READ,), id_prefix="call_7_")
    assert message == Assistant(CALL, (ToolCall("call_7_1", "read", '{"path": "a"}'),), dialect="hermes")


def test_text_is_text_when_no_tool_was_offered_or_a_native_call_came() -> None:
    assert assemble([TextDelta(CALL), END])[0] == Assistant(CALL)
    native = ToolCallDelta(0, "a", "read", "{}")
    assert assemble([TextDelta(CALL), native, END], (READ,))[0] == Assistant(
        CALL, (ToolCall("a", "read", "{}"),)
    )


def test_only_the_dialects_that_were_asked_for_are_tried() -> None:
    assembler = Assembler((READ,), asked=[dialects.load()["fenced_json"]])
    for delta in (TextDelta(CALL), END):
        assembler.add(delta)
    assert assembler.message() == Assistant(CALL)


def test_a_call_in_the_reasoning_is_found_when_the_reply_ends_there() -> None:
    deltas: list[Delta] = [ReasoningDelta("I look. " + CALL), END]
    call = ToolCall("call_1", "read", '{"path": "a"}')
    assert assemble(deltas, (READ,))[0] == Assistant("", (call,), "I look. " + CALL)


def test_before_the_end_there_are_no_calls() -> None:
    assembler = Assembler((READ,))
    for delta in (TextDelta(CALL), ReasoningDelta("Hm."), ToolCallDelta(0, "a", "read", '{"path')):
        assembler.add(delta)
    assert assembler.message() == Assistant(CALL, reasoning="Hm.")


def test_missing_and_repeated_ids_are_made_new() -> None:
    deltas = [ToolCallDelta(n, call_id, "read", "{}") for n, call_id in enumerate(["x", "", "x"])]
    message, _ = assemble([*deltas, END], id_prefix="call_3_")
    assert [call.id for call in message.tool_calls] == ["x", "call_3_2", "call_3_3"]


@given(st.lists(st.integers(0, len(CALL))))
def test_any_cut_of_the_text_gives_the_same_message(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(CALL)]
    pieces: list[Delta] = [TextDelta(CALL[a:b]) for a, b in pairwise(at)]
    assert assemble([*pieces, END], (READ,)) == assemble([TextDelta(CALL), END], (READ,))


def test_time_grows_with_length_alone() -> None:
    """Ten times the pieces take about ten times as long; a quadratic fold would take a hundred times."""

    def seconds(pieces: int) -> float:
        deltas = [TextDelta("four")] * pieces
        best = []
        for _ in range(3):
            began = time.perf_counter()
            assemble([*deltas, END])
            best.append(time.perf_counter() - began)
        return min(best)

    assert seconds(200_000) < 40 * seconds(20_000)
