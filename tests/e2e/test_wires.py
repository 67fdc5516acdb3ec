"""Whole commands over each wire: a tool loop, the exit codes of faults, models that take over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.messages import ToolCall
from agent.models import wire as wires
from tests.e2e.conftest import MODULE
from tests.support.model_server import Answer, ModelServer, error
from tests.support.pawl import run_pawl

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

EDIT = ToolCall(
    "c1", "edit", json.dumps({"path": "sums.py", "old_string": "result = 1", "new_string": "result = 0"})
)
CHAT = ("chat", "--sandbox", "bubblewrap", "--yes", "-m", "m")


@pytest.mark.parametrize("wire", wires.names())
async def test_a_tool_loop_in_chat(project: Path, isolated: Path, wire: str) -> None:
    answers = [
        error(529, "Overloaded", "overloaded_error"),
        Answer("I mend it.", (EDIT,), reasoning="It starts at one.", signature="c2ln"),
        Answer("Mended."),
    ]
    async with ModelServer(answers, append_only=True) as server:
        done = await run_pawl(*CHAT, "--base-url", server.root, "mend it", cwd=project, PAWL_WIRE=wire)
    assert done.code == 0, done.err
    assert (project / "sums.py").read_text() == MODULE.replace("result = 1", "result = 0")
    assert "Overloaded; asking again in" in done.err
    assert b"c2ln" in server.requests[-1].raw
    log = next((isolated / "state" / "sessions").rglob("*.jsonl")).read_text()
    assert f'"origin":"{server.root}/v1#m"' in log and "c2ln" in log


async def test_a_model_that_takes_over(project: Path) -> None:
    spent, fresh = error(402, "Insufficient Balance"), Answer("Hello from the second.")
    async with ModelServer([spent]) as first, ModelServer([fresh]) as second:
        words = (*CHAT, "--base-url", first.base_url, "hello")
        done = await run_pawl(*words, cwd=project, PAWL_FALLBACK=f"{second.base_url}#b")
    assert done.code == 0, done.err
    assert "Hello from the second." in done.out
    assert f"used up: Insufficient Balance; going on with {second.base_url}#b" in done.err


@pytest.mark.parametrize(
    ("words", "env", "code", "said"),
    [
        (("-m", "antropic/claude"), {}, 2, "did you mean anthropic/"),
        (("-m", "anthropic/claude"), {}, 41, "set ANTHROPIC_API_KEY, or the setting api_key_command"),
        (("-m", "groq/x"), {"PAWL_API_KEY_COMMAND": "false"}, 41, "false ended with code 1 and no key"),
        (("-m", "m"), {"PAWL_WIRE": "telnet"}, 2, "expected one of openai_chat"),
        (("-m", "http://127.0.0.1:9#m"), {"PAWL_FALLBACK": "nowhere/m"}, 2, "there is no provider 'nowhere'"),
        (("-m", "replay:/no/such/file"), {}, 1, "/no/such/file is no recording of a model"),
        (("-m", "ollama/m"), {"OLLAMA_HOST": "127.0.0.1:9"}, 75, "is the server running?"),
    ],
)
async def test_what_is_wrong_is_said_with_its_exit_code(
    project: Path, words: tuple[str, ...], env: dict[str, str], code: int, said: str
) -> None:
    done = await run_pawl("chat", "--sandbox", "bubblewrap", *words, "hello", cwd=project, **env)
    assert done.code == code, done.err
    assert said in done.err
