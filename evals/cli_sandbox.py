"""`--sandbox`, as all commands of `pawl eval` that run something have it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from agent.cli.render import visible
from agent.config import ConfigError
from sandbox.base import BackendName

Sandbox = Annotated[str, typer.Option("--sandbox", metavar="NAME", help="auto, docker, bubblewrap or local.")]


async def sandbox_of(wanted: str) -> BackendName:
    """The backend that an option means here; why is told. Raises ConfigError, SandboxUnavailable."""
    from typing import cast, get_args

    from sandbox.open import Wanted, choose

    if wanted not in get_args(Wanted):
        raise ConfigError(f"--sandbox: expected one of {', '.join(get_args(Wanted))}, got {wanted!r}")
    choice = await choose(cast(Wanted, wanted))
    print(f"sandbox: {visible(choice.reason)}", file=sys.stderr)
    return choice.backend
