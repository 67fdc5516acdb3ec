from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.context import INTERRUPTED, conversation, project, request_hash
from agent.events import (
    AssistantReplied,
    ConversationStarted,
    Durable,
    FilesRestored,
    Noted,
    Reminded,
    StepStarted,
    ToolFinished,
    TurnEnded,
    TurnStarted,
)
from agent.messages import Assistant, System, ToolCall, ToolResult, Usage, User
from agent.models.base import ToolSpec
from tests.support.scene import check_valid

START = ConversationStarted("be good", (ToolSpec("read", "Read.", {"type": "object"}),), "test/model")


def replied(text: str, *ids: str) -> AssistantReplied:
    calls = tuple(ToolCall(i, "read", "{}") for i in ids)
    return AssistantReplied(Assistant(text, calls), "stop", Usage(), 0.0)


def finished(call_id: str, text: str = "ok") -> ToolFinished:
    return ToolFinished(ToolResult(call_id, "read", text), 0.0)


def test_every_event_that_speaks_becomes_its_message() -> None:
    events: list[Durable] = [
        START,
        TurnStarted("hi"),
        StepStarted("h"),
        replied("", "a", "b"),
        finished("a", "A"),
        finished("b", "B"),
        Noted("info", "not for the model"),
        Reminded("hurry"),
        replied("bye"),
        TurnEnded("done"),
    ]
    assert project(events) == (
        System("be good"),
        User("hi"),
        Assistant("", (ToolCall("a", "read", "{}"), ToolCall("b", "read", "{}"))),
        ToolResult("a", "read", "A"),
        ToolResult("b", "read", "B"),
        User("hurry"),
        Assistant("bye"),
    )
    assert conversation(events) == START


def test_open_calls_are_answered_when_the_talk_goes_on() -> None:
    events: list[Durable] = [START, TurnStarted("hi"), replied("", "a", "b", "c"), finished("b", "B")]
    assert project(events)[3:] == (), "b waits for a"
    *_, a, b, c, user = project([*events, TurnStarted("go on")])
    assert a == ToolResult("a", "read", INTERRUPTED, is_error=True)
    assert b == ToolResult("b", "read", "B")
    assert c == ToolResult("c", "read", INTERRUPTED, is_error=True)
    assert user == User("go on")


def test_results_come_in_source_order_whatever_the_order_of_events() -> None:
    messages = project(
        [START, TurnStarted("hi"), replied("", "a", "b"), finished("b", "B"), finished("a", "A")]
    )
    assert messages[3:] == (ToolResult("a", "read", "A"), ToolResult("b", "read", "B"))


def test_results_without_a_call_are_left_out() -> None:
    events = [
        START,
        TurnStarted("hi"),
        finished("x"),
        replied("", "a"),
        finished("a", "1"),
        finished("a", "2"),
    ]
    assert project(events)[2:] == (
        Assistant("", (ToolCall("a", "read", "{}"),)),
        ToolResult("a", "read", "1"),
    )


def test_a_new_conversation_starts_empty() -> None:
    again = ConversationStarted("", (), "m")
    assert project([START, TurnStarted("hi"), replied("", "a"), again, TurnStarted("ho")]) == (User("ho"),)
    assert conversation([START, again]) == again
    assert conversation([TurnStarted("hi")]) is None


def test_what_the_user_put_back_is_told_with_the_next_message() -> None:
    undone = FilesRestored("undo", ("a.py", "b.py"), 5)
    redone = FilesRestored("redo", ("a.py",), 1)
    events = [START, TurnStarted("hi"), replied("done"), TurnEnded("done"), undone, redone]
    assert project(events) == project(events[:-2]), "nothing is said before the user speaks"
    *_, last = project([*events, TurnStarted("go on")])
    assert last == User(
        "[The user undid the file changes of your last step: a.py, b.py and 3 more]\n\n"
        "[The user did the file changes again that had been undone: a.py]\n\n"
        "go on"
    )
    assert project([*events, TurnStarted("go on"), TurnStarted("and on")])[-1] == User("and on")


def test_the_hash_is_bound_to_messages_and_tools() -> None:
    messages = (User("hi"),)
    assert request_hash(messages, START.tools) == request_hash((User("hi"),), START.tools)
    assert request_hash(messages, ()) != request_hash(messages, START.tools)
    assert request_hash((Assistant("hi"),), ()) != request_hash(messages, ())


ids = st.sampled_from("abc")
any_events = st.lists(
    st.one_of(
        st.builds(TurnStarted, st.text(max_size=3)),
        st.builds(Reminded, st.text(max_size=3)),
        st.builds(replied, st.text(max_size=3)),
        st.lists(ids, max_size=3).map(lambda i: replied("", *i)),
        st.builds(finished, ids, st.text(max_size=3)),
        st.just(TurnEnded("interrupted")),
        st.just(FilesRestored("undo", ("a",), 1)),
    ),
    max_size=25,
)


@given(before=any_events, after=any_events)
def test_more_events_only_ever_append(before: list[Durable], after: list[Durable]) -> None:
    short, long = project([START, *before]), project([START, *before, *after])
    assert long[: len(short)] == short


@given(events=any_events)
def test_a_projection_that_ends_in_a_user_message_is_a_valid_request(events: list[Durable]) -> None:
    check_valid(project([START, *events, TurnStarted("next")]))
