"""`pawl sandbox build`: the one way in which an image that a repository describes comes to be built."""

from __future__ import annotations

import asyncio
import json
import posixpath
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import working_folder
from agent.cli.render import visible
from agent.config import ConfigError
from sandbox.devcontainer import Build, DevcontainerError, beneath
from sandbox.recipe import Recipe, find_devcontainer, read_recipe


def build(
    cwd: Annotated[
        Path | None,
        typer.Option("-C", "--cwd", metavar="DIR", help="The project's directory.", show_default=False),
    ] = None,
    dockerfile: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Build this Dockerfile of the project instead.", show_default=False
        ),
    ] = None,
    network: Annotated[bool, typer.Option("--network", help="Let the build reach the network.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Build it even when nothing has changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Build the image that the project's devcontainer.json describes.

    Without --network nothing is fetched, and what the build runs is offline. The same Dockerfile and lock
    files are not built twice.
    """
    where = working_folder(cwd)
    try:
        recipe, notes = _recipe(where, dockerfile)
    except DevcontainerError as error:
        raise ConfigError(str(error)) from None
    for note in notes:
        print(f"pawl: {visible(note)}", file=sys.stderr)
    from sandbox.build import build as build_image

    done = asyncio.run(build_image(recipe, network=network, force=force, on_output=_show))
    if as_json:
        print(json.dumps({"image": done.tag, "id": done.id, "built": done.built, "notes": notes}, indent=2))
        return
    print(f"{'built' if done.built else 'unchanged'}  {done.tag}")
    if dockerfile is not None:
        print(f"use it   --image {done.tag}")


def _recipe(project: Path, dockerfile: str | None) -> tuple[Recipe, tuple[str, ...]]:
    """What to build, and the notes of the devcontainer that it comes from."""
    if dockerfile is not None:
        inside = dockerfile
        if dockerfile.startswith("/") and Path(dockerfile).is_relative_to(project):
            inside = posixpath.relpath(dockerfile, project)
        return read_recipe(project, Build(beneath("", inside, "--dockerfile"), "")), ()
    devcontainer = find_devcontainer(project)
    if devcontainer is None:
        raise ConfigError(f"no devcontainer.json in {project}; `--dockerfile FILE` builds a Dockerfile")
    if devcontainer.build is None:
        image = devcontainer.image
        hint = f"; `docker pull {image}` gets its image" if image else ", and it names no image"
        raise ConfigError(f"{devcontainer.path} has nothing to build{hint}")
    return read_recipe(project, devcontainer.build), devcontainer.notes


def _show(text: str) -> None:
    sys.stderr.write(visible(text))
    sys.stderr.flush()
