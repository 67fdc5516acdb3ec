"""What the sandbox of a project runs on, and a line for the person about each thing that is passed over.

--image > the project's devcontainer.json > the host's tools (Linux) > a plain Python image. The repository is
hostile: what it names is used only when it is here already, or was built when the person ran `pawl sandbox
build`; a Dockerfile alone is used as the image that this made of it, given by --image. Nothing is fetched or
built here.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Literal

import msgspec

from sandbox.base import BackendName, SandboxUnavailable
from sandbox.devcontainer import Devcontainer, DevcontainerError, is_image_name
from sandbox.recipe import find_devcontainer, read_recipe

PLAIN = "python:3-slim"
"""Where there are no Linux tools on the host to show."""
HOST = "host-toolchain"
"""Given as an image: the host's tools, whatever the project says."""
_BUILD = "pawl sandbox build"


class Chosen(msgspec.Struct, frozen=True):
    """What is used, and why."""

    image: str | None
    """A docker image, or None for the host-toolchain view."""
    source: Literal["option", "devcontainer", "host", "plain"]
    env: dict[str, str] = {}
    """Variables of a devcontainer: below everything that pawl or the person sets."""
    notes: tuple[str, ...] = ()


async def choose_image(
    project: Path,
    backend: BackendName,
    image: str | None = None,
    *,
    platform: str = sys.platform,
) -> Chosen:
    """Choose for a project's folder; `image` is what the person asked for.

    Raises SandboxUnavailable for what is no name of an image; what the repository asks for in vain is a note.
    """
    if image == HOST:
        return Chosen(None, "host")
    if image is not None:
        if not is_image_name(image):
            raise SandboxUnavailable(
                f"not the name of an image: {image!r}", "such as `--image python:3-slim`"
            )
        return Chosen(image, "option")
    otherwise = Chosen(None, "host") if platform == "linux" or backend != "docker" else Chosen(PLAIN, "plain")
    try:
        devcontainer = await asyncio.to_thread(find_devcontainer, project)
        if devcontainer is None:
            return otherwise
        if backend != "docker":
            return _with(otherwise, f"{devcontainer.path} is passed over: an image needs docker")
        return await _of_devcontainer(project, devcontainer, otherwise)
    except DevcontainerError as error:
        return _with(otherwise, f"passed over: {error}")


async def _of_devcontainer(project: Path, wanted: Devcontainer, otherwise: Chosen) -> Chosen:
    image, remedy = wanted.image, f"docker pull {wanted.image}"
    if wanted.build is not None:
        recipe = await asyncio.to_thread(read_recipe, project, wanted.build)
        image, remedy = recipe.tag, _BUILD
    if image is None:
        return _with(otherwise, *wanted.notes, f"{wanted.path} is passed over: it names no image")
    if not await _is_here(image):
        return _with(otherwise, f"{wanted.path} is passed over: its image is not here (`{remedy}` gets it)")
    named = {"USER": wanted.user, "LOGNAME": wanted.user} if wanted.user else {}
    used = f"{wanted.path} is followed: {image} is used (`--image {HOST}` keeps to the host's tools)"
    return Chosen(image, "devcontainer", {**wanted.env, **named}, (used, *wanted.notes))


async def _is_here(image: str) -> bool:
    from sandbox.backends import docker  # slow to load, and most projects name no image

    return await docker.image_id(image) is not None


def _with(chosen: Chosen, *notes: str) -> Chosen:
    return msgspec.structs.replace(chosen, notes=notes)
