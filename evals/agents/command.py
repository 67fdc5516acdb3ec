"""Any program with a command line: `--set command="PROGRAM ... {prompt}"`.

The text is split as a shell would split it, and no shell sees it. `--set env={"NAME": "text"}` gives it
variables. See `evals.external.Call` for what is filled in in both, and `evals.external` for where it runs.
"""

from __future__ import annotations

from evals.agent import AgentError, Job
from evals.external import Call, checked, program, run_external, split
from evals.types import AgentSpec, Rollout

name = "command"
summary = "any program: --set command='PROGRAM {prompt}'"


def check(spec: AgentSpec) -> AgentSpec:
    if unknown := sorted(set(spec.settings) - {"command", "env"}):
        raise AgentError(f"command has no setting {unknown[0]!r}; there are command, env")
    _env(spec)
    return checked(spec, program(split(spec.settings.get("command"))[0]))


def _env(spec: AgentSpec) -> dict[str, str]:
    given = spec.settings.get("env", {})
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise AgentError('--set env: expected {"NAME": "text", ...}')
    return given


async def run(job: Job) -> Rollout:
    words = split(job.spec.settings.get("command"))
    return await run_external(job, Call(words=words, env=_env(job.spec)))
