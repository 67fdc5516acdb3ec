"""`pawl fix` without a command: the project's own way to run its tests is found, not only in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.messages import ToolCall
from tests.support.model_server import Answer, ModelServer
from tests.support.pawl import run_pawl

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

SOURCE = "exports.add = (a, b) => {\n  return a - b;\n};\n"
PROJECT = {
    "package.json": '{"name": "calc", "scripts": {"test": "node --test"}}',
    "calc.js": SOURCE,
    "calc.test.js": (
        'const test = require("node:test");\nconst assert = require("node:assert");\n'
        'const { add } = require("./calc");\n'
        'test("adds two", () => {\n  assert.strictEqual(add(1, 2), 3);\n});\n'
        'test("takes nothing", () => {\n  assert.strictEqual(add(1, 0), 1);\n});\n'
    ),
}


@pytest.fixture
def calc(tmp_path: Path) -> Path:
    folder = tmp_path / "calc"
    folder.mkdir()
    for name, text in PROJECT.items():
        (folder / name).write_text(text)
    return folder


def call(number: int, name: str, **arguments: object) -> Answer:
    return Answer(tool_calls=(ToolCall(f"c{number}", name, json.dumps(arguments)),))


def fix(url: str, *more: str) -> list[str]:
    words = [
        "fix",
        "--base-url",
        url,
        "-m",
        "m",
        "--sandbox",
        "bubblewrap",
        "--strategy",
        "loop",
        "--attempts",
        "1",
    ]
    return [*words, "--yes", "--output-format", "json", *more]


async def test_a_project_of_node_is_fixed(calc: Path) -> None:
    script: list[Answer | str] = [
        call(1, "edit", path="calc.js", old_string="a - b", new_string="a + b"),
        call(2, "run_tests", selection="changed"),
        call(3, "edit", path="package.json", old_string="node --test", new_string="true"),
        "Added, not subtracted.",
    ]
    async with ModelServer(script) as server:
        done = await run_pawl(*fix(server.base_url), cwd=calc)
        first = server.requests[0].body["messages"][-1]["content"]
        results = [m["content"] for m in server.requests[-1].body["messages"] if m["role"] == "tool"]
    assert done.code == 0, done.err
    assert first.startswith(
        "This command fails: npm test\n\n1 failed, 1 passed\n\nFAILED adds two\n  calc.test.js:5"
    )
    assert "2 passed\nSince the last run: 1 pass now that failed (adds two)" in results[1]
    receipt = done.result["receipt"]
    assert receipt["command"] == ["npm", "test"]
    assert (receipt["tests_before"], receipt["tests_after"]) == ({"failed": 1, "passed": 1}, {"passed": 2})
    assert receipt["protected_files_touched"] == ["package.json"]
    assert (calc / "calc.js").read_text() == SOURCE.replace("-", "+")
    assert (calc / "package.json").read_text() == PROJECT["package.json"]


async def test_the_configured_command_comes_first(calc: Path) -> None:
    done = await run_pawl(*fix("http://127.0.0.1:9/v1"), cwd=calc, PAWL_TEST_CMD="node -e 0")
    assert done.code == 0, done.err
    assert "`node -e 0` passes already" in done.result["text"]


async def test_where_nothing_is_found_the_command_has_to_be_named(tmp_path: Path) -> None:
    done = await run_pawl(*fix("http://127.0.0.1:9/v1"), cwd=tmp_path)
    assert done.code == 1
    assert "name the command: `pawl fix -- CMD...`" in done.result["text"]
