"""Another program as an agent: in a sandbox that reaches its model alone, counted by the proxy."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path

import pytest

from agent.messages import Usage
from evals.agent import AgentError, Job, shown
from evals.agents import command
from evals.benchmark import load_benchmark
from evals.external import filled, split
from evals.place import lay_out
from evals.store import Run
from evals.types import HOPELESS, AgentSpec, Limits
from tests.support.model_server import USAGE, Answer, ModelServer, error
from tests.support.pawl import run_pawl

AGENT = Path(__file__).parents[1] / "support" / "tiny_agent.py"
MODULE = (
    "def is_leap(year: int) -> bool:\n    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)\n"
)
NO_LIMITS = Limits()
SECRET = "key-of-the-person"


def said(text: str) -> Answer:
    reply = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": USAGE}
    return Answer(body=json.dumps(reply).encode(), content_type="application/json")


def words(how: str) -> str:
    """The tiny agent's source is an argument, as it stands in no folder that is shown."""
    source = AGENT.read_text()
    return shlex.join([sys.executable, "-c", source, "{prompt}", "{base_url}", "{model}", how])


def job(folder: Path, base_url: str, how: str, limits: Limits = NO_LIMITS) -> Job:
    """A job on the task whose answer is MODULE."""
    (task,) = (one for one in load_benchmark("smoke").load(None) if one.id == "leap-year")
    (folder / "attempt").mkdir(parents=True)
    lay_out(task, folder / "tree", folder / "cache")
    return Job(
        unit="u",
        attempt=0,
        instance=shown(task),
        tree=folder / "tree",
        environment=None,
        place=folder / "attempt",
        spec=AgentSpec(name="command", model="m", base_url=base_url, settings={"command": words(how)}),
        limits=limits,
        backend="bubblewrap",
        seed=0,
    )


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_it_solves_a_task_counted_and_shut_in(tmp_path: Path) -> None:
    async with ModelServer([said(MODULE)], api_key=SECRET) as server:
        done = await run_pawl(
            *("eval", "run", "smoke", "-a", "command", "-m", "m", "--base-url", server.base_url),
            *("--set", f"command={words(server.root)}", "--only", "leap-year", "--out", "r"),
            *("--sandbox", "bubblewrap", "--fail-under", "100"),
            cwd=tmp_path,
            OPENAI_API_KEY=SECRET,
        )
    assert done.code == 0, done.err
    run = Run.open(tmp_path / "r")
    (rollout,) = run.rollouts()
    assert (rollout.end, rollout.steps) == ("submitted", 1)
    assert rollout.usage == Usage(100, 90, 5, 1)
    told = (run.attempt(rollout.unit) / "output.txt").read_text()
    assert told == "no way out\n403 nothing but the model's server can be reached\n"
    assert run.manifest.agent.version.startswith("Python 3.")


@pytest.mark.anyio
@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("how", "answer", "end", "changed"),
    [
        ("commit", said(MODULE), "submitted", True),
        ("nothing", said(MODULE), "no_change", False),
        ("crash", said(MODULE), "agent_error", True),
        ("write", error(503, "busy"), "provider_error", False),
        ("write", error(400, "too long"), "agent_error", False),
        ("stay", error(401, "Incorrect API key"), "key_refused", False),
        ("write", error(403, "not for you"), "key_refused", False),
        ("stay", error(429, "no more", "insufficient_quota"), "quota_used_up", False),
        ("write", error(429, "slow down"), "provider_error", False),
    ],
)
async def test_its_ends(
    tmp_path: Path, how: str, answer: Answer, end: str, changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    async with ModelServer(lambda _: answer, api_key=SECRET) as server:
        rollout = await command.run(job(tmp_path, server.base_url, how))
    assert (rollout.end, "year % 400" in rollout.patch) == (end, changed), rollout.detail
    assert SECRET not in rollout.detail
    if end in HOPELESS:
        assert server.root in rollout.detail and rollout.duration_s < 20


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_time_and_tokens_are_limits(tmp_path: Path) -> None:
    async with ModelServer([said(MODULE), Answer(wait_for=asyncio.Event())]) as server:
        spent = await command.run(job(tmp_path / "a", server.base_url, "write", Limits(unit_tokens=50)))
        late = await command.run(job(tmp_path / "b", server.base_url, "write", Limits(unit_s=1)))
    assert (spent.end, late.end, late.patch) == ("limit", "limit", "")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "say what to run"),
        ({"command": "x 'y"}, "cannot be split"),
        ({"command": "no-such-program {prompt}"}, "is not on the PATH"),
        ({"command": "true", "colour": 1}, "no setting 'colour'"),
        ({"command": "true", "env": ["A"]}, "--set env"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(AgentError, match=told):
        command.check(AgentSpec(name="command", base_url="http://127.0.0.1:1/v1", settings=settings))


def test_a_statement_is_one_word_and_is_not_filled_again() -> None:
    words = split("agent --say '{prompt}' {model}:{workdir} {other}")
    values = {"prompt": "a 'b' {model}; rm", "model": "m", "workdir": "/t"}
    assert filled(words, values) == ["agent", "--say", "a 'b' {model}; rm", "m:/t", "{other}"]
