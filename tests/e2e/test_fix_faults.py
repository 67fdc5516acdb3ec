"""`pawl fix` when something is wrong: a clear message, the right exit code, and nothing lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from agent.messages import ToolCall
from tests.e2e.conftest import CHECK, FIXED, WRONG
from tests.support.model_server import Answer, ModelServer, refused_url
from tests.support.pawl import PAWL, identity, run_pawl, started

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

BWRAP = ("--sandbox", "bubblewrap")
MODEL = ("-m", "m", "--strategy", "repair")


async def test_a_command_that_hangs_is_killed(project: Path) -> None:
    before = identity(project)
    done = await run_pawl("fix", *BWRAP, "--timeout", "3", "--", "sleep", "1000", cwd=project)
    assert done.code == 4, done.err
    assert "within 1 s" in done.err
    assert identity(project) == before


async def test_a_test_that_hangs_is_found_and_repaired(project: Path) -> None:
    (project / "sums.py").write_text("def total(items):\n    while items:\n        pass\n    return 0\n")
    async with ModelServer([FIXED]) as server:
        done = await run_pawl(
            *("fix", *BWRAP, "--base-url", server.base_url, *MODEL, "--yes", "--timeout", "60"),
            *("--", *CHECK),
            cwd=project,
        )
        assert "infinite loop" in server.requests[0].body["messages"][-1]["content"]
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("no-such-program",), "not found"),
        (("./data.txt",), "cannot be executed"),
        (("python", "-m", "pytest", "-q", "nowhere"), "cannot run here"),
        (("python", "-m", "pytest", "-q", "-k", "nothing_matches"), "no tests were collected"),
    ],
)
async def test_a_command_that_cannot_start_is_no_success(
    project: Path, command: tuple[str, ...], word: str
) -> None:
    (project / "data.txt").write_text("x")
    done = await run_pawl("fix", *BWRAP, "--base-url", refused_url(), *MODEL, "--", *command, cwd=project)
    assert done.code == 1, done.err
    assert word in done.err


async def test_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    done = await run_pawl("fix", *BWRAP, "--", *CHECK, cwd=folder)
    assert done.code == 1, done.err
    assert "no tests were collected" in done.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [
        (Answer(body=b"<html>hello</html>", content_type="text/html"), 1, "text/html"),
        (Answer(body=b"data: {nonsense\n\n"), 1, ""),
        (Answer(FIXED, cut_at=300), 75, ""),
        (
            Answer(status=401, body=b'{"error":{"message":"bad key"}}', content_type="application/json"),
            41,
            "",
        ),
    ],
    ids=["html", "garbage", "dies in the middle", "no access"],
)
async def test_a_model_server_that_is_no_good(project: Path, answer: Answer, code: int, word: str) -> None:
    before = identity(project)
    async with ModelServer(lambda body: answer, prefill=True) as server:
        words = (
            "fix",
            *BWRAP,
            "--base-url",
            server.base_url,
            *MODEL,
            "--output-format",
            "json",
            "--",
            *CHECK,
        )
        done = await run_pawl(*words, cwd=project)
    assert done.code == code, done.err
    assert done.result["subtype"] == "error"
    assert word in done.result["text"]
    assert server.base_url.split("/")[2] in done.result["text"]
    assert identity(project) == before


async def test_a_model_server_that_is_down(project: Path, isolated: Path) -> None:
    before = identity(project)
    url = refused_url()
    words = ("fix", *BWRAP, "--base-url", url, *MODEL, "--output-format", "json", "--", *CHECK)
    done = await run_pawl(*words, cwd=project)
    assert done.code == 75, done.err
    assert url.split("/")[2] in done.result["text"]
    assert identity(project) == before
    logs = list((isolated / "state" / "sessions").rglob("*.jsonl"))
    assert len(logs) == 1, "the session is kept"
    assert json.loads(logs[0].read_text().splitlines()[-1])["type"] == "finished"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-m", "http://"), "no address of a model server"),
        (("--base-url", "ftp://host/v1", "-m", "m"), "no address of a model server"),
        (("--patch", "no-such-folder/fix.patch"), "expected a file in a folder that is there"),
        (("--patch", "."), "expected a file in a folder that is there"),
        (("--image", "no name"), "--image: expected the name of an image, such as `python:3-slim`"),
    ],
)
async def test_what_cannot_be_used_is_refused_before_any_work(
    project: Path, isolated: Path, words: tuple[str, ...], said: str
) -> None:
    done = await run_pawl("fix", *BWRAP, *words, "--", *CHECK, cwd=project)
    assert (done.code, said in done.err) == (2, True), done.err
    assert not (isolated / "state" / "sessions").exists()


async def test_a_run_ends_at_the_cost_that_was_allowed(project: Path, isolated: Path) -> None:
    """Each reply costs 0.0011 USD here: none but the first is asked for."""
    before = identity(project)
    settings = isolated / "config" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[models.m]\nprices = { input = 10.0, output = 20.0 }\n")
    async with ModelServer(lambda body: WRONG) as server:
        words = ("fix", *BWRAP, "--base-url", server.base_url, *MODEL, "--max-cost", "0.001")
        words += ("--attempts", "4", "--output-format", "json", "--", *CHECK)
        done = await run_pawl(*words, cwd=project)
        assert len(server.requests) == 1
    assert done.code == 4, done.err
    assert "spent 0.0011 of 0.001 USD" in done.result["text"]
    assert done.result["usage"]["cost_usd"] == pytest.approx(0.0011)
    assert identity(project) == before


async def test_a_cost_that_nobody_knows_cannot_be_held_to(project: Path) -> None:
    words = ("fix", *BWRAP, "-m", "openai/no-such-model", "--max-cost", "1", "--", *CHECK)
    done = await run_pawl(*words, cwd=project, OPENAI_API_KEY="k")
    assert done.code == 2, done.err
    assert "no price is known for openai/no-such-model" in done.err


async def test_a_read_only_folder(project: Path) -> None:
    project.chmod(0o555)
    before = identity(project)
    async with ModelServer([FIXED]) as server:
        words = ("fix", *BWRAP, "--base-url", server.base_url, *MODEL, "--no-apply", "--", *CHECK)
        done = await run_pawl(*words, cwd=project)
    assert done.code == 0, done.err
    assert identity(project) == before


async def test_an_unknown_model_is_refused_before_any_work(project: Path) -> None:
    done = await run_pawl("fix", *BWRAP, "-m", "local/qwen2.5-coder-1.5", "--", *CHECK, cwd=project)
    assert done.code == 2
    assert "did you mean" in done.err and "qwen2.5-coder-1.5b" in done.err
    assert "running" not in done.err


async def test_a_broken_config_names_file_line_and_what_was_expected(project: Path, isolated: Path) -> None:
    file = isolated / "config" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('model = "x"\nattempts = "many"\n')
    done = await run_pawl("fix", *BWRAP, "--", *CHECK, cwd=project)
    assert done.code == 2
    assert f"{file}:2" in done.err and "expected" in done.err


async def test_without_a_command_and_without_tests_it_says_how_to_name_one(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing to run here")
    done = await run_pawl("fix", *BWRAP, cwd=folder)
    assert done.code == 1
    assert "pawl fix -- CMD" in done.err + done.out


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["in the command", "in the reply"])
async def test_an_interrupt_leaves_nothing_behind(project: Path, sent: signal.Signals, moment: str) -> None:
    """Wherever it comes: exit 130, one result, the tree as it was, no process of the sandbox left."""
    before = identity(project)
    mark = f"31{os.getpid()}"
    never = asyncio.Event()
    async with ModelServer(lambda body: Answer(FIXED, wait_for=never)) as server:
        command = ("sleep", mark) if moment == "in the command" else CHECK
        words = ("fix", *BWRAP, "--base-url", server.base_url, *MODEL, "--output-format", "stream-json")
        async with asyncio.timeout(60), started(*words, "--", *command, cwd=project) as process:
            if moment == "in the command":
                while not sleepers(mark):
                    await asyncio.sleep(0.05)
            else:
                await server.came.wait()
            process.send_signal(sent)
            out, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    lines = [json.loads(line) for line in out.decode().splitlines()]
    assert [line["type"] for line in lines].count("result") == 1
    assert lines[-1]["type"] == "result" and lines[-1]["subtype"] == "interrupted"
    assert identity(project) == before
    assert not sleepers(mark)


async def test_what_an_interrupted_attempt_had_changed_is_kept(project: Path, isolated: Path) -> None:
    edit = {"path": "sums.py", "old_string": "result = 1", "new_string": "result = 5"}
    script = [
        Answer(tool_calls=(ToolCall("c1", "edit", json.dumps(edit)),)),
        Answer("Wait.", wait_for=asyncio.Event()),
    ]
    before = identity(project)
    async with ModelServer(script) as server:
        words = ("fix", *BWRAP, "--base-url", server.base_url, "-m", "m")
        words = (*words, "--strategy", "loop", "--", *CHECK)
        async with asyncio.timeout(60), started(*words, cwd=project) as process:
            while len(server.requests) < 2:
                await asyncio.sleep(0.05)
            process.terminate()
            _, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    [kept] = (isolated / "state" / "sessions").glob("*/*/artifacts/attempt-1.patch")
    assert b"+    result = 5" in kept.read_bytes()
    assert f"kept for 14 days: {kept}" in err.decode()
    assert identity(project) == before


async def test_further_signals_do_not_cut_the_cleaning_short(project: Path, isolated: Path) -> None:
    mark = f"32{os.getpid()}"
    model = ("--base-url", refused_url(), *MODEL)
    words = ("fix", *BWRAP, *model, "--output-format", "stream-json", "--", "sleep", mark)
    async with asyncio.timeout(60), started(*words, cwd=project) as process:
        while not sleepers(mark):
            await asyncio.sleep(0.05)
        for sent in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            process.send_signal(sent)
        out, err = await process.communicate()
    assert [json.loads(line)["type"] for line in out.decode().splitlines()].count("result") == 1
    assert "Traceback" not in err.decode()
    assert not sleepers(mark)
    left = [path.name for path in (isolated / "state" / "workspaces").glob("*/*")]
    assert not {"base", "forks"} & set(left), left


@pytest.mark.parametrize("form", ["text", "json", "stream-json"])
async def test_a_session_that_cannot_be_kept(project: Path, form: str) -> None:
    words = ("fix", *BWRAP, "--base-url", refused_url(), *MODEL, "--output-format", form, "--", *CHECK)
    done = await run_pawl(*words, cwd=project, PAWL_HOME="/dev/null")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "/dev/null" in (done.err if form == "text" else done.result["text"])


async def test_standard_input_that_is_closed(project: Path) -> None:
    async with ModelServer([FIXED]) as server:
        words = (PAWL, "fix", *BWRAP, "--base-url", server.base_url, *MODEL, "--", *CHECK)
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", 'exec "$@" <&-', "sh", *words), cwd=project, stdout=PIPE, stderr=PIPE
        )
        _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"nobody is here to ask" in err


def sleepers(mark: str) -> list[str]:
    """Processes on this machine that sleep for `mark` seconds."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if words[:2] == [b"sleep", mark.encode()]:
            found.append(entry.name)
    return found
