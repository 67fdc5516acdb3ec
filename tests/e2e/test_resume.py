"""`--continue`, `--resume` and `--fork`: another process goes on with a session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.messages import ToolCall
from agent.session import SessionLog
from tests.support.model_server import Answer, ModelServer
from tests.support.pawl import PAWL, run_pawl
from tests.support.terminal import on_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

BOX = ("--sandbox", "bubblewrap")
EDIT = ToolCall(
    "c1", "edit", json.dumps({"path": "sums.py", "old_string": "result = 1", "new_string": "result = 0"})
)
READ = ToolCall("c9", "read", '{"path": "sums.py"}')


def logs(isolated: Path) -> list[Path]:
    return sorted((isolated / "state" / "sessions").glob("*/*.jsonl"))


def last_message(server: ModelServer) -> str:
    content: str = server.requests[-1].body["messages"][-1]["content"]
    return content


async def test_what_was_sent_is_sent_again_byte_for_byte(project: Path, isolated: Path) -> None:
    """The attempt that was proved is gone on with: its prompt, its tools, and what is new behind them.

    How each wire keeps what was sent is in tests/agent/test_cache_discipline.py.
    """
    (project / "AGENTS.md").write_text("Be brief.\n")
    answers = [
        Answer("I mend it.", (EDIT,), reasoning="It starts at one.", signature="c2ln"),
        Answer("Mended."),
        Answer("I look.", (READ,)),
        Answer("It is still so."),
    ]
    async with ModelServer(answers, append_only=True) as server:
        words = (
            "run",
            *BOX,
            "--base-url",
            server.base_url,
            "-m",
            "m",
            "--test-cmd",
            "grep -q 'result = 0' sums.py",
        )
        done = await run_pawl(*words, "--yes", "mend it", cwd=project, PAWL_WIRE="anthropic_messages")
        assert done.code == 0, done.err
        (project / "AGENTS.md").write_text("Be verbose.\n")
        (project / "conftest.py").unlink()
        words = ("run", "-c", *BOX, "--tools", "+todo", "--output-format", "json", "and now?")
        done = await run_pawl(*words, cwd=project, PAWL_WIRE="anthropic_messages")
    assert done.code == 0, done.err
    [log] = logs(isolated)
    assert (done.result["session_id"], done.result["text"]) == (log.stem, "It is still so.")
    assert (done.result["steps"], done.result["usage"]["requests"]) == (2, 2), "of this invocation alone"
    told = b"[The session goes on later, with the user's files as they are now. Changed since: AGENTS.md.]"
    assert server.requests[2].raw.count(told) == server.requests[3].raw.count(told) == 1
    assert b"c2ln" in server.requests[3].raw and b"Be verbose" not in server.requests[3].raw


async def test_a_session_is_chosen_from_a_list_and_has_one_writer(project: Path, isolated: Path) -> None:
    async with ModelServer(lambda body: "Hello.") as server:
        done = await run_pawl("run", *BOX, "--base-url", server.base_url, "-m", "m", "a\nb", cwd=project)
        assert done.code == 0, done.err
        [log] = logs(isolated)
        with log.open("ab") as file:
            file.write(b'{"seq":99,"par')  # as a crash leaves it
        done = await run_pawl("run", "hi", "-r", cwd=project)
        assert (done.code, "--resume needs the id of a session; there are:\n2" in done.err) == (2, True)
        async with on_terminal(PAWL, "chat", "-r", *BOX, cwd=project) as screen:
            await screen.shows("  1. 2")
            await screen.shows("run   a b")
            await screen.shows("Go on with")
            screen.type("1\n")
            await screen.shows("Enter sends")
            await screen.shows("Hello.")  # what was said last
            done = await run_pawl("run", "-c", "hi", cwd=project)
            assert (done.code, "in use by another pawl" in done.err, "--fork" in done.err) == (1, True, True)
            before = log.read_bytes()
            done = await run_pawl("run", "--continue", "--fork", *BOX, "hi again", cwd=project)
            assert (done.code, last_message(server)) == (0, "hi again"), "nothing is told, as nothing changed"
            [fork] = set(logs(isolated)) - {log}
            assert (log.read_bytes(), SessionLog.load(fork).header.forked) == (before, log.stem)
            screen.type("go on\n")
            await screen.shows("Hello.")
            screen.type("\x04")
            assert await screen.ends() == 0
    said = [m["content"] for m in server.requests[-1].body["messages"] if m["role"] == "user"]
    assert said == ["a\nb", "go on"]
    lines = fork.read_bytes().splitlines()
    fork.write_bytes(b"\n".join([*lines[:4], b"{}", *lines[5:], b""]))
    done = await run_pawl("run", "-r", fork.stem[:-1], *BOX, "--output-format", "json", "hi", cwd=project)
    assert (done.code, f"{fork}:5: not an event" in done.result["text"]) == (1, True)
