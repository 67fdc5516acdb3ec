"""A conversation that gets too long: what gives way, in which order, and that the log still tells all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compaction import SUMMARISE, SUMMED_UP, Room, View, compacted, plan
from agent.context import project
from agent.events import Compacted, Steered, TurnEnded
from agent.guards import Budget
from agent.loop import compact, run_turn
from agent.messages import Assistant, Message, System, ToolCall, ToolResult, Usage, User
from agent.models.base import ContextOverflow
from agent.models.scripted import Reply
from tests.support.scene import Gate, Scene, answer, call, calls, check_valid

pytestmark = pytest.mark.anyio

UNTOLD = Usage(requests=1)
SPENT = Usage(input_tokens=500, cached_input_tokens=480, output_tokens=20, requests=1)


def step(number: int, size: int) -> tuple[Message, ...]:
    made = ToolCall(f"c{number}", "look", "{}")
    return Assistant("I look.", (made,)), ToolResult(made.id, "look", "x y z\n" * (size // 6))


def test_old_results_are_shortened_first_and_the_newest_stays() -> None:
    talk = (System("s"), User("go"), *step(1, 3000), *step(2, 3000), *step(3, 900))
    planned = plan(View(talk, (1,)), Room(2200, 200))
    assert planned is not None and not planned.summarise
    messages = compacted(View(talk, (1,)), planned.event).messages
    assert [len(m.text) < 600 for m in messages if isinstance(m, ToolResult)] == [True, True, False]
    assert messages[-1] == talk[-1]


def test_then_the_older_part_is_summed_up_and_the_request_of_the_turn_comes_again() -> None:
    talk = (System("s"), User("old"), Assistant("a " * 1500), User("go"), *step(1, 900), *step(2, 900))
    planned = plan(View(talk, (3,)), Room(2200, 200))
    assert planned is not None
    assert planned.summarise == (*talk, User(SUMMARISE))
    messages, asked, _ = compacted(View(talk, (3,)), planned.event)
    assert messages[0] == System("s")
    assert messages[1].text.startswith(SUMMED_UP)
    assert messages[2] == User("go") and asked == (2,)
    assert messages[3:] == talk[len(talk) - len(messages[3:]) :]


def test_what_is_short_or_cannot_be_parted_stays() -> None:
    talk = (System("s"), User("x" * 9000))
    assert plan(View(talk, (1,)), Room(2200, 200)) is None
    assert plan(View(()), Room(2200, 200), forced=True) is None


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=12), st.integers(600, 8000), st.booleans())
def test_whatever_gives_way_the_rest_is_valid_and_smaller(
    sizes: list[int], context: int, forced: bool
) -> None:
    talk: list[Message] = [System("s"), User("go")]
    for number, size in enumerate(sizes):
        talk += (
            step(number, size) if size % 3 else (Assistant("so"), User("y " * (size // 2)), *step(number, 9))
        )
    shown, room = View(tuple(talk), (1,)), Room(context, 300)
    planned = plan(shown, room, forced=forced)
    if planned is None:
        return
    after = compacted(shown, planned.event)
    check_valid(after.messages)
    check_valid(planned.summarise)
    assert after.messages[0] == talk[0]
    assert after.messages[after.asked[0]] == User("go")
    assert not planned.summarise or room.request(planned.summarise) + room.summary <= context
    if not forced and planned.event.tokens_before > room.limit:
        assert planned.event.tokens_after < planned.event.tokens_before


async def test_a_turn_makes_room_before_a_request_that_would_not_fit(tmp_path: Path) -> None:
    replies = [
        *(calls(call(n, "look", '{"name":"a"}'), text="so " * 600, usage=UNTOLD) for n in range(1, 4)),
        Reply("They look at note a.", usage=SPENT),
        answer("done", usage=UNTOLD),
    ]
    with Scene(tmp_path, replies) as scene:
        scene.model.context_tokens = 2700
        budget = Budget(scene.bus)
        assert (await run_turn(scene.agent, "look at a")).status == "done"
        [made] = [event for event in scene.reload() if isinstance(event, Compacted)]
        *_, before, asked, after = (request.messages for request in scene.model.requests)
        assert budget.usage.output_tokens == 20, "the summary counts"
        assert made.summary == "They look at note a." and made.tokens_after < made.tokens_before
        assert asked[: len(before)] == before and asked[-1] == User(SUMMARISE)
        assert after[:3] == (System("be good"), after[1], User("look at a"))
        assert "They look at note a." in after[1].text
        assert after == project(scene.reload())[: len(after)]
        assert any(isinstance(message, ToolResult) for message in after), "the newest step is kept"


async def test_a_server_that_knows_better_is_asked_once_more(tmp_path: Path) -> None:
    talked = [answer("so " * 400, usage=UNTOLD) for _ in range(3)]
    overflow = ContextOverflow("too long: 3000 of 2000", 3000, 2000)
    with Scene(tmp_path, [*talked, overflow, answer("They talk."), answer("fine")]) as scene:
        for _ in range(3):
            await run_turn(scene.agent, "tell me")
        assert (await run_turn(scene.agent, "more")).status == "done"
        assert scene.model.requests[-1].messages[-1] == User("more")
        assert "They talk." in scene.model.requests[-1].messages[1].text


async def test_what_does_not_fit_even_then_says_what_gave_way(tmp_path: Path) -> None:
    talked = [answer("so " * 400, usage=UNTOLD) for _ in range(3)]
    overflow = ContextOverflow("too long", 3000, 2000)
    with Scene(tmp_path, [*talked, overflow, answer("They talk."), overflow]) as scene:
        for _ in range(3):
            await run_turn(scene.agent, "tell me")
        ended = await run_turn(scene.agent, "more")
        assert ended == TurnEnded("error", "too long; before that the older part became a summary")


async def test_cancelled_in_the_middle_of_it_nothing_has_changed(tmp_path: Path) -> None:
    gate = Gate()
    talked = [answer("so " * 400, usage=UNTOLD) for _ in range(4)]
    with Scene(tmp_path, [*talked, Reply("They", wait_at_end=gate), answer("fine")]) as scene:
        for _ in range(4):
            await run_turn(scene.agent, "tell me")
        before = project(scene.branch.events())
        work = asyncio.create_task(compact(scene.agent))
        await gate.reached.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert project(scene.reload()) == before
        assert (await run_turn(scene.agent, "go on")).status == "done"
        assert scene.model.requests[-1].messages[: len(before)] == before


async def test_a_model_that_writes_no_summary_is_gone_on_without(tmp_path: Path) -> None:
    talked = [answer("so " * 400, usage=UNTOLD) for _ in range(4)]
    with Scene(tmp_path, [*talked, calls(call(1, "look"))]) as scene:
        for _ in range(4):
            await run_turn(scene.agent, "tell me")
        made = await compact(scene.agent)
        assert made is not None and made.summary.startswith("The user said:\n- tell me")


async def test_what_is_said_meanwhile_comes_behind_the_results(tmp_path: Path) -> None:
    gate = Gate()
    with Scene(tmp_path, [calls(call(1, "look", '{"name":"a"}')), answer("no more"), "ok"]) as scene:
        scene.board.gates["a"] = gate
        turn = asyncio.create_task(run_turn(scene.agent, "look"))
        await gate.reached.wait()
        scene.agent.steering.extend(("not that", "but b"))
        gate.set()
        assert await turn == TurnEnded("done")
        second = scene.model.requests[1].messages
        assert second[-3:] == (ToolResult("c1", "look", "first"), User("not that"), User("but b"))
        assert [event.text for event in scene.reload() if isinstance(event, Steered)] == ["not that", "but b"]
        assert not scene.agent.steering
