"""An image that the model reads: shown to one that sees, described to one that does not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from agent.messages import ToolCall
from tests.support.model_server import Answer, ModelServer
from tests.support.pawl import run_pawl

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

PLAIN = Path(__file__).parents[1] / "golden" / "images" / "plain.png"
READS = Answer("", tool_calls=(ToolCall("c1", "read", json.dumps({"path": "shot.png"})),))


@pytest.mark.parametrize("sees", [True, False])
async def test_an_image_is_shown_or_described(project: Path, isolated: Path, sees: bool) -> None:
    (project / "shot.png").write_bytes(PLAIN.read_bytes())
    config = project.parent / "own.toml"
    config.write_text('[models."m"]\nimages = true\n' if sees else "")
    async with ModelServer([READS, "A circle."], append_only=True) as server:
        words = (
            "run",
            "what is in shot.png?",
            "--sandbox",
            "bubblewrap",
            "--base-url",
            server.base_url,
            "-m",
            "m",
        )
        done = await run_pawl(*words, cwd=project, PAWL_CONFIG=str(config))
        body, raw = server.requests[1].body, server.requests[1].raw
    assert (done.code, done.out) == (0, "A circle.\n"), done.err
    data = base64.b64encode(PLAIN.read_bytes())
    [result] = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    assert result.startswith("shot.png: PNG image, 48x20, 600 bytes")
    assert (data in raw, "cannot see images" in result) == (sees, not sees)
    [log] = (isolated / "state" / "sessions").glob("*/*.jsonl")
    assert data not in log.read_bytes()
    assert [path.read_bytes() for path in log.with_suffix("").glob("artifacts/images/*")] == [
        PLAIN.read_bytes()
    ]


@pytest.mark.parametrize("command", ["run", "chat"])
@pytest.mark.parametrize("check", [True, False])
async def test_a_person_attaches_an_image(project: Path, isolated: Path, command: str, check: bool) -> None:
    config = project.parent / "own.toml"
    config.write_text('[models."m"]\nimages = true\n')
    more = ("--test-cmd", "true") if check and command == "run" else ()
    async with ModelServer(lambda _: "A circle.") as server:
        words = (command, "What is this?", "--image-file", str(PLAIN), "--sandbox", "bubblewrap", *more)
        done = await run_pawl(
            *words, "--base-url", server.base_url, "-m", "m", cwd=project, PAWL_CONFIG=str(config)
        )
        first = server.requests[0].raw
    assert done.code == 0 and "A circle." in done.out, done.err
    assert first.count(base64.b64encode(PLAIN.read_bytes())) == 1


@pytest.mark.parametrize("command", ["run", "chat"])
async def test_an_attached_image_for_a_blind_model_is_a_clear_error(project: Path, command: str) -> None:
    async with ModelServer([]) as server:
        words = (command, "What is this?", "--image-file", str(PLAIN), "--sandbox", "bubblewrap")
        done = await run_pawl(*words, "--base-url", server.base_url, "-m", "m", cwd=project)
    assert done.code == 1
    assert "cannot see images; choose a model that can" in done.err


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file"), (b"text", "expected a PNG"), (b"cut", "is damaged")],
)
async def test_a_file_that_is_no_image(project: Path, content: bytes | None, said: str) -> None:
    file = project / "x.png"
    if content is not None:
        file.write_bytes(PLAIN.read_bytes()[:100] if content == b"cut" else content)
    done = await run_pawl("run", "What?", "--image-file", str(file), "-m", "openai/x", cwd=project)
    assert done.code == 2
    assert said in done.err
