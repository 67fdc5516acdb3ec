"""mini-swe-agent 2, as it is installed here: `uv tool install mini-swe-agent`, or `--set program=PATH`.

Its command `mini` without a person and without a limit of cost: time and tokens are the unit's. Settings:
`program`; `options`, further words for its command line.
"""

from __future__ import annotations

import shlex

from evals.agent import AgentError, Job
from evals.external import checked, run_external
from evals.types import AgentSpec, Rollout

name = "mini-swe-agent"
summary = "mini-swe-agent, its command `mini` without a person"

_WORDS = "-m openai/{model} -y -l 0 --exit-immediately -o /tmp/trajectory.json -t {prompt}"
_ENV = {
    "MSWEA_CONFIGURED": "true",
    "MSWEA_COST_TRACKING": "ignore_errors",
    "MSWEA_GLOBAL_CONFIG_DIR": "/tmp/mini-swe-agent",
    "MSWEA_SILENT_STARTUP": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HOME": "/tmp",
}


def check(spec: AgentSpec) -> AgentSpec:
    if unknown := sorted(set(spec.settings) - {"program", "options"}):
        raise AgentError(f"mini-swe-agent has no setting {unknown[0]!r}; there are options, program")
    return checked(spec, _words(spec), "mini_swe_agent")


def _words(spec: AgentSpec) -> list[str]:
    options = shlex.split(str(spec.settings.get("options", "")))
    return [str(spec.settings.get("program", "mini")), *_WORDS.split(), *options]


async def run(job: Job) -> Rollout:
    return await run_external(job, _words(job.spec), _ENV)
