"""Does nothing: what it scores, a benchmark gives away for free."""

from __future__ import annotations

from agent import __version__
from evals.agent import Job
from evals.types import AgentSpec, Rollout

name = "null"
summary = "does nothing; must score 0"


def check(spec: AgentSpec) -> AgentSpec:
    return AgentSpec(name=name, version=__version__)


async def run(job: Job) -> Rollout:
    return Rollout(
        unit=job.unit,
        instance=job.instance.id,
        attempt=job.attempt,
        agent=name,
        model="",
        end="no_change",
    )
