"""`--permission-mode` and `--yolo`, of a run and in a conversation."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from agent.cli.main import main
from agent.messages import ToolCall
from agent.permissions import PLANNING
from tests.e2e.conftest import MODULE
from tests.support.model_server import Answer, Body, ModelServer
from tests.support.pawl import PAWL, run_pawl
from tests.support.terminal import on_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

EDIT = ToolCall(
    "c1", "edit", json.dumps({"path": "sums.py", "old_string": "result = 1", "new_string": "result = 0"})
)
BACK = ToolCall(
    "c2", "edit", json.dumps({"path": "sums.py", "old_string": "result = 0", "new_string": "result = 1"})
)
SHELL = ToolCall("c3", "bash", json.dumps({"command": "echo '# a word' >> sums.py"}))
MENDED = MODULE.replace("result = 1", "result = 0")


def answer(body: Body) -> Answer | str:
    """Calls what the message names."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return "Done: " + last["content"][:40]
    calls = {"edit": (EDIT,), "shell": (EDIT, SHELL), "back": (BACK,)}.get(last["content"].split()[0], ())
    place = len(body["messages"])
    return Answer("I work.", tuple(msgspec.structs.replace(call, id=f"{call.id}x{place}") for call in calls))


@pytest.mark.parametrize(
    ("mode", "message", "left"),
    [
        (("--permission-mode", "plan", "--test-cmd", "true"), "edit", MODULE),
        (("--yolo",), "shell", MENDED + "# a word\n"),
    ],
)
async def test_a_run_asks_nobody(project: Path, mode: tuple[str, ...], message: str, left: str) -> None:
    async with ModelServer(answer, append_only=True) as server:
        words = (
            "--sandbox",
            "bubblewrap",
            "--base-url",
            server.base_url,
            "-m",
            "m",
            "--output-format",
            "json",
        )
        done = await run_pawl("run", *words, *mode, message, cwd=project)
    assert (done.code, (project / "sums.py").read_text()) == (0, left), done.err
    planned = "plan" in mode
    assert ("edit is not allowed in plan mode" in done.result["text"]) == planned
    said = f"{message}\n\n{PLANNING}" if planned else message
    assert [m["content"] for m in server.requests[0].body["messages"] if m["role"] == "user"] == [said]
    assert bool(done.result["patch"]) == (not planned)


async def test_what_is_no_mode_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for mode in (("--permission-mode", "free"), ("--yolo", "--permission-mode", "ask")):
        assert main(["run", "hi", "-C", str(project), *mode]) == 2
        assert "--permission-mode" in capsys.readouterr().err


async def test_shift_tab_goes_through_the_modes_of_a_conversation(project: Path) -> None:
    file = project / "sums.py"
    async with (
        ModelServer(answer, append_only=True) as server,
        on_terminal(
            *(PAWL, "chat", "--sandbox", "bubblewrap", "--base-url", server.base_url, "-m", "m"),
            *("--permission-mode", "plan"),
            cwd=project,
        ) as screen,
    ):
        await screen.shows("Enter sends")
        screen.type("edit\n")
        await screen.shows("Done: edit is not allowed in plan mode")
        screen.type("\x1b[Z\n")
        await screen.shows("permission mode: ask")
        screen.type("\x1b[Zedit\n")
        await screen.shows("permission mode: auto-edit")
        await screen.shows("applied to sums.py")
        assert file.read_text() == MENDED
        screen.type("/permissions free\n")
        await screen.shows("there is no mode 'free'; they are plan, ask, auto-edit, yolo")
        screen.type("/permissions\n")
        await screen.shows("permission mode: auto-edit")
        screen.type("back\n")
        await screen.shows("applied to sums.py")
        screen.type("shell\n")
        await screen.shows("Apply to your files?")
        screen.type("y\n")
        await screen.shows("applied to sums.py")
        screen.type("\x04")
        assert await screen.ends() == 0
    assert file.read_text() == MENDED + "# a word\n"
