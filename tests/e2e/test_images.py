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
