"""Where candidates are made: a frozen workspace, and a sandbox for each fork of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from sandbox.base import Limits, Outlet, Sandbox, SandboxSpec
from sandbox.open import open_sandbox
from sandbox.patch import Patch
from sandbox.pool import Opened, Pool
from sandbox.workspace import Fork, Workspace
from tools.probe import PROBE_MOUNT


class Candidate(NamedTuple):
    """One fork and the sandbox that works on it."""

    fork: Fork
    sandbox: Sandbox

    async def changed(self) -> list[str]:
        """Paths that differ from the base."""
        return [change.path for change in (await self.fork.diff()).changes]


class Workbench:
    """Opens candidates of one workspace, all of one backend and with the same limits.

    Close it before the workspace.
    """

    def __init__(
        self,
        workspace: Workspace,
        backend: Literal["docker", "bubblewrap", "local"],
        *,
        session: str,
        state: Path,
        image: str | None = None,
        image_env: Mapping[str, str] | None = None,
        runtime: str | None = None,
        limits: Limits,
        outlet: Outlet | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.workspace = workspace
        self.backend = backend
        self.session = session
        self.state = state
        self.image = image
        self.image_env = dict(image_env or {})
        self.runtime = runtime
        self.limits = limits
        self.outlet = outlet
        """The way to what the person allowed of the network; None for none at all."""
        self.environ = environ
        """Where the person's tools are looked up: PATH, VIRTUAL_ENV, HOME."""

        self._pool = Pool(self._open)

    def warm(self) -> None:
        """Keep a candidate ready from now on; for work that will need several, one after the other."""
        self._pool.warm()

    @asynccontextmanager
    async def candidate(self, patch: Patch | None = None, *, last: bool = False) -> AsyncIterator[Candidate]:
        """A fresh fork of the base, plus `patch` alone when given; gone with everything in it at the end.

        `last`: no other is made ready in its place unless `warm` is called again.
        """
        stack, candidate = await self._pool.take(replace=not last)
        try:
            if patch is not None:
                await candidate.fork.apply(patch)
            yield candidate
        finally:
            await stack.aclose()

    async def aclose(self) -> None:
        """Close the candidate that is kept ready. Idempotent."""
        await self._pool.aclose()

    async def _open(self) -> Opened[Candidate]:
        async with AsyncExitStack() as stack:
            fork = await self.workspace.fork("candidate")
            stack.push_async_callback(fork.aclose)
            spec = SandboxSpec(
                tree=fork.place,
                enter=fork.enter,
                root=str(fork.tree) if self.backend == "local" else fork.root,
                session=self.session,
                limits=self.limits,
                image=self.image,
                image_env=self.image_env,
                runtime=self.runtime,
                mounts=(*fork.mounts, PROBE_MOUNT),
                prefix=self.workspace.prefix,
                env=self.workspace.env,
                outlet=self.outlet,
            )
            sandbox = await open_sandbox(
                spec, self.backend, state=self.state, project=self.workspace.tree, environ=self.environ
            )
            stack.push_async_callback(sandbox.aclose)
            return Opened(stack.pop_all(), Candidate(fork, sandbox))
