"""The main job with the real embedded model, and what it costs."""

from __future__ import annotations

from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest

from agent.bus import Branch, Bus
from agent.events import AssistantReplied
from agent.loop import Agent, run_turn
from agent.messages import Assistant, Usage
from agent.models.local import LocalModel, LocalServer
from agent.models.weights import pull
from agent.paths import cache_dir
from agent.prompt import system_prompt
from agent.session import new_session
from agent.solve.repair import SYSTEM, build_prompt
from sandbox.base import SandboxSpec
from sandbox.open import open_sandbox
from tests.agent.solve.test_repair import FOUND, REPORT, SOURCES
from tests.e2e.conftest import MODULE
from tests.support.pawl import identity, run_pawl
from tools.base import ToolContext
from tools.toolset import default_toolset

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "local/qwen2.5-coder-1.5b"


def replies(branch: Branch) -> list[Usage]:
    return [event.usage for event in branch.events() if isinstance(event, AssistantReplied)]


async def test_the_prompt_is_small_and_read_once(tmp_path: Path) -> None:
    """Against the real server: of each later request only what is new is read; the rest, 95 % and more where
    no tool's result came in between, is from its cache. Further replies of a repair attempt read nothing."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "sums.py").write_text(MODULE)
    spec = SandboxSpec(tree=tree, root=str(tree), session="cache")
    sandbox = await open_sandbox(spec, "local", state=tmp_path / "state", project=tree)
    weights = await pull(NAME, cache=cache_dir())
    questions = iter(["Which function is in sums.py?", "What does it return for []?", "Thanks. Say OK."])

    async def go_on(message: Assistant) -> str | None:
        del message
        return next(questions, None)

    try:
        async with LocalServer.start(weights) as server, aclosing(LocalModel(NAME, server)) as model:
            with new_session(tree, tmp_path / "state") as log:
                agent = Agent(
                    model=model,
                    branch=Bus(log).branch(),
                    system=system_prompt(),
                    toolset=default_toolset(),
                    context=ToolContext(sandbox, log.artifacts),
                    follow_up=go_on,
                    temperature=0.0,
                    max_tokens=48,
                )
                ended = await run_turn(agent, "Hello.")
                usages = replies(agent.branch)
                repair = [await repair_reply(model, Bus(log).branch(label=str(n)), n) for n in range(3)]
    finally:
        await sandbox.aclose()
    assert ended.status in ("done", "limit"), ended.detail
    assert usages[0].input_tokens < 800 + 10, "system prompt and tool schemas"
    assert len(usages) >= 4
    for last, usage in pairwise(usages):
        known = last.input_tokens + last.output_tokens
        assert usage.cached_input_tokens >= known - 8, usages
        if usage.input_tokens - known < 0.04 * usage.input_tokens:
            assert usage.cached_input_tokens >= 0.95 * usage.input_tokens, usages
    assert repair[0].input_tokens > 150
    for usage in repair[1:]:
        assert usage.cached_input_tokens >= 0.95 * usage.input_tokens, repair


async def repair_reply(model: LocalModel, branch: Branch, number: int) -> Usage:
    """One reply of a repair attempt, as `agent.solve.direct` asks for it."""
    prompt = build_prompt(FOUND[:1], SOURCES, REPORT.failures, "")
    agent = Agent(model, branch, system=SYSTEM, temperature=0.3 * number, max_tokens=8, seed=number)
    await run_turn(agent, prompt)
    return replies(branch)[-1]


@pytest.mark.docker
@pytest.mark.bubblewrap
async def test_the_demo_ends_with_a_verified_patch(tmp_path: Path) -> None:
    done = await run_pawl("demo", "--output-format", "json", cwd=tmp_path, timeout_s=500)
    assert done.code == 0, done.err
    result = done.result
    assert result["subtype"] == "success"
    assert result["files_changed"] == ["roster/intervals.py"]
    assert result["receipt"]["tests_before"] == {"failed": 5, "passed": 12}
    assert result["receipt"]["tests_after"] == {"passed": 17}
    assert result["model"] == NAME


async def test_a_repair_reads_its_prompt_once(project: Path) -> None:
    """All attempts of a direct repair share the beginning that the first one read."""
    (project / "tests" / "test_sums.py").write_text(
        "from sums import total\n\n\ndef test_total():\n    assert total([1, 2]) is object()\n"
    )
    before = identity(project)
    words = (
        "fix",
        "-m",
        NAME,
        "--sandbox",
        "bubblewrap",
        "--attempts",
        "2",
        "--output-format",
        "stream-json",
    )
    done = await run_pawl(*words, "--", "python", "-m", "pytest", "-q", cwd=project, timeout_s=300)
    assert done.code == 3, done.err
    assert identity(project) == before
    usage = done.result["usage"]
    assert usage["requests"] >= 2
    assert usage["cached_input_tokens"] >= 0.4 * usage["input_tokens"]
