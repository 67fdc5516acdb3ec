"""Build an image by the daemon: only when the person asks for it, without network unless they say so.

It is spoken to over a connection of its own, so that a cancelled build ends: the daemon stops it when the
connection closes. Nothing is fetched for a build without network, neither its base nor an address of `ADD`.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlencode

import msgspec

from sandbox import daemon
from sandbox.backends import docker
from sandbox.base import Limits, SandboxError, SandboxUnavailable
from sandbox.dockerfile import needs
from sandbox.recipe import Recipe, pack

BUILD_S = 3600.0
_ERROR_BYTES = 8000
_LINE_BYTES = 1024 * 1024


class BuildFailed(SandboxError):
    """The daemon could not build the image. `remedy` says what may help."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class Built(msgspec.Struct, frozen=True):
    """An image that is here now."""

    tag: str
    id: str
    built: bool
    """False when it was here already."""


class _Line(msgspec.Struct):
    """One line of the daemon's answer to a build."""

    stream: str = ""
    error: str = ""


_decoder = msgspec.json.Decoder(_Line)


async def build(
    recipe: Recipe,
    *,
    network: bool = False,
    force: bool = False,
    on_output: Callable[[str], None] = lambda _: None,
) -> Built:
    """Build the image of a recipe unless its content has been built before; `force` builds it anew.

    `on_output` hears what the build says, as it comes: text of the repository, not to be trusted. Raises
    BuildFailed, SandboxUnavailable, DockerfileError. Cancelling ends the build.
    """
    reason = await daemon.available()
    if reason is not None:
        raise SandboxUnavailable(f"an image needs docker: {reason}", docker.remedy(reason))
    known = await docker.image_id(recipe.tag)
    if known is not None and not force:
        return Built(recipe.tag, known, False)
    await _check(recipe, network)
    with tempfile.TemporaryFile() as context:
        name = await asyncio.to_thread(pack, recipe, context)
        size = context.tell()
        context.seek(0)
        query = _query(recipe, name, network=network, force=force)
        try:
            async with asyncio.timeout(BUILD_S):
                status, reader, writer = await daemon.request(
                    f"POST /build?{query}",
                    "Content-Type: application/x-tar",
                    f"Content-Length: {size}",
                    body=context,
                )
                try:
                    await _follow(status, reader, on_output, network)
                finally:
                    writer.close()
        except TimeoutError:
            raise BuildFailed(f"the build took longer than {BUILD_S:.0f} s and was ended") from None
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise BuildFailed(
                f"the docker daemon broke off the build: {error}", "see `pawl doctor`"
            ) from error
    made = await docker.image_id(recipe.tag)
    if made is None:
        raise BuildFailed("the docker daemon says that it built the image, but there is none")
    return Built(recipe.tag, made, True)


async def _check(recipe: Recipe, network: bool) -> None:
    """Refuse what would be fetched without having been asked for."""
    wanted = needs(recipe.text, recipe.build.args)
    if network:
        return
    if wanted.unclear:
        raise BuildFailed(
            f"{recipe.build.dockerfile}: no image can be told from `{wanted.unclear[0]}`",
            "`--network` lets docker find and fetch it",
        )
    for image in wanted.images:
        if await docker.image_id(image) is None:
            raise BuildFailed(
                f"{recipe.build.dockerfile}: there is no image {image} here", f"docker pull {image}"
            )


def _query(recipe: Recipe, dockerfile: str, *, network: bool, force: bool) -> str:
    """The parameters of the daemon's `POST /build`; they are the older builder's, which every daemon has."""
    memory = Limits().memory_bytes
    words = {
        "t": recipe.tag,
        "dockerfile": dockerfile,
        "buildargs": json.dumps(recipe.build.args),
        "target": recipe.build.target,
        "labels": json.dumps({"pawl.project": str(recipe.project)}),
        "networkmode": "default" if network else "none",
        "nocache": "1" if force else "0",
        "rm": "1",
        "forcerm": "1",
        "memory": memory,
        "memswap": memory,
    }
    return urlencode({name: value for name, value in words.items() if value != ""}, errors="replace")


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of an answer that comes in chunks (RFC 9112, 7.1), to its end."""
    data = bytearray()
    while size := int(await reader.readline(), 16):
        if size + len(data) > _LINE_BYTES:
            raise ValueError("a line of its answer is too long")
        data += await reader.readexactly(size)
        await reader.readline()
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield bytes(line)
        data = bytearray(rest)


async def _follow(
    status: int, reader: asyncio.StreamReader, on_output: Callable[[str], None], network: bool
) -> None:
    """Hear the build to its end."""
    if status != 200:
        said = (await reader.read(_ERROR_BYTES)).decode("utf-8", "replace")
        raise BuildFailed(f"the docker daemon refuses to build: {said[said.find('{') :].strip()}")
    async for line in _lines(reader):
        try:
            event = _decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise BuildFailed(
                f"the docker daemon sent something else than a build's output: {error}"
            ) from None
        if event.error:
            remedy = "" if network else "the build had no network; `--network` gives it one"
            raise BuildFailed(f"the build failed: {event.error[:_ERROR_BYTES]}", remedy)
        if event.stream:
            on_output(event.stream)
