"""`pawl eval check` as a person runs it: what it says of a task that is not fit."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from evals.check import _flaky
from evals.cli_check import check
from evals.environment import NETWORK, rules_for
from evals.types import Score, TestOutcome
from tests.evals import datasets


def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(check)
    return app


@pytest.mark.bubblewrap
def test_a_task_that_is_not_fit_is_named_with_its_reasons(tmp_path: Path) -> None:
    source = datasets.folder(tmp_path / "tasks")
    (source / "shout.patch").write_text((source / "shout.patch").read_text().replace("upper", "lower"))
    words = [str(source), "--runs", "1", "--sandbox", "bubblewrap", "--json", str(tmp_path / "found.json")]
    done = CliRunner().invoke(command(), words)
    assert done.exit_code == 3, done.output
    assert "NOT FIT shout: oracle 0/1, null fails" in done.output
    assert "run 1 of the reference is not resolved" in done.output
    assert "1 tasks, 0 oracle, 1 null failed, 0 flaky" in done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert [task["id"] for task in found["tasks"] if task["problems"]] == ["shout"]


@pytest.mark.bubblewrap
def test_a_command_that_cannot_run_or_does_not_end_is_said(tmp_path: Path) -> None:
    """Nothing is proved of the base alone where it was not graded."""
    source = datasets.folder(tmp_path / "tasks")
    task = source / "shout.toml"
    text = re.sub(r"command = .*", 'command = ["no-such-program"]', task.read_text())
    (source / "missing.toml").write_text(text)
    task.write_text("timeout_s = 1\n" + text.replace('"no-such-program"', '"sleep", "60"'))
    words = [str(source), "--runs", "1", "--sandbox", "bubblewrap", "--task", "missing", "--task", "shout"]
    done = CliRunner().invoke(command(), words)
    assert done.exit_code == 3, done.output
    assert "NOT FIT missing: oracle 0/1, null not graded" in done.output
    assert "the test command cannot be started: no-such-program" in done.output
    assert (
        "run 1 of the reference is not resolved: the tests were killed after 1 s, the timeout" in done.output
    )


def test_tests_that_do_not_end_alike_are_named() -> None:
    def score(**ways: str) -> Score:
        tests = tuple(TestOutcome(name, "pass_to_pass", way) for name, way in ways.items())  # type: ignore[arg-type]
        return Score(unit="", instance="", scorer="", resolved=True, reward=1, applied=True, tests=tests)

    same, other = score(a="passed", b="passed"), score(a="passed", b="failed", c="passed")
    assert _flaky([same, same]) == []
    assert _flaky([same, other, same]) == ["b", "c"]


def test_what_a_set_up_may_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person says, else the registries of its command."""
    assert asyncio.run(rules_for("make deps")).empty
    assert "pypi.org:443" in asyncio.run(rules_for("pip install -e .")).texts()
    monkeypatch.setenv(NETWORK, "mirror.example.org,10.0.0.1")
    assert asyncio.run(rules_for("pip install -e .")).texts() == ("mirror.example.org:443", "10.0.0.1:443")
    monkeypatch.setenv(NETWORK, "none")
    assert asyncio.run(rules_for("pip install -e .")).empty
