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
from tests.e2e.conftest import MODULE
from tests.support.model_server import Answer, Body, ModelServer
from tests.support.pawl import PAWL, Done, identity, run_pawl, started
from tests.support.trees import make, nodes

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

EDIT = ToolCall(
    "c1", "edit", json.dumps({"path": "sums.py", "old_string": "result = 1", "new_string": "result = 0"})
)


CLEANING = "rm -r tests && chmod 600 conftest.py && mkdir -p out && echo 1 > out/x"
SERVE = ToolCall("c3", "bash", json.dumps({"command": "sleep 97.1", "background": True}))
SHELL = ToolCall("c2", "bash", json.dumps({"command": CLEANING}))
SWELL = ToolCall("c4", "bash", json.dumps({"command": "truncate -s 300M sums.py"}))


def answer(body: Body) -> Answer | str:
    """Edits when asked to mend, stalls when asked to be slow."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return "I changed the start value."
    if "clean" in last["content"]:
        return Answer("I clean.", tool_calls=(SHELL,))
    if "swell" in last["content"]:
        return Answer("I swell.", tool_calls=(SWELL,))
    if "serve" in last["content"]:
        return Answer("I edit and serve.", tool_calls=(EDIT, SERVE))
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


async def test_an_input_that_says_nothing_opens_no_model(project: Path, isolated: Path) -> None:
    done = await run_pawl("chat", cwd=project)
    assert (done.code, done.out) == (0, "")
    assert "opening the model" not in done.err
    assert not (isolated / "cache").exists()


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


async def test_a_turn_sees_what_the_person_changed_and_keeps_the_fork_when_nothing_did(project: Path) -> None:
    """Three turns: the second finds what the first built, the third the person's edit in a fresh fork."""
    make(project, {".gitignore": "build/\n"})
    await asyncio.sleep(0.06)
    seen: list[str] = []
    commands = ["mkdir build && echo kept > build/x", "cat build/x", "head -n 1 notes.txt; ls build"]

    def reply(body: Body) -> Answer | str:
        last = body["messages"][-1]
        if last["role"] == "tool":
            seen.append(last["content"])
            if len(seen) == 2:
                make(project, {"notes.txt": "from the person\n"})
            return "Done."
        command = commands[len(seen)]
        return Answer("", tool_calls=(ToolCall(f"c{len(seen)}", "bash", json.dumps({"command": command})),))

    async with (
        ModelServer(reply, append_only=True) as server,
        started(*chat(server.base_url, "one"), cwd=project, stdin=asyncio.subprocess.PIPE) as process,
    ):
        await process.communicate(b"two\nthree\n")
    assert process.returncode == 0
    assert len(seen) == 3
    assert "kept" in seen[1]
    assert "from the person" in seen[2]
    assert "build" in seen[2] and "No such file" in seen[2]


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
            await window.shows("kept\n\n>")
            window.type("hi again", "Enter")
            await window.shows("hi again\nHello to you.")
            window.type("C-d")
            await window.shows("exit code 0")


async def test_what_is_typed_during_a_turn_steers_it_or_waits(project: Path) -> None:
    waits = ToolCall("c5", "bash", json.dumps({"command": "sleep 4"}))
    asked = 0

    def reply(body: Body) -> Answer | str:
        nonlocal asked
        asked += 1
        if asked == 1:
            return Answer("I wait.", tool_calls=(waits,))
        if body["messages"][-1]["content"].startswith("This conversation gets too long"):
            return "They waited."
        return "Heard: " + body["messages"][-1]["content"]

    async with (
        ModelServer(reply) as server,
        terminal(project, PAWL, *chat(server.base_url)) as window,
    ):
        await window.shows("Enter sends")
        window.type("wait for it", "Enter")
        await window.shows("> bash")
        window.type("then stop", "Enter")
        await window.shows("the model is told at its next step")
        window.type("and later this", "M-Enter")
        await window.shows("kept for after this turn")
        window.type("/compact", "Enter")
        await window.shows("Heard: then stop")
        await window.shows("Heard: and later this")
        await window.shows("the older part is now a summary")
        window.type("hi", "Enter")
        await window.shows("Heard: hi")
        window.type("C-d")
        await window.shows("exit code 0")
    assert "They waited." in server.requests[-1].body["messages"][1]["content"]


async def test_what_is_discarded_is_kept_and_jobs_end_before_files_are_put_back(
    project: Path, isolated: Path
) -> None:
    async with (
        ModelServer(answer, append_only=True) as server,
        terminal(project, PAWL, *chat(server.base_url)) as window,
    ):
        await window.shows("Enter sends")
        window.type("serve", "Enter")
        assert "runs in the background" in await window.shows("[d]iscard:")
        window.type("d", "Enter")
        screen = await window.shows("discarded; the patch is kept for 14 days")
        assert "was ended: sleep 97.1" in screen
        window.type("C-d")
        await window.shows("exit code 0")
    [kept] = (isolated / "state" / "sessions").glob("*/*/artifacts/discarded-*.patch")
    assert b"+    result = 0" in kept.read_bytes()


async def test_changes_that_cannot_be_shown_can_be_undone(project: Path) -> None:
    async with (
        ModelServer(answer, append_only=True) as server,
        terminal(project, PAWL, *chat(server.base_url)) as window,
    ):
        await window.shows("Enter sends")
        window.type("swell", "Enter")
        await window.shows("the changes cannot be shown: 'sums.py' has more than")
        window.type("/undo", "Enter")
        await window.shows("as before the step (1): sums.py")
        window.type("hi", "Enter")
        await window.shows("Hello to you.")
        window.type("C-d")
        await window.shows("exit code 0")


async def test_undo_and_redo_in_a_terminal(project: Path) -> None:
    before = nodes(project)
    async with ModelServer(answer, append_only=True) as server:
        async with terminal(project, PAWL, *chat(server.base_url)) as window:
            await window.shows("Enter sends")
            window.type("/undo", "Enter")
            await window.shows("there is nothing to undo")
            window.type("/help", "Enter")
            await window.shows("there is no /help here")
            window.type("mend it", "Enter")
            await window.shows("Apply to your files?")
            window.type("n", "Enter")
            await window.shows("not applied")
            window.type("clean up", "Enter")
            await window.shows("deleted file mode")
            await window.shows("[d]iscard: ")
            window.type("n", "Enter")
            window.type("/undo", "Enter")
            await window.shows("as before the step (5): conftest.py, out/, out/x, tests/")
            await window.shows("[d]iscard: ")
            window.type("n", "Enter")
            window.type("/undo", "Enter")
            await window.shows("as before the step (1): sums.py")
            assert nodes(project) == before
            window.type("/redo", "Enter")
            await window.shows("changed again as by the step (1): sums.py")
            window.type("y", "Enter")
            await window.shows("applied to sums.py")
            assert "result = 0" in (project / "sums.py").read_text()
            window.type("/undo", "Enter")
            await window.shows("+    result = 1")
            window.type("y", "Enter")
            await window.shows("applied to sums.py")
            window.type("hi", "Enter")
            await window.shows("Hello to you.")
            assert nodes(project) == before, "what was applied and then undone is offered the other way round"
            window.type("C-d")
            await window.shows("exit code 0")
        told = server.requests[-1].body["messages"][-1]["content"]
    assert told.startswith("[The user undid the file changes of your last step: conftest.py, out/, out/x")
    assert told.count("[The user") == 4 and told.endswith("\n\nhi")


async def test_what_a_session_applied_is_undone_later(project: Path) -> None:
    before = nodes(project)

    async def sessions(*words: str) -> Done:
        return await run_pawl("sessions", *words, cwd=project)

    done = await sessions("undo", "--yes")
    assert (done.code, "no session here has a patch in your files" in done.out) == (1, True)
    async with ModelServer(answer) as server:
        for words in (("--yes", "mend it"), ("hi",)):
            assert (await run_pawl(*chat(server.base_url, *words), cwd=project)).code == 0
    newest, first = (await sessions("list")).out.splitlines()
    assert first.endswith("chat    1 files applied") and newest.endswith("chat")
    identity = first.split()[0]
    assert (await sessions("undo", newest.split()[0], "--yes")).code == 1
    assert (await sessions("undo", "nobody", "--yes")).code == 2
    done = await sessions("undo")
    assert (done.code, "--yes" in done.err) == (2, True)
    (project / "sums.py").write_text("the user's own")
    done = await sessions("undo", identity, "--yes")
    assert done.code == 1 and "since the patch was applied" in done.err
    (project / "sums.py").write_text(MODULE.replace("result = 1", "result = 0"))
    async with terminal(project, PAWL, "sessions", "undo") as window:
        await window.shows("Put these back as they were before?")
        window.type("n", "Enter")
        await window.shows("exit code 6")
    done = await sessions("undo", "--yes")
    assert (done.code, done.out.splitlines()[-1]) == (0, "put back: sums.py")
    assert nodes(project) == before
    log = next(Path(os.environ["PAWL_HOME"]).glob(f"state/sessions/*/{identity}.jsonl"))
    assert json.loads(log.read_text().splitlines()[-1])["how"] == "undo_accept"
    assert (await sessions("undo", "--yes")).code == 1


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


async def test_the_first_message_has_a_map_when_it_is_asked_for(project: Path) -> None:
    async with ModelServer(answer) as server:
        words = (
            "chat",
            "--sandbox",
            "bubblewrap",
            "--base-url",
            server.base_url,
            "-m",
            "m",
            "is total right?",
        )
        assert (await run_pawl(*words, cwd=project, PAWL_REPO_MAP="on")).code == 0
        assert (await run_pawl(*words, cwd=project)).code == 0
    with_map, without = (request.body["messages"][-1]["content"] for request in server.requests)
    assert with_map.startswith("is total right?\n\n") and "sums.py:\n    1 def total(items):" in with_map
    assert without == "is total right?"
