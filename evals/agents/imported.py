"""Patches that were made elsewhere: `pawl eval import` puts them into a run, and nobody works on a task."""

from __future__ import annotations

from evals.agent import AgentError, Job
from evals.types import AgentSpec, Rollout

name = "imported"
summary = "patches of another program, put into a run by `pawl eval import`"


def check(spec: AgentSpec) -> AgentSpec:
    if "predictions" not in spec.settings:
        raise AgentError("`imported` makes no patches: pawl eval import FILE --dataset PATH takes in others'")
    return spec


async def run(job: Job) -> Rollout:
    raise AgentError(f"no prediction for {job.instance.id} was imported")
