"""`ask_user` and `todo` in a real terminal and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.messages import ToolCall
from tests.support.model_server import Answer, Body, ModelServer
from tests.support.pawl import PAWL, run_pawl
from tests.support.terminal import on_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

OPTIONS = ["red\x1b[2J", "blue"]
PLAN = ToolCall("c0", "todo", json.dumps({"items": [{"text": "ask", "status": "in_progress"}]}))


def asks(*numbers: int) -> Answer:
    arguments = json.dumps({"question": "Which colour?", "options": OPTIONS})
    return Answer("", tool_calls=tuple(ToolCall(f"c{n}", "ask_user", arguments) for n in numbers))


def words(url: str, command: str, *more: str) -> tuple[str, ...]:
    return (
        command,
        "--sandbox",
        "bubblewrap",
        "--tools",
        "+ask_user,+todo",
        "--base-url",
        url,
        "-m",
        "m",
        *more,
    )


def told(body: Body) -> list[str]:
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


async def test_a_person_answers_by_number_or_freely_or_not_at_all_or_stops_it(project: Path) -> None:
    script = [asks(1, 2), "Two answers.", asks(3), "None.", asks(4), "Never sent.", "Go on."]
    async with (
        ModelServer([Answer("", tool_calls=(PLAN,)), *script[:5], *script[6:]], append_only=True) as server,
        on_terminal(PAWL, *words(server.base_url, "chat"), cwd=project) as screen,
    ):
        await screen.shows("Enter sends")
        screen.type("paint it\n")
        await screen.shows("  [>] ask")
        await screen.shows("Which colour?\r\n  1. red\\x1b[2J\r\n  2. blue\r\n(a number or your own words;")
        screen.type("2\n")
        await screen.shows("Which colour?")
        screen.type(" 3, or green \n")
        await screen.shows("The user answered: blue")
        await screen.shows("The user answered: 3, or green")
        await screen.shows("Two answers.")
        screen.type("again\n")
        await screen.shows("Which colour?")
        screen.type("\n")
        await screen.shows("None.")
        screen.type("once more\n")
        await screen.shows("Enter alone gives none")
        screen.type("\x03")
        await screen.shows("stopped")
        screen.type("go on\n")
        await screen.shows("Go on.")
        screen.type("\x04")
        assert await screen.ends() == 0
    assert told(server.requests[-1].body) == [
        "[0 of 1 done, now: ask]",
        "The user answered: blue",
        "The user answered: 3, or green",
        "The user gave no answer. Choose yourself, and say what you chose.",
        "The call was interrupted before it finished.",
    ]


async def test_where_nobody_is_the_model_is_told_at_once(project: Path) -> None:
    async with ModelServer([asks(1), "I chose blue."]) as server:
        done = await run_pawl(*words(server.base_url, "run", "paint it"), cwd=project)
        assert told(server.requests[1].body) == [
            "Nobody is here to answer. Choose yourself, and say what you chose."
        ]
    assert (done.code, done.out) == (0, "I chose blue.\n"), done.err
    names = [tool["function"]["name"] for tool in server.requests[0].body["tools"]]
    assert names[-2:] == ["ask_user", "todo"]


async def test_a_tool_that_does_not_exist_is_wrong_usage(project: Path) -> None:
    done = await run_pawl("run", "--tools", "+tood", "x", cwd=project)
    assert done.code == 2 and "--tools: there is no tool 'tood'; did you mean todo" in done.err
