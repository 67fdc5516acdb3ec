"""Ctrl-C at every place of a turn, once and twice: the log loads, history is valid, the next turn works."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from agent.context import INTERRUPTED
from agent.events import AnyEvent, AssistantReplied, OutputStreamed, TurnEnded
from agent.loop import run_turn
from agent.messages import Assistant, ToolCall, ToolResult, Usage, User
from agent.models.base import Delta, Finish, Request, TextDelta, ToolCallDelta
from agent.models.scripted import Reply
from agent.permissions import Permissions
from tests.support.scene import Gate, Scene, call, calls
from tools.base import Effect

pytestmark = pytest.mark.anyio

LOOK_A, LOOK_B = call(1, "look", '{"name":"a"}'), call(2, "look", '{"name":"b"}')
PUT = call(3, "put", '{"name":"a","text":"x"}')
SLEEP = call(4, "shell", '{"command":"echo started; sleep 1000"}')

Place = Callable[[Scene, Gate], list[Reply]]


def before_the_first_byte(scene: Scene, gate: Gate) -> list[Reply]:
    return [Reply("never", wait_for=gate)]


def mid_text(scene: Scene, gate: Gate) -> list[Reply]:
    return [Reply("half of a sen", wait_at_end=gate)]


def mid_reasoning(scene: Scene, gate: Gate) -> list[Reply]:
    return [Reply(reasoning="let me th", wait_at_end=gate)]


def mid_tool_arguments(scene: Scene, gate: Gate) -> list[Reply]:
    return [Reply("I put", (ToolCall("c3", "put", '{"name":"a","te'),), wait_at_end=gate)]


def at_an_approval(scene: Scene, gate: Gate) -> list[Reply]:
    class Person:
        async def approve(self, call: ToolCall, effect: Effect) -> bool:
            return await gate.wait()

    scene.agent.permissions = Permissions("ask", contained=False, approver=Person())
    return [calls(LOOK_A, PUT)]


def in_a_command(scene: Scene, gate: Gate) -> list[Reply]:
    def started(event: AnyEvent, envelope: object) -> None:
        if isinstance(event, OutputStreamed):
            gate.reached.set()

    scene.bus.sinks.append(started)
    return [calls(LOOK_A, SLEEP, PUT)]


def in_parallel_reads(scene: Scene, gate: Gate) -> list[Reply]:
    scene.board.gates["b"] = gate
    return [calls(LOOK_A, LOOK_B, PUT)]


def in_a_follow_up(scene: Scene, gate: Gate) -> list[Reply]:
    async def check(reply: Assistant) -> str | None:
        await gate.wait()
        return None

    scene.agent.follow_up = check
    return [Reply("done")]


PLACES = (
    before_the_first_byte,
    mid_text,
    mid_reasoning,
    mid_tool_arguments,
    at_an_approval,
    in_a_command,
    in_parallel_reads,
    in_a_follow_up,
)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
async def test_a_turn_can_be_interrupted_anywhere(tmp_path: Path, place: Place, times: int) -> None:
    gate = Gate()
    with Scene(tmp_path) as scene:
        scene.model._replies = [*place(scene, gate), Reply("fine")]
        tasks = asyncio.all_tasks()
        turn = asyncio.create_task(run_turn(scene.agent, "go"))
        await gate.reached.wait()
        for _ in range(times):
            turn.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await turn

        events = scene.branch.events()
        assert events[-1] == TurnEnded("interrupted")
        assert scene.reload() == events
        assert asyncio.all_tasks() == tasks, "no task is left behind"
        for pid in scene.board.processes:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

        scene.agent.follow_up = None
        assert await run_turn(scene.agent, "go on") == TurnEnded("done")
        assert scene.model.requests[-1].messages[-1] == User("go on")


async def interrupt(scene: Scene, gate: Gate) -> None:
    turn = asyncio.create_task(run_turn(scene.agent, "go"))
    await gate.reached.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn


async def test_the_text_so_far_is_kept_and_half_a_call_is_not(tmp_path: Path) -> None:
    gate = Gate()
    with Scene(tmp_path) as scene:
        scene.model._replies = mid_tool_arguments(scene, gate)
        await interrupt(scene, gate)
        reply = scene.branch.events()[-2]
        assert isinstance(reply, AssistantReplied)
        assert (reply.message, reply.reason) == (Assistant("I put"), "interrupted")
        assert scene.model.cancelled == 1


async def test_results_that_were_there_are_kept(tmp_path: Path) -> None:
    gate = Gate()
    with Scene(tmp_path) as scene:
        scene.model._replies = in_a_command(scene, gate)
        await interrupt(scene, gate)
        assert scene.finished() == [
            ToolResult("c1", "look", "first"),
            ToolResult("c4", "shell", INTERRUPTED, is_error=True),
            ToolResult("c3", "put", INTERRUPTED, is_error=True),
        ]
        assert scene.board.notes["a"] == "first", "what comes after the interrupted call is not run"
        assert scene.board.trace[-1] == "killed the command"


async def test_a_second_cancellation_waits_for_the_first_to_clean_up(tmp_path: Path) -> None:
    gate, cleanup = Gate(), Gate()
    with Scene(tmp_path) as scene:
        scene.board.cleanup = cleanup
        scene.model._replies = in_a_command(scene, gate)
        turn = asyncio.create_task(run_turn(scene.agent, "go"))
        await gate.reached.wait()
        turn.cancel()
        await cleanup.reached.wait()
        turn.cancel()
        done, _ = await asyncio.wait([turn], timeout=0.02)
        assert not done
        cleanup.set()
        with pytest.raises(asyncio.CancelledError):
            await turn
        assert scene.board.trace[-1] == "killed the command"


async def test_calls_of_a_reply_that_was_not_recorded_whole_are_not_kept(tmp_path: Path) -> None:
    gate = Gate()

    class Lingering:
        """Holds the line after the end of its reply, as some servers do."""

        name = "lingering"
        context_tokens = None

        async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
            yield TextDelta("I look.")
            yield ToolCallDelta(0, "c1", "look", '{"name":"a"}')
            yield Finish("tool_calls", Usage())
            await gate.wait()

        async def aclose(self) -> None: ...

    with Scene(tmp_path) as scene:
        scene.agent.model = Lingering()
        await interrupt(scene, gate)
        reply = scene.branch.events()[-2]
        assert isinstance(reply, AssistantReplied)
        assert reply.message == Assistant("I look.")
