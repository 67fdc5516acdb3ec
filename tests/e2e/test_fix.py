"""`pawl fix` as a person calls it: a scripted model over real HTTP, real sandboxes, real pytest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.messages import ToolCall
from tests.e2e.conftest import CHECK, FIXED, MODULE, WRONG
from tests.support.model_server import Answer, ModelServer
from tests.support.pawl import identity, run_pawl, started

pytestmark = pytest.mark.anyio

BACKENDS = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
]
OTHERS = pytest.mark.bubblewrap


def fix(url: str, *options: str, backend: str = "bubblewrap", strategy: str = "repair") -> list[str]:
    words = ["fix", "--base-url", url, "-m", "m", "--sandbox", backend, "--strategy", strategy, *options]
    return [*words, "--", *CHECK]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_bug_is_repaired_verified_and_applied(project: Path, backend: str) -> None:
    async with ModelServer([WRONG, FIXED]) as server:
        words = fix(server.base_url, "--yes", "--output-format", "json", "--attempts", "3", backend=backend)
        done = await run_pawl(*words, cwd=project)
    assert done.code == 0, done.err
    assert (project / "sums.py").read_text() == MODULE.replace("result = 1", "result = 0")
    result = done.result
    assert result["subtype"] == "success"
    assert result["attempts"] == 2
    assert result["files_changed"] == ["sums.py"]
    receipt = result["receipt"]
    assert receipt["command"] == list(CHECK)
    assert (receipt["exit_before"], receipt["exit_after"]) == (1, 0)
    assert receipt["tests_before"] == {"failed": 1, "passed": 1}
    assert receipt["tests_after"] == {"passed": 2}
    assert receipt["sandbox"] == backend
    assert receipt["protected_files_touched"] == []
    assert "2 passed" in Path(receipt["log"]).read_text()
    assert result["usage"]["requests"] == 2


@OTHERS
async def test_what_failed_is_told_to_the_next_attempt(project: Path) -> None:
    async with ModelServer([WRONG, FIXED]) as server:
        await run_pawl(*fix(server.base_url, "--attempts", "2"), cwd=project)
        first, second = (request.body["messages"][-1]["content"] for request in server.requests)
    assert second.startswith(first)
    assert "-    result = 1\n+    result = 2" in second[len(first) :]
    assert server.requests[0].body["temperature"] < server.requests[1].body["temperature"]


@OTHERS
async def test_no_apply_prints_a_patch_that_git_applies_and_touches_nothing(project: Path) -> None:
    before = identity(project)
    async with ModelServer([FIXED]) as server:
        done = await run_pawl(*fix(server.base_url, "--no-apply"), cwd=project)
    assert done.code == 0
    assert identity(project) == before
    subprocess.run(["git", "apply", "-"], cwd=project, input=done.out.encode(), check=True)
    assert "result = 0" in (project / "sums.py").read_text()


@OTHERS
async def test_patch_goes_to_a_file(project: Path, tmp_path: Path) -> None:
    before = identity(project)
    file = tmp_path / "out.patch"
    async with ModelServer([FIXED]) as server:
        done = await run_pawl(*fix(server.base_url, "--patch", str(file)), cwd=project)
    assert done.code == 0
    assert identity(project) == before
    subprocess.run(["git", "apply", "--check", str(file)], cwd=project, check=True)


@OTHERS
async def test_without_a_person_and_without_yes_nothing_is_applied(project: Path) -> None:
    before = identity(project)
    async with ModelServer([FIXED]) as server:
        done = await run_pawl(*fix(server.base_url), cwd=project)
    assert done.code == 0
    assert identity(project) == before
    assert "--yes" in done.err


@OTHERS
async def test_stream_json_begins_with_init_and_ends_with_one_result(project: Path) -> None:
    async with ModelServer([FIXED]) as server:
        done = await run_pawl(*fix(server.base_url, "--output-format", "stream-json"), cwd=project)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert lines[0]["type"] == "init"
    assert [line["type"] for line in lines].count("result") == 1
    assert lines[-1]["type"] == "result"
    assert {"check_ran", "attempt_started", "assistant_replied", "attempt_ended"} <= {
        x["type"] for x in lines
    }


@OTHERS
async def test_attempts_used_up_is_exit_3_and_leaves_the_tree(project: Path, isolated: Path) -> None:
    before = identity(project)
    async with ModelServer(lambda body: WRONG) as server:
        words = fix(server.base_url, "--yes", "--attempts", "2", "--output-format", "json")
        done = await run_pawl(*words, cwd=project)
    assert done.code == 3, done.err
    assert done.result["subtype"] == "tests_fail"
    assert identity(project) == before
    assert [*(isolated / "state" / "sessions").glob("*/*/artifacts/attempt-1.patch")]


@OTHERS
async def test_a_command_that_passes_needs_no_model(project: Path) -> None:
    (project / "sums.py").write_text(MODULE.replace("result = 1", "result = 0"))
    done = await run_pawl(*fix("http://127.0.0.1:9/v1"), cwd=project)
    assert done.code == 0, done.err
    assert "passes already" in done.out


@OTHERS
async def test_a_dirty_tree_is_kept_exactly(project: Path) -> None:
    (project / "notes.txt").write_text("mine\n")
    (project / "conftest.py").write_text("# edited, not committed\n")
    index = (project / ".git" / "index").read_bytes()
    async with ModelServer([FIXED]) as server:
        done = await run_pawl(*fix(server.base_url, "--yes"), cwd=project)
    assert done.code == 0, done.err
    assert (project / "notes.txt").read_text() == "mine\n"
    assert (project / "conftest.py").read_text() == "# edited, not committed\n"
    assert (project / ".git" / "index").read_bytes() == index


@OTHERS
async def test_a_plain_folder_without_git(project: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    project.rename(plain)
    shutil.rmtree(plain / ".git")
    async with ModelServer([FIXED]) as server:
        done = await run_pawl(*fix(server.base_url, "--yes"), cwd=plain)
    assert done.code == 0, done.err
    assert "result = 0" in (plain / "sums.py").read_text()


@OTHERS
async def test_files_that_are_not_utf8_are_kept_byte_for_byte(project: Path) -> None:
    source = b"# -*- coding: latin-1 -*-\n# caf\xe9\r\n" + MODULE.replace("\n", "\r\n").encode()
    (project / "sums.py").write_bytes(source)
    (project / "data.bin").write_bytes(bytes(range(256)))
    async with ModelServer([FIXED]) as server:
        done = await run_pawl(*fix(server.base_url, "--yes"), cwd=project)
    assert done.code == 0, done.err
    assert (project / "sums.py").read_bytes() == source.replace(b"result = 1", b"result = 0")
    assert (project / "data.bin").read_bytes() == bytes(range(256))


def call(number: int, name: str, **arguments: object) -> Answer:
    return Answer(tool_calls=(ToolCall(f"c{number}", name, json.dumps(arguments)),))


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_tool_loop_repairs(project: Path, backend: str) -> None:
    script: list[Answer | str] = [
        call(1, "read", path="sums.py"),
        call(2, "edit", path="sums.py", old_string="result = 1", new_string="result = 0"),
        call(3, "run_tests"),
        "The start value was wrong.",
    ]
    async with ModelServer(script, append_only=True) as server:
        words = fix(server.base_url, "--yes", backend=backend, strategy="loop")
        done = await run_pawl(*words, cwd=project)
        results = [m["content"] for m in server.requests[-1].body["messages"] if m["role"] == "tool"]
    assert done.code == 0, done.err
    assert "result = 0" in (project / "sums.py").read_text()
    assert "result = 1" in results[0]
    assert "2 passed" in results[2]


@OTHERS
async def test_a_model_edits_by_the_tool_and_the_rules_of_the_configuration(
    project: Path, isolated: Path
) -> None:
    settings = isolated / "config" / "config.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('refuse_syntax_errors = true\n[models."m"]\nedit_form = "apply_patch"\n')
    patch = "*** Begin Patch\n*** Update File: sums.py\n@@\n-    result = 1\n+    result = {}\n*** End Patch"
    script: list[Answer | str] = [
        call(1, "apply_patch", patch=patch.format("(")),
        call(2, "apply_patch", patch=patch.format("0")),
        "Done.",
    ]
    async with ModelServer(script, append_only=True) as server:
        done = await run_pawl(*fix(server.base_url, "--yes", strategy="loop"), cwd=project)
        body = server.requests[-1].body
    assert done.code == 0, done.err
    names = [tool["function"]["name"] for tool in body["tools"]]
    assert "apply_patch" in names and "edit" not in names
    results = [m["content"] for m in body["messages"] if m["role"] == "tool"]
    assert "would have a syntax error" in results[0] and results[1] == "Updated sums.py."


@OTHERS
async def test_the_tool_loop_is_told_when_its_claim_is_not_true(project: Path) -> None:
    script: list[Answer | str] = [
        call(1, "edit", path="sums.py", old_string="result = 1", new_string="result = 5"),
        "All tests pass now.",
        call(2, "edit", path="sums.py", old_string="result = 5", new_string="result = 0"),
        "Done.",
    ]
    async with ModelServer(script, append_only=True) as server:
        done = await run_pawl(*fix(server.base_url, "--yes", strategy="loop"), cwd=project)
        told = server.requests[2].body["messages"][-1]["content"]
    assert done.code == 0, done.err
    assert "still fails" in told


@OTHERS
async def test_a_patch_of_the_tests_proves_nothing(project: Path) -> None:
    before = identity(project)
    cheat: list[Answer | str] = [
        call(1, "edit", path="tests/test_sums.py", old_string="== 3", new_string="== 4"),
        "Done.",
        call(2, "write", path="pytest.ini", content="[pytest]\naddopts = --collect-only\n"),
        "Done.",
        "I cannot do more.",
    ]
    async with ModelServer(cheat) as server:
        words = fix(server.base_url, "--yes", "--attempts", "1", "--output-format", "json", strategy="loop")
        done = await run_pawl(*words, cwd=project)
    assert done.code == 3, done.err
    assert done.result["receipt"]["protected_files_touched"] == ["pytest.ini", "tests/test_sums.py"]
    assert identity(project) == before


@OTHERS
async def test_a_module_that_shadows_the_runner_proves_nothing(project: Path) -> None:
    cheat: list[Answer | str] = [
        call(1, "write", path="pytest.py", content="raise SystemExit(0)\n"),
        "Done.",
        "Done.",
        "Done.",
    ]
    async with ModelServer(cheat) as server:
        words = fix(server.base_url, "--yes", "--attempts", "1", "--output-format", "json", strategy="loop")
        done = await run_pawl(*words, cwd=project)
    assert done.code == 3, done.err
    assert not (project / "pytest.py").exists()


@OTHERS
async def test_a_printed_patch_is_byte_for_byte(project: Path) -> None:
    source = b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + MODULE.encode()
    (project / "sums.py").write_bytes(source)
    async with (
        ModelServer([FIXED]) as server,
        started(*fix(server.base_url, "--no-apply"), cwd=project) as run,
    ):
        patch, _ = await run.communicate()
    subprocess.run(["git", "apply", "-"], cwd=project, input=patch, check=True)
    assert (project / "sums.py").read_bytes() == source.replace(b"result = 1", b"result = 0")


@OTHERS
async def test_a_file_name_that_is_not_utf8_can_be_told(project: Path) -> None:
    mend = r"sed -i 's/result = 1/result = 0/' sums.py; printf x > $(printf 'caf\351.txt')"
    async with ModelServer([call(1, "bash", command=mend), "Done."]) as server:
        words = fix(server.base_url, "--yes", "--output-format", "stream-json", strategy="loop")
        done = await run_pawl(*words, cwd=project)
    assert done.code == 0, done.err
    assert done.result["files_changed"] == ["caf?.txt", "sums.py"]
    assert (Path(os.fsdecode(bytes(project) + b"/caf\xe9.txt"))).read_text() == "x"


@OTHERS
async def test_a_candidate_that_breaks_its_place_costs_one_attempt(project: Path) -> None:
    script: list[Answer | str] = [
        call(1, "bash", command="truncate -s 300M sums.py"),
        "Done.",
        call(2, "edit", path="sums.py", old_string="result = 1", new_string="result = 0"),
        "Done.",
    ]
    async with ModelServer(script) as server:
        words = fix(server.base_url, "--attempts", "2", "--output-format", "json", strategy="loop")
        done = await run_pawl(*words, cwd=project)
    assert done.code == 0, done.err
    assert done.result["attempts"] == 2


@OTHERS
async def test_a_failure_that_points_nowhere_is_measured(project: Path) -> None:
    """Two functions that the assertion calls alike; only one of them is run by the failing test alone."""
    (project / "sums.py").write_text(
        "def shared(x):\n    return x\n\n\ndef wrong(x):\n    return x + 2\n\n\n"
        "TABLE = {'shared': shared, 'wrong': wrong}\n\n\n"
        "def call(name, x):\n    return TABLE[name](shared(x))\n"
    )
    (project / "tests/test_sums.py").write_text(
        "from sums import call, shared\n\n\n"
        "def test_shared():\n    assert call('shared', 1) == shared(1)\n\n\n"
        "def test_wrong():\n    assert call('wrong', 1) == shared(2)\n"
    )
    right = "```python\ndef wrong(x):\n    return x + 1\n```"
    async with ModelServer([right] * 3) as server:
        words = fix(server.base_url, "--yes", "--attempts", "1")[: -len(CHECK)]
        done = await run_pawl(*words, sys.executable, *CHECK[1:], cwd=project)
        prompt = server.requests[0].body["messages"][-1]["content"]
    assert done.code == 0, done.err
    assert "measuring what the tests run" in done.err
    assert "def wrong(x)" in prompt
