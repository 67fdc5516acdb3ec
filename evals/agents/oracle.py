"""Hands in the reference: what it does not solve, nobody can."""

from __future__ import annotations

from typing import cast

from agent import __version__
from agent.paths import state_dir
from evals.agent import Job
from evals.solution import reference
from evals.types import AgentSpec, Rollout
from sandbox.base import BackendName

name = "oracle"
summary = "hands in the reference; must score 1"


def check(spec: AgentSpec) -> AgentSpec:
    return AgentSpec(name=name, version=__version__)


async def run(job: Job) -> Rollout:
    cache, patch = state_dir() / "evals", ""
    if job.instance.reference or job.instance.solution:
        patch = await reference(job.instance, cache=cache, backend=cast(BackendName, job.backend))
    return Rollout(
        unit=job.unit,
        instance=job.instance.id,
        attempt=job.attempt,
        agent=name,
        model="",
        end="submitted" if patch else "no_change",
        patch=patch,
    )
