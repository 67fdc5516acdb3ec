"""Any program with a command line: `--set command="PROGRAM ... {prompt}"`.

`{prompt}`, `{prompt_file}`, `{workdir}`, `{model}` and `{base_url}` are filled in. The text is split as a
shell would split it, and no shell sees it.

See `evals.external` for where it runs. `--set env={"NAME": "text with {base_url}"}` gives it variables.
"""

from __future__ import annotations

from evals.agent import AgentError, Job
from evals.external import checked, run_external, split
from evals.types import AgentSpec, Rollout

name = "command"
summary = "any program: --set command='PROGRAM {prompt}'"


def check(spec: AgentSpec) -> AgentSpec:
    if unknown := sorted(set(spec.settings) - {"command", "env"}):
        raise AgentError(f"command has no setting {unknown[0]!r}; there are command, env")
    _env(spec)
    return checked(spec, split(spec.settings.get("command")))


def _env(spec: AgentSpec) -> dict[str, str]:
    given = spec.settings.get("env", {})
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise AgentError('--set env: expected {"NAME": "text", ...}')
    return given


async def run(job: Job) -> Rollout:
    return await run_external(job, split(job.spec.settings.get("command")), _env(job.spec))
