from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.context import INTERRUPTED
from agent.dispatch import NOT_RUN, decode_arguments, dispatch
from agent.events import OutputStreamed, ToolFinished, ToolStarted
from agent.messages import ToolCall, ToolResult
from agent.permissions import Permissions
from tests.support.scene import TOOLS, Gate, Scene, call, look, put
from tools.base import Effect, ToolError

pytestmark = pytest.mark.anyio


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path) as scene:
        yield scene


async def run(scene: Scene, *calls: ToolCall, permissions: Permissions | None = None) -> None:
    await dispatch(calls, TOOLS, scene.board, scene.branch, permissions or Permissions())


async def test_a_call_is_told_from_start_to_finish(scene: Scene) -> None:
    wanted = call(1, "look", '{"name": "a"}')
    await run(scene, wanted)
    assert scene.branch.events() == [
        ToolStarted(wanted, "read"),
        ToolFinished(ToolResult("c1", "look", "first"), 0.0, view="note a"),
    ]


async def test_reads_run_together_and_are_reported_in_source_order(scene: Scene) -> None:
    slow, fast = scene.board.gates["a"], scene.board.gates["b"] = Gate(), Gate()
    both = run(scene, call(1, "look", '{"name":"a"}'), call(2, "look", '{"name":"b"}'))
    running = asyncio.create_task(both)
    await fast.reached.wait()
    assert slow.reached.is_set()
    fast.set()
    await asyncio.sleep(0)
    slow.set()
    await running
    assert scene.board.trace == ["look a", "look b", "saw b", "saw a"]
    assert [r.call_id for r in scene.finished()] == ["c1", "c2"]


async def test_what_writes_runs_alone_and_in_order(scene: Scene) -> None:
    await run(
        scene,
        call(1, "look", '{"name":"a"}'),
        call(2, "put", '{"name":"a","text":"new"}'),
        call(3, "put", '{"name":"b","text":"newer"}'),
        call(4, "look", '{"name":"a"}'),
        call(5, "look", '{"name":"b"}'),
    )
    assert scene.board.trace == [
        *("look a", "saw a", "put a", "wrote a", "put b", "wrote b"),
        *("look a", "saw a", "look b", "saw b"),
    ]
    assert [r.text for r in scene.finished()] == ["first", "wrote a", "wrote b", "new", "newer"]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("fly", "{}", "There is no tool 'fly'. The tools are: look, put, shell, crash."),
        ("look", '{"name": "a"', "not valid JSON"),
        ("look", '{"name": "a", "colour": "red"}', "unknown field `colour`"),
        ("look", "{}", "missing required field `name`"),
        ("look", "", "missing required field `name`"),
        ("look", "[]", "Expected `object`, got `array`"),
        ("put", '{"name":"a","text":"b","times":"often"}', "$.times"),
        ("look", '{"name": "\\ud800"}', "not valid JSON"),
        ("look", "[" * 200_000, "not valid JSON"),
        ("look", '{"name": "zzz"}', "There is no note 'zzz'."),
    ],
)
async def test_expected_failures_are_told_to_the_model(
    scene: Scene, name: str, arguments: str, told: str
) -> None:
    await run(scene, call(1, name, arguments), call(2, "look", '{"name":"b"}'))
    failed, fine = scene.finished()
    assert failed.is_error and told in failed.text
    assert len(failed.text) < 600
    assert fine == ToolResult("c2", "look", "second")


async def test_the_right_form_of_a_call_in_text_is_shown_once(scene: Scene) -> None:
    async def told(*calls: ToolCall) -> list[str]:
        await dispatch(calls, TOOLS, scene.board, scene.branch, Permissions(), "hermes")
        return [result.text for result in scene.finished()][-len(calls) :]

    form = (
        "\nA call is written like this:\n"
        '<tool_call>\n{"name": "look", "arguments": {"name": "..."}}\n</tool_call>'
    )
    unknown, wrong, fine = await told(
        call(1, "lock", "{}"), call(2, "look", "{}"), call(3, "look", '{"name":"a"}')
    )
    assert unknown == "There is no tool 'lock'. The tools are: look, put, shell, crash." + form
    assert wrong.startswith("Wrong arguments for look") and "is written" not in wrong
    assert fine == "first"
    assert await told(call(4, "lock", "{}")) == [
        "There is no tool 'lock'. The tools are: look, put, shell, crash."
    ]
    (other,) = await told(call(5, "put", '{"name": "a'))
    assert other.endswith('{"name": "put", "arguments": {"name": "...", "text": "..."}}\n</tool_call>')


async def test_a_native_call_is_not_told_of_a_form_in_text(scene: Scene) -> None:
    await run(scene, call(1, "lock", "{}"))
    assert "is written" not in scene.finished()[0].text


def test_arguments_are_read_forgivingly() -> None:
    raw = '{"name": "a", "text": "two\nlines", "times": "3"}'
    assert decode_arguments(put, raw) == {"name": "a", "text": "two\nlines", "times": 3}
    assert decode_arguments(TOOLS["crash"], "  ") == {}


any_text = st.text(st.characters(exclude_categories=()), max_size=40)


@given(any_text | st.text('{}[]":,\\ud8name01', max_size=40))
def test_no_arguments_break_the_decoder(raw: str) -> None:
    with contextlib.suppress(ToolError):
        assert set(decode_arguments(look, raw)) == {"name"}


async def test_permission_is_settled_before_anything_runs(scene: Scene) -> None:
    asked: list[str] = []

    class Person:
        async def approve(self, call: ToolCall, effect: Effect) -> bool:
            assert scene.board.trace == []
            asked.append(call.id)
            return call.id == "c3"

    await run(
        scene,
        call(1, "look", '{"name":"a"}'),
        call(2, "put", '{"name":"a","text":"x"}'),
        call(3, "put", '{"name":"b","text":"y"}'),
        permissions=Permissions("ask", contained=False, approver=Person()),
    )
    assert asked == ["c2", "c3"]
    assert scene.board.notes == {"a": "first", "b": "y"}
    assert [r.is_error for r in scene.finished()] == [False, True, False]


async def test_a_defect_is_raised_and_every_call_still_has_a_result(scene: Scene) -> None:
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await run(
            scene,
            call(1, "look", '{"name":"a"}'),
            call(2, "crash"),
            call(3, "look", '{"name":"b"}'),
            call(4, "fly"),
            call(5, "put", '{"name":"a","text":"x"}'),
            call(6, "shell", '{"command":"true"}'),
        )
    assert scene.finished() == [
        ToolResult("c1", "look", "first"),
        ToolResult("c2", "crash", "crash failed inside pawl.", is_error=True),
        ToolResult("c3", "look", "second"),
        ToolResult("c4", "fly", f"There is no tool 'fly'. The tools are: {', '.join(TOOLS)}.", is_error=True),
        ToolResult("c5", "put", NOT_RUN, is_error=True),
        ToolResult("c6", "shell", NOT_RUN, is_error=True),
    ]
    assert scene.board.notes["a"] == "first"


async def test_a_step_that_may_change_files_is_announced_once_before_it(scene: Scene) -> None:
    async def note() -> None:
        scene.board.trace.append("kept")

    scene.board.before_change = note
    await run(scene, call(1, "look", '{"name":"a"}'), call(2, "fly"), call(3, "put", "{"))
    assert "kept" not in scene.board.trace
    scene.board.trace.clear()
    writes = [call(n, "put", '{"name":"a","text":"x"}') for n in (2, 3)]
    await run(scene, call(1, "look", '{"name":"a"}'), *writes)
    assert scene.board.trace == ["kept", "look a", "saw a", "put a", "wrote a", "put a", "wrote a"]


async def test_a_defect_before_a_change_runs_nothing(scene: Scene) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("a defect")

    scene.board.before_change = fail
    with pytest.raises(ZeroDivisionError):
        await run(scene, call(1, "put", '{"name":"a","text":"x"}'), call(2, "look", '{"name":"a"}'))
    assert [result.text for result in scene.finished()] == [NOT_RUN, NOT_RUN]
    assert scene.board.notes["a"] == "first"


async def test_cancelled_calls_get_an_interrupted_result(scene: Scene) -> None:
    gate = scene.board.gates["b"] = Gate()
    running = asyncio.create_task(
        run(
            scene,
            call(1, "look", '{"name":"a"}'),
            call(2, "look", '{"name":"b"}'),
            call(3, "put", '{"name":"a","text":"x"}'),
        )
    )
    await gate.reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert scene.finished() == [
        ToolResult("c1", "look", "first"),
        ToolResult("c2", "look", INTERRUPTED, is_error=True),
        ToolResult("c3", "put", INTERRUPTED, is_error=True),
    ]


async def test_output_streams_while_a_command_runs(scene: Scene) -> None:
    await run(scene, call(1, "shell", '{"command":"printf hello"}'))
    assert b"".join(e.data for e in scene.heard if isinstance(e, OutputStreamed)) == b"hello"
    assert scene.finished()[0].text == "exit 0"


async def test_calls_that_share_an_id_have_a_result_each(scene: Scene) -> None:
    await run(scene, call(1, "look", '{"name":"a"}'), call(1, "look", '{"name":"b"}'))
    assert [r.text for r in scene.finished()] == ["first", "second"]
