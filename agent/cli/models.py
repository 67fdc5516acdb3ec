"""`pawl models`: what is known and there, fetching weights, keeping a server, probing one."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from agent.cli.models_probe import probe
from agent.cli.models_serve import serve
from agent.cli.progress import note, pull_progress
from agent.models import catalog
from agent.models.resolve import find_servers
from agent.models.weights import present, pull
from agent.paths import cache_dir

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, pull, serve and probe models.")
app.command()(serve)
app.command()(probe)

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
        path = asyncio.run(pull(name, cache=cache_dir(), on_progress=on_progress, on_note=note))
    print(path)
