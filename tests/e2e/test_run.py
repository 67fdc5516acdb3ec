"""`pawl run` and `pawl -p`: one task without a person."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path

import pytest

from agent.cli.run import MAX_STDIN_BYTES
from agent.messages import ToolCall
from agent.solve.direct import BLOCK_END
from tests.e2e.conftest import CHECK, MODULE
from tests.support.model_server import Answer, Body, ModelServer
from tests.support.pawl import identity, run_pawl, started

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


def edit(new: str) -> ToolCall:
    arguments = {"path": "sums.py", "old_string": "result = 1", "new_string": new}
    return ToolCall("c1", "edit", json.dumps(arguments))


RIGHT, WRONG = edit("result = 0"), edit("result = 2")


def words(url: str, *more: str) -> tuple[str, ...]:
    return ("--sandbox", "bubblewrap", "--base-url", url, "-m", "m", *more)


def said(body: Body) -> str:
    content: str = body["messages"][-1]["content"]
    return content


async def test_a_question_is_answered_on_stdout_and_nothing_changes(project: Path) -> None:
    before = identity(project)
    async with ModelServer(["It adds up."]) as server:
        done = await run_pawl("run", "what does total do?", *words(server.base_url), cwd=project)
    assert (done.code, done.out) == (0, "It adds up.\n")
    assert identity(project) == before


async def test_p_is_run_also_behind_options_and_yes_applies(project: Path) -> None:
    async with ModelServer([Answer("I edit.", tool_calls=(RIGHT,)), "Done."]) as server:
        done = await run_pawl(*words(server.base_url, "--yes", "-p", "mend total"), cwd=project)
    assert done.code == 0, done.err
    assert "Done." in done.out
    assert (project / "sums.py").read_text() == MODULE.replace("result = 1", "result = 0")


async def test_a_check_proves_the_work_and_a_false_claim_is_told(project: Path) -> None:
    back = ToolCall("c2", "edit", RIGHT.arguments.replace("result = 1", "result = 2"))
    script = [
        Answer("I edit.", tool_calls=(WRONG,)),
        "Done.",
        Answer("Again.", tool_calls=(back,)),
        "Now it is.",
    ]
    async with ModelServer(script) as server:
        more = ("--yes", "--output-format", "json", "--test-cmd", shlex.join(CHECK))
        done = await run_pawl("run", "mend total", *words(server.base_url, *more), cwd=project)
        bodies = [request.body for request in server.requests]
    assert done.code == 0, done.err
    result = done.result
    assert "Now it is." in result["text"]
    assert (result["receipt"]["exit_before"], result["receipt"]["exit_after"]) == (1, 0)
    assert "mend total" in said(bodies[0]) and shlex.join(CHECK) in said(bodies[0])
    assert "still fails" in said(bodies[2])


async def test_what_breaks_a_passing_check_is_not_handed_over(project: Path) -> None:
    (project / "sums.py").write_text(MODULE.replace("result = 1", "result = 0"))
    before = identity(project)
    broken = ToolCall("c1", "edit", WRONG.arguments.replace("result = 1", "result = 0"))
    script = [Answer("I edit.", tool_calls=(broken,)), "Done.", "Really.", "I am sure."]
    async with ModelServer(script) as server:
        more = ("--yes", "--output-format", "json", "--test-cmd", shlex.join(CHECK))
        done = await run_pawl("run", "make it nicer", *words(server.base_url, *more), cwd=project)
    assert done.code == 3, done.err
    assert done.result["subtype"] == "tests_fail"
    assert identity(project) == before


REWRITTEN = """It begins at 1.

```python
def total(items):
    result = 0
    for item in items:
        result += item
    return result
"""


async def test_a_small_model_rewrites_what_the_request_names(project: Path) -> None:
    async with ModelServer([REWRITTEN]) as server:
        more = ("--strategy", "repair", "--yes")
        done = await run_pawl(
            "run", "total in sums.py is off by one", *words(server.base_url, *more), cwd=project
        )
        (body,) = [request.body for request in server.requests]
    assert done.code == 0, done.err
    assert done.out.count("```") % 2 == 0
    assert said(body).startswith("total in sums.py is off by one") and "def total" in said(body)
    assert "tools" not in body and body["stop"] == [BLOCK_END]
    assert (project / "sums.py").read_text() == MODULE.replace("result = 1", "result = 0")


async def test_where_nothing_can_be_rewritten_it_gets_the_tools(project: Path) -> None:
    script = ["I would look.", "Let me see.", "Hm.", Answer("I edit.", tool_calls=(RIGHT,)), "Done."]
    async with ModelServer(script) as server:
        more = ("--strategy", "repair", "--yes")
        done = await run_pawl("run", "mend total()", *words(server.base_url, *more), cwd=project)
        bodies = [request.body for request in server.requests]
    assert done.code == 0, done.err
    assert ["tools" in body for body in bodies] == [False, False, False, True, True]
    assert ["stop" in body for body in bodies] == [True, False, False, False, False]
    assert (project / "sums.py").read_text() == MODULE.replace("result = 1", "result = 0")


async def test_what_comes_back_as_it_was_is_an_answer(project: Path) -> None:
    before = identity(project)
    same = REWRITTEN.replace("result = 0", "result = 1  # as it was")
    async with ModelServer([same] * 3) as server:
        more = ("--strategy", "repair", "--yes")
        done = await run_pawl("run", "explain total()", *words(server.base_url, *more), cwd=project)
        stops = [request.body["stop"] for request in server.requests]
    assert (done.code, done.out) == (0, f"{same.rstrip()}\n```\n")
    assert stops == [[BLOCK_END]] * 3
    assert identity(project) == before


EXAMPLES = '"""\n>>> total([1, 2])\n3\n>>> total([])\n0\n"""\n'


async def test_examples_in_the_code_decide_among_rewritings(project: Path) -> None:
    (project / "sums.py").write_text(MODULE + EXAMPLES)
    wrong = REWRITTEN.replace("result = 0", "result = 2")
    async with ModelServer([wrong, REWRITTEN]) as server:
        more = ("--strategy", "repair", "--attempts", "3", "--yes", "--output-format", "json")
        done = await run_pawl("run", "mend total()", *words(server.base_url, *more), cwd=project)
        bodies = [request.body for request in server.requests]
    assert done.code == 0, done.err
    receipt = done.result["receipt"]
    assert receipt["command"] == ["python", "-m", "pawl_examples", "sums.py"]
    assert (receipt["exit_before"], receipt["exit_after"]) == (1, 0)
    assert "expected 3\n    got 4" in said(bodies[0]) and "result = 2" in said(bodies[1])
    assert (project / "sums.py").read_text() == (MODULE + EXAMPLES).replace("result = 1", "result = 0")


async def test_a_rewriting_for_which_no_example_holds_is_handed_over_and_said(project: Path) -> None:
    (project / "sums.py").write_text(MODULE + EXAMPLES)
    wrong = [REWRITTEN.replace("result = 0", f"result = {n}") for n in (2, 3)]
    async with ModelServer(wrong) as server:
        more = ("--strategy", "repair", "--attempts", "2", "--yes")
        done = await run_pawl("run", "mend total()", *words(server.base_url, *more), cwd=project)
    assert done.code == 0, done.err
    assert "the examples do not hold" in done.err
    assert (project / "sums.py").read_text() == (MODULE + EXAMPLES).replace("result = 1", "result = 2")


async def test_a_limit_before_the_examples_hold_is_no_success(project: Path) -> None:
    (project / "sums.py").write_text(MODULE + EXAMPLES)
    before = identity(project)
    async with ModelServer([REWRITTEN.replace("result = 0", "result = 2")]) as server:
        more = ("--strategy", "repair", "--attempts", "3", "--max-tokens", "1", "--yes")
        more = (*more, "--output-format", "json")
        done = await run_pawl("run", "mend total()", *words(server.base_url, *more), cwd=project)
    assert (done.code, done.result["subtype"]) == (4, "limit")
    assert "+    result = 2" in done.result["patch"]
    assert identity(project) == before


async def test_a_rewriting_is_proved_by_the_check_too(project: Path) -> None:
    wrong = REWRITTEN.replace("result = 0", "result = 2")
    async with ModelServer([wrong, REWRITTEN]) as server:
        more = ("--strategy", "repair", "--attempts", "3", "--yes", "--output-format", "json")
        check = ("--test-cmd", shlex.join(CHECK))
        done = await run_pawl("run", "mend sums.py", *words(server.base_url, *more, *check), cwd=project)
        bodies = [request.body for request in server.requests]
    assert done.code == 0, done.err
    assert done.result["attempts"] == 2 and "It begins at 1." in done.result["text"]
    assert (done.result["receipt"]["exit_before"], done.result["receipt"]["exit_after"]) == (1, 0)
    assert "mend sums.py" in said(bodies[0])
    assert "assert" in said(bodies[0]) and "result = 2" in said(bodies[1])


async def test_what_is_piped_in_stands_below_the_prompt(project: Path) -> None:
    async with ModelServer(["A log."]) as server:
        args = ("-p", "what is this?", *words(server.base_url))
        async with started(*args, cwd=project, stdin=asyncio.subprocess.PIPE) as process:
            out, _ = await process.communicate(b"line one\nline two\n")
        assert server.requests[0].body["messages"][-1]["content"].startswith("what is this?")
        assert "line one\nline two" in server.requests[0].body["messages"][-1]["content"]
    assert (process.returncode, out) == (0, b"A log.\n")


@pytest.mark.parametrize(
    ("args", "piped", "told"),
    [
        ((), b"", "nothing to do"),
        (("do it",), b"x" * (MAX_STDIN_BYTES + 1), "write them to a file"),
        (("do it", "--test-cmd", "pytest 'x"), b"", "--test-cmd"),
    ],
)
async def test_bad_input(project: Path, args: tuple[str, ...], piped: bytes, told: str) -> None:
    async with started("run", *args, cwd=project, stdin=asyncio.subprocess.PIPE) as process:
        _, err = await process.communicate(piped)
    assert process.returncode == 2
    assert told in err.decode()


async def test_a_check_that_cannot_start_ends_it_before_a_model_is_asked(project: Path) -> None:
    async with ModelServer([]) as server:
        more = ("--test-cmd", "no-such-program")
        done = await run_pawl("run", "mend total", *words(server.base_url, *more), cwd=project)
        assert not server.requests
    assert done.code == 1
    assert "cannot run here" in done.err
