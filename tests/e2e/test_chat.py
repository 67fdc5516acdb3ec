"""`pawl chat`: piped, and in a real terminal."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.messages import ToolCall
from tests.support.model_server import Answer, Body, ModelServer
from tests.support.pawl import PAWL, identity, run_pawl, started

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

EDIT = ToolCall(
    "c1", "edit", json.dumps({"path": "sums.py", "old_string": "result = 1", "new_string": "result = 0"})
)


def answer(body: Body) -> Answer | str:
    """Edits when asked to mend, stalls when asked to be slow."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return "I changed the start value."
    if "mend" in last["content"]:
        return Answer("I look.", tool_calls=(EDIT,))
    if "slow" in last["content"]:
        return Answer("This takes a while, be patient.", stall_at=700)
    return "Hello to you."


async def test_piped_text_is_answered_on_stdout_and_nothing_is_applied(project: Path) -> None:
    before = identity(project)
    async with ModelServer(answer, append_only=True) as server:
        words = ("chat", "--sandbox", "bubblewrap", "--base-url", server.base_url, "-m", "m", "mend it")
        done = await run_pawl(*words, cwd=project)
    assert done.code == 0, done.err
    assert "I changed the start value." in done.out
    assert "+    result = 0" in done.out
    assert "candidate.patch" in done.err
    assert identity(project) == before


async def test_yes_applies_each_turn(project: Path) -> None:
    async with ModelServer(answer) as server:
        words = (
            "chat",
            "--sandbox",
            "bubblewrap",
            "--yes",
            "--base-url",
            server.base_url,
            "-m",
            "m",
            "mend it",
        )
        done = await run_pawl(*words, cwd=project)
    assert done.code == 0, done.err
    assert "result = 0" in (project / "sums.py").read_text()


def chat(url: str, *options: str) -> tuple[str, ...]:
    return ("chat", "--sandbox", "bubblewrap", "--base-url", url, "-m", "m", *options)


async def test_no_apply_is_stronger_than_yes(project: Path) -> None:
    before = identity(project)
    async with ModelServer(answer) as server:
        done = await run_pawl(*chat(server.base_url, "--yes", "--no-apply", "mend it"), cwd=project)
    assert done.code == 0, done.err
    assert identity(project) == before


async def test_stream_json_is_nothing_but_json(project: Path) -> None:
    async with ModelServer(answer) as server:
        done = await run_pawl(
            *chat(server.base_url, "--output-format", "stream-json", "mend it"), cwd=project
        )
    types = [json.loads(line)["type"] for line in done.out.splitlines()]
    assert (types[0], types[-1], types.count("result")) == ("init", "result", 1)


async def test_piped_an_error_of_the_model_decides_the_exit_code(project: Path) -> None:
    refusal = Answer(status=401, body=b'{"error":{"message":"bad key"}}', content_type="application/json")
    async with ModelServer(lambda body: refusal) as server:
        done = await run_pawl(*chat(server.base_url, "hello"), cwd=project)
    assert done.code == 41, done.err
    assert "bad key" in done.err


async def test_sigterm_ends_the_conversation_and_not_the_turn_alone(project: Path) -> None:
    async with (
        ModelServer(lambda body: Answer("Wait.", wait_for=asyncio.Event())) as server,
        started(*chat(server.base_url, "hello"), cwd=project) as process,
    ):
        await server.came.wait()
        process.terminate()
        async with asyncio.timeout(20):
            _, err = await process.communicate()
    assert process.returncode == 130, err.decode()


class Terminal:
    """A window of a tmux server of our own."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self._socket, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    async def shows(self, text: str, timeout_s: float = 30.0) -> str:
        """Wait until the screen shows `text`; returns the screen."""
        screen = ""
        try:
            async with asyncio.timeout(timeout_s):
                while text not in (screen := self.tmux("capture-pane", "-p", "-S", "-200")):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"{text!r} never came; the screen shows:\n{screen}")
        return screen


@asynccontextmanager
async def terminal(cwd: Path, *command: str) -> AsyncIterator[Terminal]:
    """A terminal in which a command runs, and then says its exit code."""
    assert shutil.which("tmux"), "tmux is needed for the tests of the terminal"
    window = Terminal(f"pawl-{uuid.uuid4().hex[:8]}")
    kept = {name: os.environ[name] for name in ("HOME", "PAWL_HOME", "PATH")}
    exports = "; ".join(f"export {name}={shlex.quote(value)}" for name, value in kept.items())
    line = f"trap : INT; {exports}; {shlex.join(command)}; echo exit code $?; sleep 60"
    window.tmux(
        "-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "50", "-c", str(cwd), "sh", "-c", line
    )
    try:
        yield window
    finally:
        window.tmux("kill-server")


async def test_a_conversation_in_a_terminal(project: Path) -> None:
    async with ModelServer(answer, append_only=True) as server:
        words = (PAWL, "chat", "--sandbox", "bubblewrap", "--base-url", server.base_url, "-m", "m")
        async with terminal(project, *words) as window:
            await window.shows("Enter sends")
            window.type("hi", "Enter")
            await window.shows("Hello to you.")
            window.type("mend it", "Enter")
            screen = await window.shows("Apply to your files?")
            assert "> edit" in screen and "+    result = 0" in screen
            assert "result = 1" in (project / "sums.py").read_text()
            window.type("y", "Enter")
            await window.shows("applied to sums.py")
            assert "result = 0" in (project / "sums.py").read_text()
            window.type("be slow", "Enter")
            await window.shows("This takes")
            window.type("C-c")
            await window.shows("stopped")
            window.type("hi again", "Enter")
            await window.shows("hi again\nHello to you.")
            window.type("C-d")
            await window.shows("exit code 0")


async def test_fix_asks_before_it_applies(project: Path) -> None:
    from tests.e2e.conftest import CHECK, FIXED

    async with ModelServer([FIXED, FIXED]) as server:
        options = (
            "--sandbox",
            "bubblewrap",
            "--base-url",
            server.base_url,
            "-m",
            "m",
            "--strategy",
            "repair",
        )
        words = (PAWL, "fix", *options, "--", *CHECK)
        async with terminal(project, *words) as window:
            await window.shows("Apply this patch?")
            window.type("n", "Enter")
            await window.shows("exit code 6")
        assert "result = 1" in (project / "sums.py").read_text()
        async with terminal(project, *words) as window:
            await window.shows("Apply this patch?")
            window.type("y", "Enter")
            await window.shows("exit code 0")
        assert "result = 0" in (project / "sums.py").read_text()
