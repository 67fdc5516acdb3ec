"""What an agent is for an evaluation: a file of `evals/agents/` that works on one instance in one place."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Protocol, cast

import msgspec

from agent.models.base import ModelAuth, ModelError, ModelOverloaded, ModelQuota, ModelUnreachable
from evals import agents
from evals.types import AgentSpec, End, Instance, Limits, Rollout, Script, Tests


class AgentError(Exception):
    """An agent cannot be used at all: not installed, a wrong setting. Exit code 2."""

    exit_code = 2


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One unit, as an agent gets it. Hidden tests and the reference are not in it, except for the oracle."""

    unit: str
    attempt: int
    instance: Instance
    """For agents other than the oracle `shown` of it: no reference, no tests that it may not see."""
    tree: Path
    """A git repository with the task's base as its only commit, for this unit alone. Work is done here."""
    environment: Path | None
    """Folder of the environment that `Environment.install` made, as a virtual environment; None without."""
    place: Path
    """`attempts/<unit>/`: session log, patch, whole outputs."""
    spec: AgentSpec
    limits: Limits
    backend: str
    """docker, bubblewrap or local."""
    seed: int


class Agent(Protocol):
    """What each file of `evals/agents/` offers, as a module."""

    name: str
    summary: str

    def check(self, spec: AgentSpec) -> AgentSpec:
        """The spec with version and hashes filled in. Raises AgentError when it cannot be used here."""
        ...

    async def run(self, job: Job) -> Rollout:
        """Work on the task and return what came of it, with the patch against the base.

        Provider and sandbox trouble becomes an end; only a defect of pawl goes up. All that it started has
        ended when it returns, also when it is cancelled.
        """
        ...


def shown(instance: Instance) -> Instance:
    """The instance without what an agent must not see: reference, solution, hidden tests."""
    grading: Tests | Script
    match instance.grading:
        case Tests() as tests:
            grading = Tests(tests.command, fail_to_pass=())
        case Script() as script:
            grading = msgspec.structs.replace(script, folder="")
    return msgspec.structs.replace(instance, reference="", solution="", grading=grading, extra={})


def end_by(error: ModelError) -> End:
    """The end of a unit whose model failed like this."""
    match error:
        case ModelAuth():
            return "key_refused"
        case ModelQuota():
            return "quota_used_up"
        case ModelOverloaded() | ModelUnreachable():
            return "provider_error"
    return "agent_error"


def known_agents() -> list[str]:
    """Names of all agents, found by listing the folder."""
    return sorted(module.name for module in pkgutil.iter_modules(agents.__path__))


def load_agent(name: str) -> Agent:
    """The agent's module, imported only now. Raises AgentError with the names that there are."""
    wanted = name.replace("-", "_")
    if wanted not in known_agents():
        known = ", ".join(known_agents()).replace("_", "-")
        raise AgentError(f"no agent is called {name!r}; there are {known}")
    return cast(Agent, importlib.import_module(f"evals.agents.{wanted}"))
