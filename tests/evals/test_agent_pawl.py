"""pawl as an agent of an evaluation: a process of its own, its ends, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.messages import ToolCall
from agent.result import Result
from evals.agent import AgentError, Job
from evals.agents import pawl
from evals.place import lay_out
from evals.process import Ended, run_process
from evals.store import Run
from evals.types import AgentSpec, End, Files, Instance, Limits, Tests
from tests.e2e.conftest import CHECK, FIXED, MODULE, TESTS
from tests.support.byte_tokens import Reply, byte_server, decode, template
from tests.support.model_server import Answer, ModelServer, error
from tests.support.pawl import run_pawl

EDIT = ToolCall(
    "c1",
    "edit",
    json.dumps(
        {
            "path": "calendar_rules.py",
            "old_string": "year % 4 == 0",
            "new_string": "year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)",
        }
    ),
)
BROKEN = ToolCall("c2", "edit", '{"path": "calendar_rules.py"}')
MISSED = ToolCall("c3", "edit", EDIT.arguments.replace("year % 4 == 0", "year % 5 == 0", 1))


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_a_run_from_end_to_end(tmp_path: Path, isolated: Path) -> None:
    script: list[Answer | str] = [
        Answer("I edit.", tool_calls=(BROKEN, MISSED)),
        Answer("So.", tool_calls=(EDIT,)),
        "Done.",
    ]
    async with ModelServer(script, secrets=("test_centuries",)) as server:
        words = ("-a", "pawl", "-m", "m", "--base-url", server.base_url, "--sandbox", "bubblewrap")
        more = ("--only", "leap-year", "--out", "r", "--fail-under", "100", "--set", "max_steps=9")
        done = await run_pawl("eval", "run", "smoke", *words, *more, cwd=tmp_path)
        assert server.requests[0].body["messages"][-1]["content"].startswith("`is_leap` in calendar_rules.py")
    assert done.code == 0, done.err
    run = Run.open(tmp_path / "r")
    (rollout,) = run.rollouts()
    assert (rollout.end, rollout.steps, rollout.verified) == ("submitted", 3, None)
    assert (rollout.malformed_calls, rollout.failed_edits) == (1, 1)
    assert (rollout.usage.requests, rollout.usage.input_tokens) == (3, 300)
    assert run.manifest.agent.version.count("+") == 1
    names = {path.name for path in run.attempt(rollout.unit).iterdir()}
    assert {"events.jsonl.gz", "result.json", "stderr.txt", "patch.diff"} <= names
    assert "home" not in names
    assert not (isolated / "state" / "sessions").exists()
    assert list((isolated / "state" / "evals" / "scratch").glob("*/*")) == []


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_recorded_tokens_come_with_the_attempt_and_leave_with_an_export(tmp_path: Path) -> None:
    replies = (Reply("", (MISSED,)), Reply("So.", (EDIT,)), "Done.")
    async with byte_server(replies, append_only=True) as server:
        words = ("-a", "pawl", "-m", "m", "--base-url", server.base_url, "--sandbox", "bubblewrap")
        more = ("--only", "leap-year", "--out", "r", "--record-tokens", "--fail-under", "100")
        done = await run_pawl("eval", "run", "smoke", *words, *more, cwd=tmp_path)
        assert done.code == 0, done.err
        sent = [template(request.body) for request in server.requests]
    written = await run_pawl(
        "eval", "export", "r", "--format", "rollouts", "--out", "out.jsonl", cwd=tmp_path
    )
    assert written.out == "out.jsonl: 1 conversations, 0 drift, 0 untold turns\n"
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [decode(turn["prompt_token_ids"]) for turn in row["turns"]] == sent
    assert decode(row["segments"][0]["token_ids"]) == sent[-1] + "Done.<end>"
    assert (row["reward"], row["tokens"]) == (1.0, "all")
    assert [turn["step_rewards"] for turn in row["turns"]] == [
        {"edit_applied": 0.0, "tool_error": 1.0},
        {"edit_applied": 1.0, "syntax_ok": 1.0, "tool_error": 0.0},
        {},
    ]


QUOTA = error(429, "You exceeded your current quota", "insufficient_quota")


@pytest.mark.anyio
@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("key", "code", "asked", "said"),
    [("wrong", 41, 0, "does not accept the API key (401)"), ("right", 75, 1, "quota or credit at")],
)
async def test_a_refused_key_or_no_quota_ends_the_run_with_the_first_answer(
    tmp_path: Path, key: str, code: int, asked: int, said: str
) -> None:
    async with ModelServer(lambda _: QUOTA, api_key="right") as server:
        words = ("-a", "pawl", "-m", "m", "--base-url", server.base_url, "--sandbox", "bubblewrap")
        run = ("eval", "run", "smoke", *words, "--out", "r", "-j", "1")
        done = await run_pawl(*run, cwd=tmp_path, OPENAI_API_KEY=key)
        assert len(server.requests) == asked
    assert done.code == code, done.err
    assert said in done.err and "5 of 5 units are left: pawl eval resume r" in done.err
    assert Run.open(tmp_path / "r").rollouts() == []


TASK = Instance(
    id="sums",
    benchmark="made",
    statement="Mend total.",
    tree=Files({"sums.py": MODULE.encode(), "tests/test_sums.py": TESTS.encode(), "conftest.py": b""}),
    grading=Tests(CHECK, fail_to_pass=()),
    timeout_s=60,
)


def job(folder: Path, base_url: str, **settings: object) -> Job:
    (folder / "attempt").mkdir()
    lay_out(TASK, folder / "tree", folder / "cache")
    return Job(
        unit="u",
        attempt=0,
        instance=TASK,
        tree=folder / "tree",
        environment=None,
        place=folder / "attempt",
        spec=pawl.check(AgentSpec(name="pawl", model="m", base_url=base_url, settings=settings)),
        limits=Limits(),
        backend="bubblewrap",
        seed=0,
    )


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_fix_gets_the_tasks_own_command_and_claims_its_proof(tmp_path: Path) -> None:
    async with ModelServer([FIXED]) as server:
        made = job(tmp_path, server.base_url, command="fix", strategy="repair", attempts=1)
        rollout = await pawl.run(made)
    assert (rollout.end, rollout.verified) == ("submitted", True), rollout.detail
    assert "+    result = 0" in rollout.patch
    assert list((made.place / "outputs").rglob("check-*.log"))


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_cancelled_in_the_middle_nothing_of_it_is_left(tmp_path: Path) -> None:
    async with ModelServer([Answer(wait_for=asyncio.Event())]) as server:
        made = job(tmp_path, server.base_url)
        running = asyncio.create_task(pawl.run(made))
        async with asyncio.timeout(30):
            await server.came.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert sorted(path.name for path in made.place.iterdir()) == ["result.json", "stderr.txt"]
    assert os.fsencode(tmp_path) not in Path("/proc/mounts").read_bytes()
    assert not any(str(tmp_path).encode() in line for line in command_lines())


def command_lines() -> Iterator[bytes]:
    """Of every process there is."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def ended(code: int = 0, *, timed_out: bool = False) -> Ended:
    return Ended(code, timed_out, b"", b"")


def result(subtype: str, code: int = 1, cause: str = "") -> Result:
    return Result(subtype=subtype, exit_code=code, session_id="", text="", cause=cause)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("process", "said", "patch", "end"),
    [
        (ended(), result("success", 0), b"diff", "submitted"),
        (ended(), result("success", 0), b"", "no_change"),
        (ended(3), result("tests_fail", 3), b"diff", "submitted"),
        (ended(3), result("tests_fail", 3), b"", "no_change"),
        (ended(4), result("limit", 4), b"diff", "limit"),
        (ended(5), result("loop", 5), b"", "loop"),
        (ended(6), result("declined", 6), b"", "refused"),
        (ended(41), result("error", 41, "model"), b"", "key_refused"),
        (ended(75), result("error", 75, "quota"), b"", "quota_used_up"),
        (ended(75), result("error", 75, "model"), b"", "provider_error"),
        (ended(1), result("error", 1, "model"), b"", "agent_error"),
        (ended(1), result("error", 1, "sandbox"), b"", "sandbox_error"),
        (ended(1), result("error", 1, "disk"), b"", "sandbox_error"),
        (ended(1), result("error", 1), b"", "agent_error"),
        (ended(130), result("interrupted", 130), b"", "cancelled"),
        (ended(130, timed_out=True), result("interrupted", 130), b"", "limit"),
        (ended(2), None, b"", "agent_error"),
        (ended(75), None, b"", "provider_error"),
        (ended(41), None, b"", "key_refused"),
        (ended(-9), None, b"", "agent_error"),
        (ended(-9, timed_out=True), None, b"", "limit"),
    ],
)
def test_what_each_end_means(process: Ended, said: Result | None, patch: bytes, end: End) -> None:
    assert pawl.end_of(process, said, patch) == end


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seed": 3}, "this is said by --seed"),
        ({"colour": "red"}, "pawl has no setting 'colour'; there are"),
        ({"max_steps": 0}, "--set max_steps: expected"),
        ({"command": "chat"}, "expected run or fix, got 'chat'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(settings: dict[str, object], said: str) -> None:
    with pytest.raises(AgentError, match=said):
        pawl.check(AgentSpec(name="pawl", model="m", settings=settings))


def test_a_model_must_be_named() -> None:
    with pytest.raises(AgentError, match="needs a model"):
        pawl.check(AgentSpec(name="pawl", base_url="http://127.0.0.1:1/v1"))


@pytest.mark.anyio
async def test_cancelled_nothing_of_the_group_is_left(tmp_path: Path) -> None:
    script = "trap '' HUP; sleep 60 & echo $! > child; exec sleep 60"
    running = asyncio.create_task(
        run_process(
            ("sh", "-c", script), cwd=tmp_path, env={}, out=tmp_path / "o", err=tmp_path / "e", timeout_s=60
        )
    )
    async with asyncio.timeout(10):
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
            await asyncio.sleep(0.01)
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(5):
        while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
            await asyncio.sleep(0.01)
