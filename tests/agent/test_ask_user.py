"""A question of the model's: answered, refused, cut off, or put where nobody is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.context import INTERRUPTED
from agent.loop import run_turn
from agent.messages import ToolCall
from tests.support.scene import TOOLS, Gate, Scene, answer, call, calls
from tools.builtin.ask_user import MAX_OPTIONS, NOBODY, UNANSWERED, ask_user

pytestmark = pytest.mark.anyio

ALL = {**TOOLS, "ask_user": ask_user}


def asking(question: str, *options: str) -> ToolCall:
    return call(1, "ask_user", json.dumps({"question": question, "options": options}))


async def results(folder: Path, wanted: ToolCall, said: str | None) -> tuple[str, bool, list[object]]:
    asked: list[object] = []

    async def ask(question: str, options: Sequence[str]) -> str:
        asked.append((question, list(options)))
        return said or ""

    with Scene(folder, [calls(wanted), answer()], toolset=ALL) as scene:
        scene.board.ask = None if said is None else ask
        await run_turn(scene.agent, "go")
        [result] = scene.finished()
        return result.text, result.is_error, asked


@pytest.mark.parametrize(
    ("said", "told"), [("blue", "The user answered: blue"), ("", UNANSWERED), (None, NOBODY)]
)
async def test_the_model_hears_the_answer_or_that_there_is_none(
    tmp_path: Path, said: str | None, told: str
) -> None:
    text, is_error, asked = await results(tmp_path, asking(" Which colour? ", "red", " ", "blue "), said)
    assert (text, is_error) == (told, False)
    assert asked == ([] if said is None else [("Which colour?", ["red", "blue"])])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (asking(" "), "There is no question."),
        (asking("Which?", *"abcdefghij"), f"10 options are too many, at most {MAX_OPTIONS}."),
    ],
)
async def test_a_bad_question_is_not_put(tmp_path: Path, wanted: ToolCall, said: str) -> None:
    assert await results(tmp_path, wanted, "x") == (said, True, [])


async def test_a_cancelled_turn_leaves_no_question_behind(tmp_path: Path) -> None:
    gate = Gate()

    async def ask(question: str, options: Sequence[str]) -> str:
        await gate.wait()
        return ""

    with Scene(tmp_path, [calls(asking("Which?")), answer()], toolset=ALL) as scene:
        scene.board.ask = ask
        turn = asyncio.create_task(run_turn(scene.agent, "go"))
        await gate.reached.wait()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        assert [result.text for result in scene.finished()] == [INTERRUPTED]
        assert (await run_turn(scene.agent, "go on")).status == "done"
