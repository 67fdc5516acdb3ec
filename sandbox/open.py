"""Which sandbox is used here, and opening it. There is never a silent step down to the host."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, cast

import msgspec

from sandbox import backends
from sandbox.base import BackendName, Orphan, Sandbox, SandboxSpec, SandboxUnavailable
from sandbox.image import Toolchain, toolchain

Wanted = Literal["auto", "docker", "bubblewrap", "local"]

_AUTOMATIC: tuple[BackendName, ...] = ("docker", "bubblewrap")
"""In order of preference. `local` is never among them."""


class Backend(Protocol):
    """What each file of `sandbox/backends/` offers, as a module."""

    name: BackendName

    async def available(self) -> str | None:
        """None when it works here, else the reason why not."""
        ...

    async def open(self, spec: SandboxSpec, toolchain: Toolchain, state: Path) -> Sandbox:
        """Open a sandbox; raises SandboxUnavailable."""
        ...

    def owner(self) -> tuple[int, int]:
        """(uid, gid) on the host that the workspace's files must belong to."""
        ...

    def sees_mounts(self) -> bool:
        """True when it would see what pawl mounts on the host."""
        ...

    async def facts(self) -> dict[str, str]:
        """What it stands on here, such as versions; for a person. Never raises."""
        ...

    async def orphans(self) -> Sequence[Orphan]:
        """What a pawl that is no more left in it. Raises SandboxUnavailable."""
        ...

    async def remove(self, orphan: Orphan) -> None:
        """Remove what `orphans` named; it is no error when it is gone. Raises SandboxUnavailable."""
        ...

    def remedy(self, reason: str) -> str:
        """One command or sentence for the person, for a reason that `available` gave."""
        ...


class Choice(msgspec.Struct, frozen=True):
    """The backend that is used, and one line for the person about why."""

    backend: BackendName
    reason: str


def known_backends() -> list[str]:
    """Names of all backends, found by listing the folder."""
    return sorted(module.name for module in pkgutil.iter_modules(backends.__path__))


def load(name: BackendName) -> Backend:
    """The backend's module; imported only now, for docker's library is slow to load."""
    return cast(Backend, importlib.import_module(f"sandbox.backends.{name}"))


async def _loaded(name: BackendName) -> Backend:
    return await asyncio.to_thread(load, name)


def owner(backend: BackendName) -> tuple[int, int]:
    """(uid, gid) that a fork must belong to so that the backend's user may write in it."""
    return load(backend).owner()


def sees_mounts(backend: BackendName) -> bool:
    """Whether forks for this backend may be overlay mounts."""
    return load(backend).sees_mounts()


async def choose(backend: Wanted = "auto") -> Choice:
    """docker when a daemon answers, else bubblewrap when it works; `local` only when asked for by name.

    Raises SandboxUnavailable with the one remedy for this system.
    """
    if backend != "auto":
        reason = await (await _loaded(backend)).available()
        if reason is not None:
            raise SandboxUnavailable(reason, load(backend).remedy(reason))
        open_to = "; commands reach all of this machine" if backend == "local" else ""
        return Choice(backend, f"{backend}, as asked for{open_to}")
    missing: list[str] = []
    for name in _AUTOMATIC:
        reason = await (await _loaded(name)).available()
        if reason is None:
            return Choice(name, "; ".join([*missing, f"{name} is used"]))
        missing.append(reason)
    last = _AUTOMATIC[-1]
    raise SandboxUnavailable("; ".join(missing), load(last).remedy(missing[-1]))


async def open_sandbox(
    spec: SandboxSpec,
    backend: Wanted = "auto",
    *,
    state: Path,
    project: Path,
    environ: Mapping[str, str] | None = None,
) -> Sandbox:
    """Open a sandbox for the tree of `spec`, which must belong to `owner(backend)`.

    `state` is a folder that sandboxes share; `project` is the user's own folder, whose virtual environment
    is shown; `environ` is where the person's tools are looked up (PATH, VIRTUAL_ENV, HOME), by default
    pawl's own. Several may be opened at once. Raises SandboxUnavailable.
    """
    name = (await choose()).backend if backend == "auto" else backend
    found_in = dict(os.environ if environ is None else environ)
    tools = await asyncio.to_thread(toolchain, project, found_in, spec.prefix)
    return await (await _loaded(name)).open(spec, tools, state)
