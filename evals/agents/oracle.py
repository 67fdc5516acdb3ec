"""Hands in the reference: what it does not solve, nobody can."""

from __future__ import annotations

from agent import __version__
from evals.agent import Job
from evals.types import AgentSpec, Rollout

name = "oracle"
summary = "hands in the reference; must score 1"


def check(spec: AgentSpec) -> AgentSpec:
    return AgentSpec(name=name, version=__version__)


async def run(job: Job) -> Rollout:
    return Rollout(
        unit=job.unit,
        instance=job.instance.id,
        attempt=job.attempt,
        agent=name,
        model="",
        end="submitted" if job.instance.reference or job.instance.solution else "no_change",
        patch=job.instance.reference,
    )
