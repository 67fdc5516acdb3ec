"""The model's list of steps: an event, a checklist for the person, and what a compaction keeps."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli.render import Renderer
from agent.compaction import TODO
from agent.context import project
from agent.events import Compacted, TodoChanged
from agent.loop import compact, run_turn
from agent.messages import ToolCall, ToolResult, User
from agent.session import Envelope
from tests.support.scene import TOOLS, Scene, answer, call, calls
from tools.builtin.todo import MAX_CHARS, MAX_ITEMS, todo
from tools.checklist import TodoItem, checklist, progress

pytestmark = pytest.mark.anyio

ALL = {**TOOLS, "todo": todo}
FIRST = (TodoItem("read a", "in_progress"), TodoItem("read b"))
SECOND = (TodoItem("read a", "done"), TodoItem("read b", "in_progress"), TodoItem("tell"))


def listing(number: int, *items: TodoItem) -> ToolCall:
    wanted = [{"text": item.text, "status": item.status} for item in items]
    return call(number, "todo", json.dumps({"items": wanted}))


async def test_each_list_is_an_event_and_the_model_hears_only_how_far_it_is(tmp_path: Path) -> None:
    replies = [calls(listing(1, *FIRST), listing(2, *SECOND)), calls(listing(3)), answer()]
    with Scene(tmp_path, replies, toolset=ALL) as scene:
        await run_turn(scene.agent, "read a and b")
        lists = [event for event in scene.reload() if isinstance(event, TodoChanged)]
        assert lists == [TodoChanged(FIRST), TodoChanged(SECOND), TodoChanged(())]
        assert [result.text for result in scene.finished()] == [
            "[0 of 2 done, now: read a]",
            "[1 of 3 done, now: read b]",
            "[the list is empty]",
        ]


async def test_it_is_told_again_behind_each_summary(tmp_path: Path) -> None:
    told = [answer("so " * 400) for _ in range(4)]
    replies = [calls(listing(1, *FIRST)), calls(listing(2, *SECOND)), *told, answer("They read."), answer()]
    with Scene(tmp_path, replies, toolset=ALL) as scene:
        for _ in range(4):
            await run_turn(scene.agent, "go on")
        made = await compact(scene.agent)
        assert made is not None
        await run_turn(scene.agent, "and now?")
        request = scene.model.requests[-1].messages
        kept = f"{TODO}\n[x] read a\n[>] read b\n[ ] tell"
        assert isinstance(request[1], User) and request[1].text.endswith(f"They read.\n\n{kept}")
        assert "read b" not in "".join(m.text for m in request[2:]), "the calls themselves gave way"
        assert request == project(scene.reload())[: len(request)]
        [event] = [event for event in scene.reload() if isinstance(event, Compacted)]
        assert event.summary == "They read.", "the list has its own place in the log"


async def test_an_empty_list_is_not_told_and_shortened_results_change_nothing(tmp_path: Path) -> None:
    talk = [answer("so " * 400) for _ in range(4)]
    with Scene(
        tmp_path, [calls(listing(1, *FIRST), listing(2)), *talk, answer("They read.")], toolset=ALL
    ) as s:
        for _ in range(4):
            await run_turn(s.agent, "go on")
        before = project(s.branch.events())
        s.branch.emit(Compacted(clip_before=3, clip_bytes=400))
        assert project(s.branch.events()) == before
        assert await compact(s.agent) is not None
        assert TODO not in "".join(message.text for message in project(s.branch.events()))


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([{"text": "x"}] * (MAX_ITEMS + 1), f"{MAX_ITEMS + 1} items are too many, at most {MAX_ITEMS}."),
        ([{"text": "x"}, {"text": " \n"}], "Item 2 is empty."),
        ([{"text": "x" * (MAX_CHARS + 1)}], f"Item 1 has {MAX_CHARS + 1} characters, at most {MAX_CHARS}."),
        ([{"text": "x", "status": "completed"}], "Invalid enum value 'completed'"),
        ([{"status": "done"}], "missing required field `text`"),
    ],
)
async def test_what_is_too_much_or_wrong_is_refused(
    tmp_path: Path, items: list[dict[str, str]], said: str
) -> None:
    replies = [calls(call(1, "todo", json.dumps({"items": items}))), answer()]
    with Scene(tmp_path, replies, toolset=ALL) as scene:
        await run_turn(scene.agent, "plan")
        [result] = scene.finished()
        assert result.is_error and said in result.text
        assert "todo_changed" not in scene.kinds()


async def test_the_most_that_fits_is_taken_and_lines_are_made_one(tmp_path: Path) -> None:
    items = [{"text": "x\n" * (MAX_CHARS // 2)}] * MAX_ITEMS
    replies = [calls(call(1, "todo", json.dumps({"items": items}))), answer()]
    with Scene(tmp_path, replies, toolset=ALL) as scene:
        await run_turn(scene.agent, "plan")
        assert scene.finished() == [ToolResult("c1", "todo", f"[0 of {MAX_ITEMS} done]")]
        [kept] = [event for event in scene.reload() if isinstance(event, TodoChanged)]
        assert checklist(kept.items).count("\n") == MAX_ITEMS - 1
        assert len(checklist(kept.items)) < 9000, "what each compaction costs at most"


def test_the_person_sees_a_checklist_whatever_it_says() -> None:
    out = io.StringIO()
    items = (*SECOND, TodoItem("[bold]\x1b[2J[/]"), *(TodoItem(f"step {n}") for n in range(10)))
    Renderer(Console(file=out, width=200))(TodoChanged(items), Envelope(1, 0, "", 0, 0))
    lines = out.getvalue().splitlines()
    assert lines[:4] == ["  [x] read a", "  [>] read b", "  [ ] tell", "  [ ] [bold]\\x1b[2J[/]"]
    assert len(lines) == len(items)


def test_how_far_it_is() -> None:
    assert progress(SECOND[:1]) == "1 of 1 done"
    assert progress(()) == "the list is empty"
