"""Where candidates are made: a frozen workspace, and a sandbox for each fork of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from sandbox.base import Limits, Sandbox, SandboxSpec
from sandbox.open import open_sandbox
from sandbox.patch import Patch
from sandbox.workspace import Fork, Workspace
from tools.probe import PROBE_MOUNT


class Candidate(NamedTuple):
    """One fork and the sandbox that works on it."""

    fork: Fork
    sandbox: Sandbox


class Workbench:
    """Opens candidates of one workspace, all with the same backend and limits."""

    def __init__(
        self,
        workspace: Workspace,
        backend: Literal["docker", "bubblewrap", "local"],
        *,
        session: str,
        state: Path,
        image: str | None = None,
        runtime: str | None = None,
        limits: Limits,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.workspace = workspace
        self.backend = backend
        self.session = session
        self.state = state
        self.image = image
        self.runtime = runtime
        self.limits = limits
        self.environ = environ
        """Where the person's tools are looked up: PATH, VIRTUAL_ENV, HOME."""

    @asynccontextmanager
    async def candidate(self, label: str, patch: Patch | None = None) -> AsyncIterator[Candidate]:
        """A fresh fork of the base, plus `patch` alone when given; gone with everything in it at the end."""
        fork = await self.workspace.fork(label, patch)
        try:
            spec = SandboxSpec(
                tree=fork.tree,
                root=str(fork.tree) if self.backend == "local" else fork.root,
                session=self.session,
                limits=self.limits,
                image=self.image,
                runtime=self.runtime,
                mounts=(*fork.mounts, PROBE_MOUNT),
            )
            sandbox = await open_sandbox(
                spec, self.backend, state=self.state, project=self.workspace.tree, environ=self.environ
            )
            try:
                yield Candidate(fork, sandbox)
            finally:
                await sandbox.aclose()
        finally:
            await fork.aclose()
