"""The named programs: found or missing, called as they document it, pointed at the model and nowhere else.

Stand-ins are called here, which check flags, variables and files. The real programs are run by hand.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.messages import Usage
from evals.agent import AgentError, Job, load_agent
from evals.types import AgentSpec
from tests.evals.test_agent_command import NO_LIMITS, SECRET, job
from tests.support.model_server import ModelServer, error

STAND_IN = Path(__file__).parents[1] / "support" / "stand_in.py"
PACKAGES = {
    "codex": "@openai/codex",
    "opencode": "opencode-ai",
    "pi": "@mariozechner/pi-coding-agent",
    "qwen": "@qwen-code/qwen-code",
    "claude": "@anthropic-ai/claude-code",
}


def spec_of(name: str, **settings: object) -> AgentSpec:
    return AgentSpec(name=name, model="m", base_url="http://127.0.0.1:1/v1", settings=settings)


def install(prefix: Path, name: str) -> Path:
    """As `npm install -g --prefix` lays a package out; the program's path."""
    package = prefix / "lib" / "node_modules" / PACKAGES[name]
    (package / "bin").mkdir(parents=True)
    (package / "package.json").write_text('{"version": "9.8.7"}')
    program = package / "bin" / name
    program.write_text(STAND_IN.read_text())
    program.chmod(0o755)
    (prefix / "bin").mkdir()
    link = prefix / "bin" / name
    link.symlink_to(f"../{program.relative_to(prefix)}")
    return link


def job_of(folder: Path, spec: AgentSpec) -> Job:
    return msgspec.structs.replace(job(folder, spec.base_url, "", NO_LIMITS), spec=spec)


@pytest.mark.anyio
@pytest.mark.bubblewrap
@pytest.mark.parametrize("name", sorted(PACKAGES))
async def test_it_is_called_as_it_documents_and_reaches_the_model_alone(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = load_agent(name)
    program = install(tmp_path / "npm", name)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, SECRET)
    async with ModelServer(["Grüße"], api_key=SECRET) as server:
        spec = agent.check(msgspec.structs.replace(spec_of(name), base_url=server.base_url))
        assert spec.version == "9.8.7"
        made = job_of(tmp_path / "job", spec)
        rollout = await agent.run(made)
        told = (made.place / "output.txt").read_text()
        assert rollout.end == "submitted", told
        (request,) = server.requests
        assert "is_leap" in request.raw.decode()
        assert (request.body["model"], told) == ("m", "elsewhere: 403\n")
    assert (rollout.usage, rollout.extra["untold"]) == (Usage(100, 90, 5, 1), 0)
    assert rollout.extra["elsewhere"] == ["telemetry.invalid"]
    assert "answer.txt" in rollout.patch and SECRET not in rollout.patch
    assert not (Path.home() / "mine").exists()


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_a_key_that_is_refused_is_told_of_any_wire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "npm", "claude").parent), prepend=":")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "wrong")
    async with ModelServer(lambda _: error(500, "not reached"), api_key="right") as server:
        spec = msgspec.structs.replace(spec_of("claude"), base_url=server.base_url)
        rollout = await load_agent("claude").run(job_of(tmp_path / "job", spec))
    assert (rollout.end, server.requests) == ("key_refused", [])
    assert "does not accept the API key (401)" in rollout.detail


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_missing_program_is_told_with_what_installs_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AgentError, match=f"`npm install -g {PACKAGES[name]}` installs it") as caught:
        load_agent(name).check(spec_of(name))
    assert caught.value.exit_code == 2


@pytest.mark.anyio
@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("name", "distribution", "words"),
    [
        ("aider", "aider_chat", "--message-file /pawl/prompt.md --model openai/m --openai-api-base "),
        (
            "mini-swe-agent",
            "mini_swe_agent",
            "-m openai/m -y -l 0 --exit-immediately -o /tmp/trajectory.json -t ",
        ),
    ],
)
async def test_a_program_of_python_gets_its_flags_and_its_own_files_are_no_patch(
    tmp_path: Path, name: str, distribution: str, words: str
) -> None:
    """A stand-in for the program: it says how it was called, and leaves a file of its own in the tree."""
    site = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    (site / f"{distribution}-9.8.dist-info").mkdir(parents=True)
    program = tmp_path / "env" / "bin" / "it"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"; touch .aider.tags\n')
    program.chmod(0o755)
    agent = load_agent(name)
    with pytest.raises(AgentError, match="no setting 'colour'"):
        agent.check(spec_of(name, colour=1))
    spec = agent.check(spec_of(name, program=str(program), options="-x 'a b'"))
    assert spec.version == "9.8"
    made = job_of(tmp_path, spec)
    rollout = await agent.run(made)
    told = (made.place / "output.txt").read_text()
    assert told.startswith(words) and told.endswith("-x a b\n")
    assert rollout.end == ("no_change" if name == "aider" else "submitted")
