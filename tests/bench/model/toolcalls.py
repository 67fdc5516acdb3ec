"""How many of the probe's twenty simple requests end in the right call, run for real in a sandbox.

    python -P tests/bench/model/toolcalls.py [--model NAME] [--mode MODE] [--threads N] [--calls N] [--skip N]

Each request is a turn of pawl's own loop, with the built-in tools, on a small tree; a call counts when it is
one of those that the request asks for and its tool ran without an error. Beside it stands what a client gets
that takes only the calls that the server told.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import get_args

from agent.bus import Branch, Bus
from agent.dispatch import decode_arguments
from agent.events import AssistantReplied, ToolFinished
from agent.guards import MaxSteps, Progress, Stop
from agent.loop import Agent, run_turn
from agent.models.families import ToolMode
from agent.models.local import LocalModel, LocalServer
from agent.models.serving import ServerSettings
from agent.models.weights import pull
from agent.paths import cache_dir
from agent.permissions import Permissions
from agent.probe.requests import REQUESTS, ToolRequest
from agent.prompt import system_prompt
from agent.session import new_session
from sandbox.base import Sandbox, SandboxSpec
from sandbox.open import open_sandbox
from tools.base import ToolContext, ToolError
from tools.toolset import default_toolset

TREE = {
    "setup.py": "from setuptools import setup\n\nsetup()\n",
    "src/app.py": "import os\n\n\ndef parse_date(text):  # TODO\n    return text\n" + "print(os.name)\n" * 30,
    "tests/test_app.py": "def test_it():\n    assert True\n",
    "data/cities.csv": "name,people\n" + "Bern,134000\n" * 20,
    "docs/guide.md": "# Guide\n\nRun it.\n",
    "config.json": '{"mode": "debug"}\n',
}
MAX_STEPS = 3
"""A call that fails is told to the model, which may mend it: an edit wants the file to be read first."""


async def main(name: str, mode: ToolMode, threads: int | None, asked: tuple[ToolRequest, ...]) -> None:
    weights = await pull(name, cache=cache_dir())
    right = native = 0
    with tempfile.TemporaryDirectory() as folder:
        async with (
            LocalServer.start(weights, ServerSettings(slots=1, threads=threads)) as server,
            aclosing(LocalModel(f"local/{name}", server)) as model,
        ):
            for number, wanted in enumerate(asked):
                branch = await turn(model, wanted, mode, Path(folder) / str(number))
                done, told = outcome(branch, wanted)
                right, native = right + done, native + told
                first = next(e.message for e in branch.events() if isinstance(e, AssistantReplied))
                made = [f"{call.name}({call.arguments})" for call in first.tool_calls]
                print(f"{'right' if done else 'WRONG'}  {wanted.text}  {made or first.text!r}", flush=True)
    print(f"{right} of {len(asked)} ended in the right call that ran; {native} by the server's own parser")


class UntilRight:
    """Ends the turn once the right call has run: what the model says of it is not measured here."""

    def __init__(self, branch: Branch, wanted: ToolRequest) -> None:
        self.branch = branch
        self.wanted = wanted

    def before_step(self, progress: Progress) -> Stop | None:
        del progress
        return Stop("done", "") if outcome(self.branch, self.wanted)[0] else None


async def turn(model: LocalModel, wanted: ToolRequest, mode: ToolMode, folder: Path) -> Branch:
    """One request as a turn on a fresh tree; its branch."""
    tree = folder / "tree"
    for path, content in TREE.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(content)
    spec = SandboxSpec(tree=tree, root=str(tree), session=folder.name)
    sandbox: Sandbox = await open_sandbox(spec, "bubblewrap", state=folder / "state", project=tree)
    try:
        with new_session(tree, folder / "state") as log:
            branch = Bus(log).branch()
            agent = Agent(
                model=model,
                branch=branch,
                system=system_prompt(),
                toolset=default_toolset(),
                context=ToolContext(sandbox, log.artifacts),
                permissions=Permissions.inside_sandbox("bubblewrap", mode="yolo"),
                guards=(UntilRight(branch, wanted), MaxSteps(MAX_STEPS)),
                temperature=0.0,
                max_tokens=160,
                seed=20,
                tool_mode=mode,
            )
            await run_turn(agent, wanted.text)
            return branch
    finally:
        await sandbox.aclose()


def outcome(branch: Branch, wanted: ToolRequest) -> tuple[bool, bool]:
    """Whether the right call ran, and whether the server told it."""
    tools = default_toolset()
    fitting: dict[str, bool] = {}
    for event in branch.events():
        if isinstance(event, AssistantReplied):
            for call in event.message.tool_calls:
                try:
                    arguments = decode_arguments(tools[call.name], call.arguments)
                except (ToolError, KeyError):
                    continue
                if wanted.answered_by(call.name, arguments):
                    fitting[call.id] = not event.message.dialect
        elif (
            isinstance(event, ToolFinished) and event.result.call_id in fitting and not event.result.is_error
        ):
            return True, fitting[event.result.call_id]
    return False, False


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--mode", default="native", choices=get_args(ToolMode))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--calls", type=int, default=len(REQUESTS))
    parser.add_argument("--skip", type=int, default=0)
    args = parser.parse_args()
    asyncio.run(main(args.model, args.mode, args.threads, REQUESTS[args.skip :][: args.calls]))
