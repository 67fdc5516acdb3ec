"""The image that a task's Dockerfile makes: built by the docker daemon of this machine, and kept.

Its name holds a hash of the whole folder, so a changed file makes another image. Only what the daemon has is
used, unless `PAWL_EVAL_SETUP_NETWORK=allow` lets the build fetch its base and packages.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import msgspec

from evals.environment import NETWORK
from evals.types import Instance
from sandbox.base import SandboxError, SandboxUnavailable
from sandbox.devcontainer import Build
from sandbox.recipe import read_recipe


async def built(instance: Instance, backend: str) -> Instance:
    """The instance with the image of its Dockerfile, when it has one. Raises SandboxUnavailable."""
    folder = instance.environment.dockerfile
    if not folder:
        return instance
    if backend != "docker":
        raise SandboxUnavailable(
            f"{instance.id} runs in an image that its Dockerfile makes", "choose --sandbox docker"
        )
    from sandbox.build import build  # slow to load, and most tasks have no Dockerfile

    content = await asyncio.to_thread(_digest, Path(folder))
    try:
        recipe = await asyncio.to_thread(
            read_recipe, Path(folder), Build("Dockerfile", "", {"PAWL_CONTENT": content})
        )
        made = await build(recipe, network=os.environ.get(NETWORK) == "allow")
    except SandboxUnavailable:
        raise
    except SandboxError as error:
        raise SandboxUnavailable(
            f"{instance.id}: {error}", f"{NETWORK}=allow lets the build fetch what it needs"
        ) from error
    environment = msgspec.structs.replace(instance.environment, image=made.tag, dockerfile="")
    return msgspec.structs.replace(instance, environment=environment)


def _digest(folder: Path) -> str:
    """Of all names and regular files below; links are not followed."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        whole.update(
            f"{path.relative_to(folder)}\0{path.lstat().st_mode}\0".encode("utf-8", "surrogateescape")
        )
        if path.is_file() and not path.is_symlink():
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
