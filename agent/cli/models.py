"""`pawl models`: what is known and there, fetching weights, keeping a server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from agent.models import catalog
from agent.models.fetching import OnProgress
from agent.models.local import SLOTS, LocalServer, ServerSettings
from agent.models.resolve import find_servers
from agent.models.weights import present, pull
from agent.paths import cache_dir

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, pull and serve models.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Of `pawl models list`, a GGUF file, or hf:owner/repository/file.",
        show_default=False,
    ),
]


@app.command("list")
def list_models() -> None:
    """Show the embedded models and the model servers that answer on this machine."""
    cache = cache_dir()
    for model in catalog.MODELS:
        assert model.weights
        state = "present" if present(model.weights, cache) else "not pulled"
        default = "  (default)" if model.name == catalog.DEFAULT_LOCAL else ""
        size = f"{model.weights.size / 1e6:,.0f} MB"
        print(f"{catalog.EMBEDDED + model.name:<26} {model.params:>5} {size:>9}  {state}{default}")
    for found in asyncio.run(find_servers()):
        print(f"\n{found.base_url} answers, usually {found.usual}:")
        for name in found.info.models:
            print(f"  {found.base_url}#{name}")


@app.command("pull")
def pull_weights(name: Name) -> None:
    """Fetch a model's weights, or go on where an earlier pull stopped. Prints the file's path."""
    with pull_progress(name) as on_progress:
        path = asyncio.run(pull(name, cache=cache_dir(), on_progress=on_progress, on_note=_note))
    print(path)


@app.command()
def serve(
    name: Name = catalog.DEFAULT_LOCAL,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port.", min=0, max=65535)] = 8080,
    ctx: Annotated[
        int | None,
        typer.Option(help="Tokens of context for all slots together.", min=256, show_default="by memory"),
    ] = None,
    slots: Annotated[int, typer.Option(help="Conversations kept at a time.", min=1, max=64)] = SLOTS,
) -> None:
    """Keep an OpenAI-compatible server until Ctrl-C. Prints its address and key."""
    asyncio.run(_serve(name, ServerSettings(slots=slots, context_tokens=ctx, host=host, port=port)))


async def _serve(name: str, settings: ServerSettings) -> None:
    with pull_progress(name) as on_progress:
        weights = await pull(name, cache=cache_dir(), on_progress=on_progress, on_note=_note)
    async with LocalServer.start(weights, settings, on_note=_note) as server:
        print(f"base URL  {server.base_url}")
        print(f"API key   {server.api_key}")
        print(f"model     {server.model}", flush=True)
        gpu = f", on {' and '.join(server.devices)}" if server.devices else ""
        _note(f"context {server.context_tokens} tokens, slots {server.slots}{gpu}; Ctrl-C ends it")
        await server.wait()


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def pull_progress(name: str) -> Iterator[OnProgress]:
    """A progress bar on stderr, or a line every tenth of the way when that is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines(name)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None, visible=False)

        def show(done: int, total: int | None) -> None:
            bars.update(task, completed=done, total=total, visible=True)

        yield show


class _Lines:
    """Progress as plain lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shown = -1

    def __call__(self, done: int, total: int | None) -> None:
        tenth = done * 10 // total if total else done // 10**8
        if tenth > self.shown:
            self.shown = tenth
            share = f"{tenth * 10:3d} % of {total / 1e6:,.0f} MB" if total else f"{done / 1e6:,.0f} MB"
            _note(f"{self.name}: {share}")
