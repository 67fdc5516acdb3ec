"""An agent that is a known program, as data: how it is called, pointed at its model and kept quiet.

The program is used as it is installed here, and nothing installs it. Settings (`--set KEY=VALUE`):

    program   its path, when it is not on the PATH
    options   further words for its command line, such as `--set options="--edit-format whole"`
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent.models.resolve import KEY_VARIABLE
from evals.agent import AgentError, Job
from evals.external import Call, checked, links, located, run_external
from evals.types import AgentSpec, Rollout


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """See `evals.external.Call` for the fields that are not told of here."""

    name: str
    summary: str
    command: str
    """On the PATH."""
    install: str
    """The command by which a person installs it; its last word is the package's name."""
    words: str
    """Behind the command; as a shell would split it."""
    env: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    piped: bool = False
    litter: tuple[str, ...] = ()
    key_variable: str = KEY_VARIABLE

    def check(self, spec: AgentSpec) -> AgentSpec:
        """As of an agent."""
        if unknown := sorted(set(spec.settings) - {"program", "options"}):
            raise AgentError(f"{self.name} has no setting {unknown[0]!r}; there are options, program")
        command = self._command(spec)
        where = located(command)
        if where is None:
            raise AgentError(
                f"the program {command!r} is not on the PATH: `{self.install}` installs it, "
                f"or --set program=PATH says where it is"
            )
        return checked(spec, where, installed_version(where, self.install.split()[-1]))

    async def run(self, job: Job) -> Rollout:
        """As of an agent."""
        options = shlex.split(str(job.spec.settings.get("options", "")))
        call = Call(
            words=(self._command(job.spec), *shlex.split(self.words), *options),
            env={"HOME": "{home}", **self.env},
            files=self.files,
            piped=self.piped,
            litter=self.litter,
            key_variable=self.key_variable,
        )
        return await run_external(job, call)

    def _command(self, spec: AgentSpec) -> str:
        return str(spec.settings.get("program", self.command))


def installed_version(where: Path, package: str) -> str:
    """Of the Python or npm package that the program belongs to; "" when it belongs to none.

    Read from the package's own files: nothing is started for it.
    """
    folder = package.replace("-", "_")
    for path in links(where):
        for found in path.parent.parent.glob(f"lib/python3*/site-packages/{folder}-*.dist-info"):
            return found.name.removesuffix(".dist-info").rpartition("-")[2]
        for above in path.parents:
            if above.match(f"node_modules/{package}"):
                return _npm_version(above / "package.json")
    return ""


def _npm_version(path: Path) -> str:
    try:
        told: Any = msgspec.json.decode(path.read_bytes())
        return str(told["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
