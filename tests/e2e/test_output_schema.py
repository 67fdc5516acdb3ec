"""`pawl run --output-schema FILE`: stdout is JSON for a program, or the exit code says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.messages import ToolCall
from tests.support.model_server import Answer, ModelServer
from tests.support.pawl import run_pawl

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

EDIT = ToolCall(
    "c1", "edit", json.dumps({"path": "sums.py", "old_string": "result = 1", "new_string": "result = 0"})
)
SCHEMA = {"type": "object", "properties": {"changed": {"type": "array"}}, "required": ["changed"]}


@pytest.fixture
def schema(project: Path) -> Path:
    file = project.parent / "schema.json"
    file.write_text(json.dumps(SCHEMA))
    return file


async def test_the_answer_alone_is_on_stdout(project: Path, schema: Path) -> None:
    script = [Answer("I edit.", (EDIT,)), "Mended.", '```json\n{"changed": ["sums.py"]}\n```']
    async with ModelServer(script, append_only=True) as server:
        words = ("run", "--sandbox", "bubblewrap", "--base-url", server.base_url, "-m", "m", "--yes")
        more = ("--test-cmd", "grep -q 'result = 0' sums.py", "--output-schema", str(schema))
        done = await run_pawl(*words, *more, "mend it", cwd=project)
    assert (done.code, done.out) == (0, '{"changed": ["sums.py"]}\n'), done.err
    assert "Applied to sums.py" in done.err
    assert "result = 0" in (project / "sums.py").read_text()


async def test_what_does_not_fit_twice_is_an_error(project: Path, schema: Path) -> None:
    async with ModelServer(["Three.", '{"changed": 3}'], append_only=True) as server:
        words = ("run", "--sandbox", "bubblewrap", "--base-url", server.base_url, "-m", "m")
        more = ("--output-format", "json", "--output-schema", str(schema), "what changed?")
        done = await run_pawl(*words, *more, cwd=project)
    assert (done.code, done.result["subtype"]) == (1, "error")
    assert done.result["text"].endswith("also when asked for again: $.changed: 3 is not of type 'array'")


def test_a_file_that_is_no_schema_is_told_before_anything_is_done(
    project: Path, schema: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema.write_text('{"type": "objekt"}')
    assert main(["run", "hi", "-C", str(project), "--output-schema", str(schema)]) == 2
    assert "schema.json is no JSON Schema: type: 'objekt' is not valid" in capsys.readouterr().err
