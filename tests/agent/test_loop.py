from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from agent.context import project, request_hash
from agent.events import (
    AssistantReplied,
    ConversationStarted,
    Noted,
    ReasoningStreamed,
    Reminded,
    StepStarted,
    TextStreamed,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from agent.guards import LoopGuard, MaxSteps
from agent.loop import Agent, last_reply, run_turn
from agent.messages import Assistant, System, ToolResult, Usage, User
from agent.models.base import ModelBadReply, ModelOverloaded, TextDelta, ToolSpec
from agent.models.scripted import Reply, ScriptExhausted
from tests.support.scene import TOOLS, Scene, answer, call, calls

pytestmark = pytest.mark.anyio

SPECS = tuple(ToolSpec(t.name, t.description, t.parameters) for t in TOOLS.values())
USAGE = Usage(input_tokens=100, cached_input_tokens=90, output_tokens=10, requests=1)
LOOK = call(1, "look", '{"name":"a"}')


async def test_a_whole_turn_event_by_event(tmp_path: Path) -> None:
    with Scene(tmp_path, [calls(LOOK, text="I look."), answer("It is so.", reasoning="hm")]) as scene:
        ended = await run_turn(scene.agent, "what is a?")
        first = (System("be good"), User("what is a?"))
        looked = Assistant("I look.", (LOOK,))
        result = ToolResult("c1", "look", "first")
        durable = [
            ConversationStarted("be good", SPECS, "scripted"),
            TurnStarted("what is a?"),
            StepStarted(request_hash(first, SPECS)),
            AssistantReplied(looked, "tool_calls", USAGE, 0.0),
            ToolStarted(LOOK, "read"),
            ToolFinished(result, 0.0, view="note a"),
            StepStarted(request_hash((*first, looked, result), SPECS)),
            AssistantReplied(Assistant("It is so.", reasoning="hm"), "stop", USAGE, 0.0),
            TurnEnded("done"),
        ]
        assert ended == durable[-1]
        assert scene.branch.events() == durable == scene.reload()
        streamed = [TextStreamed("I lo"), TextStreamed("ok.")]
        reasoned = [ReasoningStreamed("hm"), TextStreamed("It i"), TextStreamed("s so"), TextStreamed(".")]
        assert scene.heard == [*durable[:3], *streamed, *durable[3:7], *reasoned, *durable[7:]]
        assert last_reply(scene.branch) == "It is so."
        requests = scene.model.requests
        assert [r.messages for r in requests] == [first, (*first, looked, result)]
        assert all(r.tools == SPECS for r in requests)


async def test_the_settings_reach_the_request(tmp_path: Path) -> None:
    with Scene(tmp_path, ["ok"], temperature=0.5, max_tokens=99, seed=7, slot=2) as scene:
        await run_turn(scene.agent, "hi")
        (request,) = scene.model.requests
        assert (request.temperature, request.max_tokens, request.seed, request.slot) == (0.5, 99, 7, 2)


async def test_in_a_dialect_the_tools_stand_in_the_messages(tmp_path: Path) -> None:
    text = '<tool_call>\n{"name": "look", "arguments": {"name": "a"}}\n</tool_call>'
    with Scene(tmp_path, [text, "done"], tool_mode="dialect") as scene:
        await run_turn(scene.agent, "what is a?")
        assert scene.board.trace == ["look a", "saw a"]
        first, second = scene.model.requests
        assert (first.tools, second.tools) == ((), ())
        assert second.messages[: len(first.messages)] == first.messages
        system = first.messages[0]
        assert isinstance(system, System)
        assert system.text.startswith("be good\n\n# Tools") and '"look"' in system.text
        opening = scene.branch.events()[0]
        assert isinstance(opening, ConversationStarted)
        assert (opening.system, opening.tools) == ("be good", SPECS)


async def test_each_request_extends_the_one_before(tmp_path: Path) -> None:
    replies = [calls(LOOK), calls(call(2, "put", '{"name":"b","text":"x"}')), "done", calls(LOOK), "again"]
    with Scene(tmp_path, replies) as scene:
        await run_turn(scene.agent, "one")
        await run_turn(scene.agent, "two")
        before = scene.model.requests[0].messages
        for request in scene.model.requests[1:]:
            assert request.messages[: len(before)] == before
            before = request.messages
        assert scene.kinds().count("conversation_started") == 1


async def test_a_resumed_session_goes_on_with_the_same_prefix(tmp_path: Path) -> None:
    with Scene(tmp_path, ["one"]) as scene:
        await run_turn(scene.agent, "hi")
        again = scene.bus.branch(scene.branch.leaf)
        scene.model._replies.append(Reply("two"))
        agent = Agent(scene.model, again, system="another prompt now", toolset={}, context=None)
        assert (await run_turn(agent, "more")).status == "done"
        first, second = scene.model.requests
        assert second.messages[:2] == first.messages
        assert second.tools == first.tools


async def test_calls_written_as_text_are_run(tmp_path: Path) -> None:
    text = '<tool_call>\n{"name": "look", "arguments": {"name": "a"}}\n</tool_call>'
    with Scene(tmp_path, [text, text, "done"]) as scene:
        await run_turn(scene.agent, "what is a?")
        assert [r.text for r in scene.finished()] == ["first", "first"]
        ids = [r.call_id for r in scene.finished()]
        assert len(set(ids)) == 2, "ids are new in each step"


async def test_without_tools_text_is_only_text(tmp_path: Path) -> None:
    text = '<tool_call>\n{"name": "look", "arguments": {"name": "a"}}\n</tool_call>'
    with Scene(tmp_path, [text], toolset={}, context=None) as scene:
        assert await run_turn(scene.agent, "hi") == TurnEnded("done")
        assert last_reply(scene.branch) == text
    with pytest.raises(ValueError, match="context"):
        Agent(scene.model, scene.branch, toolset=TOOLS)


async def test_a_follow_up_keeps_the_turn_going(tmp_path: Path) -> None:
    told = ["the check still fails", None]

    async def follow_up(reply: Assistant) -> str | None:
        return told.pop(0)

    with Scene(tmp_path, ["done", "now really"], follow_up=follow_up) as scene:
        assert await run_turn(scene.agent, "mend it") == TurnEnded("done")
        assert scene.kinds()[2:] == [
            *("step_started", "assistant_replied", "reminded", "step_started", "assistant_replied"),
            "turn_ended",
        ]
        assert scene.model.requests[1].messages[-1] == User("the check still fails")


UNCLEAR = 'It all depends on this one:\n<tool_call>{"name": "look", "arguments": {"name": "a"}}</tool_call>'


async def test_a_call_that_may_be_meant_is_asked_about_once(tmp_path: Path) -> None:
    with Scene(tmp_path, [UNCLEAR, UNCLEAR]) as scene:
        assert await run_turn(scene.agent, "what is a?") == TurnEnded("done")
        asked = "Your reply ends with what may be a call, which was not run: look. If you meant it,"
        (reminded,) = (event for event in scene.branch.events() if isinstance(event, Reminded))
        assert reminded.text.startswith(asked)
        assert scene.model.requests[1].messages[-1] == User(reminded.text)
        assert not any(isinstance(event, ToolStarted) for event in scene.branch.events())


@pytest.mark.parametrize(
    "reply",
    [
        UNCLEAR.replace("look", "shell").replace('"name": "a"', '"command": "ls"'),
        UNCLEAR.replace("It all depends on this one", "For example"),
        UNCLEAR.replace("It all depends on this one", "Contents of notes.txt"),
        UNCLEAR + "\nThe tags are those of Hermes.",
    ],
    ids=["it would run a command", "an example", "what a file holds", "text behind it"],
)
async def test_one_that_does_harm_or_is_clearly_quoted_is_not_asked_about(tmp_path: Path, reply: str) -> None:
    with Scene(tmp_path, [reply]) as scene:
        assert await run_turn(scene.agent, "what is a?") == TurnEnded("done")
        assert scene.kinds()[2:] == ["step_started", "assistant_replied", "turn_ended"]


async def test_guards_stop_and_remind_before_a_step(tmp_path: Path) -> None:
    with Scene(tmp_path, [calls(LOOK)] * 9, guards=(MaxSteps(7), LoopGuard(stop_at=6))) as scene:
        ended = await run_turn(scene.agent, "go")
        assert ended == TurnEnded("loop", "did the same 6 times")
        assert len(scene.model.requests) == 6
        reminders = [e for e in scene.branch.events() if isinstance(e, Reminded)]
        assert len(reminders) == 1
        assert scene.model.requests[3].messages[-1] == User(reminders[0].text)
    (tmp_path / "limit").mkdir()
    with Scene(tmp_path / "limit", [calls(LOOK)] * 9, guards=(MaxSteps(2),)) as scene:
        assert await run_turn(scene.agent, "go") == TurnEnded("limit", "reached 2 steps")


@pytest.mark.parametrize(
    ("reason", "status", "detail"),
    [
        ("length", "limit", "the reply was cut off after 10 tokens"),
        ("content_filter", "declined", "the provider's content filter ended the reply"),
        ("unknown", "done", ""),
    ],
)
async def test_how_a_reply_ended_decides_how_the_turn_does(
    tmp_path: Path, reason: str, status: str, detail: str
) -> None:
    with Scene(tmp_path, [answer("so", reason=reason)]) as scene:
        assert await run_turn(scene.agent, "hi") == TurnEnded(status, detail)  # type: ignore[arg-type]


async def test_a_model_error_ends_the_turn_and_is_kept(tmp_path: Path) -> None:
    error = ModelOverloaded("come back later", retry_after=3)
    with Scene(tmp_path, [Reply("I wi", error=error), "better"]) as scene:
        assert await run_turn(scene.agent, "hi") == TurnEnded("error", "come back later")
        assert scene.agent.error is error
        partial = scene.branch.events()[-2]
        assert isinstance(partial, AssistantReplied)
        assert (partial.message, partial.reason) == (Assistant("I wi"), "error")
        assert await run_turn(scene.agent, "try again") == TurnEnded("done")
        assert scene.agent.error is None
        assert scene.model.requests[1].messages[1:] == (User("hi"), Assistant("I wi"), User("try again"))


async def test_a_reply_without_an_end_is_a_bad_reply(tmp_path: Path) -> None:
    class Endless:
        name = "endless"
        context_tokens = None

        async def stream(self, request):  # type: ignore[no-untyped-def]
            yield TextDelta("half a")

        async def aclose(self) -> None: ...

    with Scene(tmp_path) as scene:
        scene.agent.model = Endless()
        ended = await run_turn(scene.agent, "hi")
        assert ended.status == "error"
        assert isinstance(scene.agent.error, ModelBadReply)


async def test_a_defect_is_logged_and_raised(tmp_path: Path) -> None:
    crash = call(1, "crash")
    with Scene(tmp_path, [calls(crash, LOOK), "fine"]) as scene:
        with pytest.raises(ZeroDivisionError):
            await run_turn(scene.agent, "go")
        assert scene.branch.events()[-1] == TurnEnded("error", "ZeroDivisionError: a defect")
        assert (await run_turn(scene.agent, "go on")).status == "done"
    (tmp_path / "script").mkdir()
    with Scene(tmp_path / "script", []) as scene:
        with pytest.raises(ScriptExhausted):
            await run_turn(scene.agent, "go")
        assert scene.kinds()[-1] == "turn_ended"


async def test_a_stream_that_is_left_is_closed(tmp_path: Path) -> None:
    with Scene(tmp_path, [answer("a long story")]) as scene:

        def enough(event: object, envelope: object) -> None:
            if isinstance(event, TextStreamed):
                raise KeyboardInterrupt

        scene.bus.sinks.append(enough)
        with pytest.raises(KeyboardInterrupt):
            await run_turn(scene.agent, "go")
        assert scene.model.cancelled == 1
        assert scene.branch.events()[-1] == TurnEnded("interrupted")


async def test_attempts_on_branches_do_not_see_each_other(tmp_path: Path) -> None:
    with Scene(tmp_path, ["one", "two"]) as scene:
        scene.branch.emit(Noted("info", "start"))
        for number in (1, 2):
            branch = scene.branch.fork(f"attempt-{number}")
            await run_turn(Agent(scene.model, branch, system="s"), f"try {number}")
        assert [r.messages for r in scene.model.requests] == [
            (System("s"), User("try 1")),
            (System("s"), User("try 2")),
        ]
        assert project(scene.branch.events()) == ()


async def test_nothing_blocks_the_loop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A long history and large results: no step of the loop holds it for 100 ms, by asyncio's own measure."""
    big = call(2, "put", '{"name":"big","text":"line of text\\n","times":20000}')
    replies = [calls(big), calls(call(3, "look", '{"name":"big"}')), calls(LOOK, LOOK), "done"]
    with Scene(tmp_path, replies, guards=(LoopGuard(),)) as scene:
        for number in range(300):
            scene.branch.emit(TurnStarted(f"turn {number}"))
            scene.branch.emit(AssistantReplied(Assistant("text " * 50, (LOOK,)), "stop", USAGE, 0.0))
            scene.branch.emit(ToolFinished(ToolResult("c1", "look", "first " * 50), 0.0))
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0.1
        with caplog.at_level(logging.WARNING, logger="asyncio"):
            assert (await run_turn(scene.agent, "go")).status == "done"
        loop.set_debug(False)
        assert [r.getMessage() for r in caplog.records if "took" in r.getMessage()] == []
