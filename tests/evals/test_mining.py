"""Tasks mined from a tiny repository and made by faults in it, each proved by tests that run in a sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from evals.benchmark import DatasetError
from evals.benchmarks.swebench import load
from evals.check import check
from evals.cli_mine import mine, mutate
from evals.contamination import says_canary
from evals.planning import select
from tests.evals.test_mining_history import commit
from tests.support.model_server import Body, ModelServer

COMMAND = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest -q --continue-on-collection-errors tests"
SHOP = "def total(prices):\n    return sum(prices[1:])\n\n\ndef count(prices):\n    return len(prices)\n"
FIXED = SHOP.replace("[1:]", "")
TAX = FIXED + "\n\ndef tax(prices):\n    return total(prices) // 5\n"
TESTS = "from shop import count\n\n\ndef test_count():\n    assert count([1, 2]) == 2\n"
TOTAL = (
    "import pytest\nfrom shop import count, total\n\n\ndef test_count():\n    assert count([1, 2]) == 2\n\n\n"
    "@pytest.mark.parametrize('name', ['a b', object()], ids=str)\ndef test_total(name):\n"
    "    assert total([1, 2, 3]) == 6\n"
)
LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy\n"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history in which two commits are tasks and the others are not, for a reason each."""
    place = tmp_path_factory.mktemp("mining") / "shop"
    tests = "tests/test_shop.py"
    commit(place, {"shop.py": SHOP, tests: TESTS, "LICENSE": LICENCE}, "Begin the shop with a total")
    commit(place, {"shop.py": FIXED, tests: TOTAL}, "Let the total have all prices\n\n[1, 2, 3] gives 6.", 2)
    commit(place, {"README.md": "# Shop\n"}, "Say what the shop is for", 3)
    taxed = TOTAL.replace("total\n", "tax, total\n", 1) + "\n\ndef test_tax():\n    assert tax([10]) == 2\n"
    commit(place, {"shop.py": TAX, tests: taxed}, "Let people pay their share", 5)
    taxed += "\n\ndef test_no_tax():\n    assert tax([]) is None\n"
    none = TAX.replace("    return total(prices) // 5", "    return total(prices) // 5 if prices else None")
    commit(place, {"shop.py": none, tests: taxed}, "Give no tax for an empty list", 6)
    broken = none.replace("len(prices)", "len(prices) + 1")
    taxed += "\n\ndef test_more():\n    assert count([]) == 1\n"
    commit(place, {"shop.py": broken, tests: taxed}, "Count one more than there is", 7)
    return place


def pawl(*words: str, cwd: Path, wait: bool = True) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "agent", "eval", *words, "--sandbox", "bubblewrap"],
        cwd=cwd,
        env=os.environ | {"PAWL_HOME": str(cwd / "home")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        out, err = process.communicate(timeout=120)
        process.told = out + err  # type: ignore[attr-defined]
    return process


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(mine)
    made.command()(mutate)
    return made


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def fit(path: Path, cache: Path) -> dict[str, int]:
    """What the first task of a file is found to be. It says what later gradings compare it with."""
    tasks = load(path)
    assert all(0 < task.extra["reference_s"] < 60 for task in tasks)
    assert len({task.canary for task in tasks}) == 1 and says_canary(tasks[0].canary, [tasks[0].canary])
    report = asyncio.run(check(tasks[:1], cache=cache, backend="bubblewrap", runs=1))
    assert [task.problems for task in report.tasks] == [[]]
    return report.counts()


WAY = ("--install", "", "--test-cmd", COMMAND)


@pytest.mark.bubblewrap
def test_mining_that_is_killed_in_the_middle(repo: Path, tmp_path: Path) -> None:
    """The second process goes on after the last line of the first one's journal, and ends with all of it."""
    journal = tmp_path / "tasks.journal.jsonl"
    words = ("mine", str(repo), "--out", "tasks.jsonl", "--held-out", "50", *WAY)
    first = pawl(*words, cwd=tmp_path, wait=False)
    while first.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 2):
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    known = journal.read_bytes()
    assert 1 <= known.count(b'"key"') < 5
    second = pawl(*words, cwd=tmp_path)
    assert second.returncode == 0, second.told  # type: ignore[attr-defined]
    whole = journal.read_bytes()
    assert whole.startswith(known[: known.rfind(b"\n") + 1])
    keys = [json.loads(line).get("key") for line in whole.splitlines()[1:]]
    assert len(keys) == len(set(keys)) == 5
    report = json.loads((tmp_path / "tasks.report.json").read_text())
    outcomes = {each["title"]: each["outcome"] for each in report["candidates"]}
    assert outcomes == {
        "Let the total have all prices": "task",
        "Say what the shop is for": "touches no tests",
        "Let people pay their share": "tests cannot be imported before",
        "Give no tax for an empty list": "task",
        "Count one more than there is": "breaks tests",
    }
    assert "2 tasks of 5 commits" in second.told and "breaks tests" in second.told  # type: ignore[attr-defined]
    old, new = rows(tmp_path / "tasks.jsonl")
    assert (old["extra"]["split"], new["extra"]["split"]) == ("train", "heldout")
    assert json.loads(old["FAIL_TO_PASS"]) == ["tests/test_shop.py::test_total[a b]"]
    assert json.loads(old["PASS_TO_PASS"]) == ["tests/test_shop.py::test_count"]
    assert old["problem_statement"] == "Let the total have all prices\n\n[1, 2, 3] gives 6."
    assert (old["extra"]["license"], old["extra"]["dropped_ids"], old["extra"]["blank_ids"]) == ("MIT", 1, 1)
    assert fit(tmp_path / "tasks.jsonl", tmp_path / "cache")["fit"] == 1
    tasks = load(tmp_path / "tasks.jsonl")
    assert [task.id for task in select(tasks, [], None, "heldout")] == [new["instance_id"]]
    with pytest.raises(DatasetError, match="there are: heldout, train"):
        select(tasks, [], None, "test")


LEAKY = "Look at shop.py\n\nThere is a wrong line in it, so that one of the tests fails."
ISSUE = "Something is wrong\n\nThe shop gives another answer than the one that is expected of it."


def answer(body: Body) -> str:
    return ISSUE if "cannot be used" in body["messages"][-1]["content"] else LEAKY


async def with_writer(cwd: Path, *words: str) -> tuple[Any, list[str]]:
    """What `pawl eval` came to with a model that leaks at first, and what that was asked."""
    async with ModelServer(answer) as server:
        url = ("--issue-from", "model", "--base-url", server.base_url)
        done = await asyncio.to_thread(pawl, *words, *url, cwd=cwd)
        return done, [each.body["messages"][-1]["content"] for each in server.requests]


@pytest.mark.bubblewrap
def test_faults_become_tasks(repo: Path, tmp_path: Path) -> None:
    words = ("mutate", str(repo), "--ref", "HEAD~1", "--out", "m.jsonl", "--limit", "2", "--seed", "3", *WAY)
    done, asked = asyncio.run(with_writer(tmp_path, *words))
    assert done.returncode == 0, done.told
    made = rows(tmp_path / "m.jsonl")
    assert len(made) == 2
    assert {row["extra"]["split"] for row in made} == {"train"}
    failing = [(r["extra"]["mutation"]["scope"], r["FAIL_TO_PASS"]) for r in made]
    assert len(set(failing)) == 2
    assert {row["problem_statement"] for row in made} == {ISSUE}
    assert "tests/test_shop.py::" in asked[0] and "it names a file of the fix: shop.py" in asked[1]
    assert "statement refused, try 1 of 3" in done.told
    assert all(row["patch"] != row["extra"]["bug_patch"] for row in made)
    assert fit(tmp_path / "m.jsonl", tmp_path / "cache")["fit"] == 1


@pytest.mark.bubblewrap
def test_a_time_without_a_task(repo: Path, tmp_path: Path) -> None:
    day = ("--since", "2024-01-03", "--until", "2024-01-03", "--out", str(tmp_path / "t.jsonl"))
    done = CliRunner().invoke(app(), ["mine", str(repo), *day, *WAY])
    assert done.exit_code == 3
    assert "0 tasks of 1 commits" in done.output and "touches no tests" in done.output
    assert (tmp_path / "t.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mine", "."), "is no git repository"),
        (("mine", "{repo}", "--since", "yesterday"), "expected a date"),
        (("mine", "{repo}", "--issue-from", "thin air"), "expected one of commit, model"),
        (("mine", "{repo}", "--issue-from", "model"), "give it with -m"),
        (("mine", "{repo}", "--since", "2030-01-01"), "no commit in this time"),
        (("mutate", "{repo}", "--language", "cobol"), "expected one of"),
        (("mutate", "{repo}", "--ref", "nowhere"), "has no commit 'nowhere'"),
    ],
)
def test_what_cannot_be_asked_for(
    words: tuple[str, ...], told: str, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app(), [word.format(repo=repo) for word in words])
    assert told in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == 2
    assert list(tmp_path.iterdir()) == []
