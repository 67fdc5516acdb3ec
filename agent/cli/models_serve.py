"""`pawl models serve`: a model server for anything on this machine that speaks to one, until Ctrl-C."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.progress import note, pull_progress
from agent.config import ConfigError
from agent.models import catalog
from agent.models.address import server_root
from agent.models.keeper import keep
from agent.models.local import LocalServer
from agent.models.serving import KV_SHARE, SLOTS, KvType, Lora, ServerSettings, find_engine
from agent.models.weights import pull
from agent.paths import cache_dir

_CHOSEN = "by what is here"


def serve(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Of `pawl models list`, a GGUF file, or hf:owner/repository."),
    ] = catalog.DEFAULT_LOCAL,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port.", min=0, max=65535)] = 8080,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The API key to ask for.", show_default="a new one")
    ] = None,
    ctx: Annotated[
        int | None,
        typer.Option(help="Tokens of context for all slots together.", min=256, show_default=_CHOSEN),
    ] = None,
    slots: Annotated[int, typer.Option(help="Conversations kept at a time.", min=1, max=64)] = SLOTS,
    kv_type: Annotated[
        str | None,
        typer.Option(help=f"Of the cache: {', '.join(KV_SHARE)}.", metavar="TYPE", show_default=_CHOSEN),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads to compute on.", min=1, max=1024, show_default=_CHOSEN)
    ] = None,
    gpu_layers: Annotated[
        int | None, typer.Option(help="Layers on the GPU, 0 for none.", min=0, show_default="all that fit")
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:SCALE]", help="Lay an adapter (GGUF) over the model; may be repeated."),
    ] = None,
    speculate: Annotated[
        bool, typer.Option("--speculate", help="Draft repetitions of the prompt (n-gram lookup).")
    ] = False,
    idle: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="Free the memory after so long without a request.",
            min=0.02,
            show_default="never",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="xllamacpp, llama-server, or a path of one.", show_default="what is there"
        ),
    ] = None,
) -> None:
    """Keep a model server until Ctrl-C, and start it again when it falls. Prints its addresses and key."""
    if kv_type is not None and kv_type not in KV_SHARE:
        raise ConfigError(f"--kv-type: expected one of {', '.join(KV_SHARE)}, got {kv_type!r}")
    settings = ServerSettings(
        slots=slots,
        context_tokens=ctx,
        kv_type=_known(kv_type),
        threads=threads,
        gpu_layers=gpu_layers,
        speculate=speculate,
        loras=tuple(_lora(text) for text in lora or ()),
        idle_s=None if idle is None else idle * 60,
        engine=engine,
        host=host,
        port=port,
        api_key=key,
    )
    asyncio.run(_serve(name, settings))


async def _serve(name: str, settings: ServerSettings) -> None:
    find_engine(settings.engine)  # before weights are fetched that nothing here can serve
    with pull_progress(name) as on_progress:
        weights = await pull(name, cache=cache_dir(), on_progress=on_progress, on_note=note)
    await keep(weights, settings, on_ready=_Ready(), on_note=note)


class _Ready:
    """Says where the server is: in full at its first start, in a line after a restart."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, server: LocalServer) -> None:
        if self._told:
            note(f"serving again at {server.base_url}")
            return
        self._told = True
        print(f"base URL  {server.base_url}")
        print(f"API key   {server.api_key}")
        print(f"model     {server.model}", flush=True)
        root = server_root(server.base_url)
        note(f"speaks OpenAI Chat Completions and Responses there, Anthropic Messages at {root}")
        gpu = f", on {' and '.join(server.devices)}" if server.devices else ""
        note(
            f"context {server.context_tokens} tokens ({server.spec.kv_type}), slots {server.slots}, "
            f"{server.spec.threads} threads{gpu}; Ctrl-C ends it"
        )


def _known(kv_type: str | None) -> KvType | None:
    return next((known for known in KV_SHARE if known == kv_type), None)


def _lora(text: str) -> Lora:
    """An adapter as `FILE` or `FILE:SCALE`."""
    path, colon, scale = text.rpartition(":")
    if not colon or Path(text).is_file():
        return Lora(str(Path(text).expanduser().absolute()))
    try:
        return Lora(str(Path(path).expanduser().absolute()), float(scale))
    except ValueError as error:
        raise ConfigError(f"--lora: expected FILE or FILE:SCALE, got {text!r}") from error
