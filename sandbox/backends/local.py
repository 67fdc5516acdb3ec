"""The local backend: no isolation, only the bounds of time and output and the killing of process trees.

For a person who asks for it by name; never a fallback. The root is the tree itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sandbox import etc, pid1
from sandbox.base import BackendName, Caps, Orphan, Sandbox, SandboxSpec, SandboxUnavailable
from sandbox.image import Toolchain
from sandbox.launch import launch

name: BackendName = "local"

_CAPS = Caps(backend="local", network=False, pids=False, memory=False, read_scope=False, image="host")


async def available() -> str | None:
    """None when this backend works here, else the reason why not."""
    return None


def owner() -> tuple[int, int]:
    """(uid, gid) that the tree must belong to."""
    return os.geteuid(), os.getegid()


def sees_mounts() -> bool:
    """Only what is mounted on the host."""
    return os.geteuid() == 0


def remedy(reason: str) -> str:
    """There is nothing that could be missing."""
    return reason


async def facts() -> dict[str, str]:
    """What it stands on: nothing but the host."""
    return {}


async def orphans() -> Sequence[Orphan]:
    """Nothing is left behind that could be found."""
    return ()


async def remove(orphan: Orphan) -> None:
    """There is nothing to remove."""


async def open(spec: SandboxSpec, toolchain: Toolchain, state: Path) -> Sandbox:
    """Open a sandbox whose commands run on the host, in the tree, with a home folder of their own.

    Raises SandboxUnavailable, also for a limited network: nothing could hold the commands to it.
    """
    if spec.outlet is not None:
        raise SandboxUnavailable(
            "a list of allowed hosts cannot be enforced without a sandbox",
            "use --sandbox docker or bubblewrap, or leave out --network",
        )
    if spec.runtime is not None:
        raise SandboxUnavailable("a runtime needs docker", "pawl config set runtime ''")
    home = await asyncio.to_thread(_make_home, state)
    links = Path(home, ".bin")
    etc.make_links(links, toolchain.links)
    env = {"PATH": f"{toolchain.path}:{links}", "HOME": home, **toolchain.env}
    return await launch(
        pid1.command(toolchain.python),
        msgspec.structs.replace(spec, root=str(spec.tree)),
        _CAPS,
        environ={"LANG": "C.UTF-8"},
        env=env,
        clean_up=lambda: shutil.rmtree(home, ignore_errors=True),
    )


def _make_home(state: Path) -> str:
    """A new folder in `state`, where it is found again should pawl be killed."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return tempfile.mkdtemp(prefix="home-", dir=state)
