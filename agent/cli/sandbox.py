"""`pawl sandbox`: what isolation is used here and proof that it holds; a shell in it; what is left behind."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer

from agent import config
from agent.cli.options import working_folder
from agent.cli.render import visible
from agent.cli.sandbox_build import build
from agent.cli.shell import run_shell
from agent.config import Settings
from agent.models.local import ended_servers
from agent.paths import state_dir
from sandbox import prune as pruning
from sandbox.open import Wanted

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What isolates commands here.")
app.command()(build)

Name = Annotated[
    str | None,
    typer.Option(
        "--sandbox", metavar="NAME", help=f"{', '.join(get_args(Wanted))}.", show_default="the setting"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def _settings(sandbox: str | None, cwd: Path) -> Settings:
    return config.load({"sandbox": sandbox}, cwd=cwd).settings


@app.command()
def info(
    sandbox: Name = None,
    check: Annotated[bool, typer.Option("--check", help="Try whether it holds; takes seconds.")] = False,
    as_json: Json = False,
) -> None:
    """Show which sandbox is used here and why, what it stands on, and what can be seen inside.

    With --check the exit code is 0 only when everything that makes it a sandbox was tried and holds.
    """
    from agent.cli.sandbox_info import Facts, gather, show

    cwd = working_folder(None)
    facts: Facts = asyncio.run(gather(_settings(sandbox, cwd), cwd, check=check))
    if as_json:
        print(json.dumps(_plain(facts), indent=2))
    else:
        show(facts)
    if facts.check is not None and not facts.check.holds:
        raise typer.Exit(1)


def _plain(facts: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(facts)
    if facts.check is not None:
        plain["check"]["holds"] = facts.check.holds
    return plain


@app.command(context_settings={"allow_interspersed_args": False})
def shell(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="CMD", help="Instead of a shell.", show_default=False)
    ] = None,
    sandbox: Name = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="HOST,...",
            help="What it may reach, as for `fix`.",
            show_default="the setting",
        ),
    ] = None,
    copy: Annotated[
        str | None,
        typer.Option(
            "--copy", metavar="WHAT", help="all, or what git lists: git.", show_default="the setting"
        ),
    ] = None,
    cwd: Annotated[
        Path | None,
        typer.Option("-C", "--cwd", metavar="DIR", help="Directory to work in.", show_default="this one"),
    ] = None,
) -> None:
    """Open a shell in a fresh copy of this tree. Whatever is done in it, the tree stays as it is."""
    where = working_folder(cwd)
    settings = config.load({"sandbox": sandbox, "network": network, "copy": copy}, cwd=where).settings
    raise typer.Exit(run_shell(settings, where, command or ()))


@app.command()
def prune(yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it.")] = False) -> None:
    """List what pawls that are no more left behind, and kept set-ups; with --yes remove it."""
    raise typer.Exit(asyncio.run(_prune(yes)))


async def _prune(yes: bool) -> int:
    found = await pruning.leftovers(state_dir())
    for folder in ended_servers():
        away = _remover(folder)
        found.append(pruning.Leftover("log", f"model server {folder.name}", pruning.size(folder), away))
    freed = failed = 0
    for leftover in found:
        reason = await pruning.remove(leftover) if yes else ""
        failed += bool(reason)
        freed += 0 if reason else leftover.bytes
        line = f"{leftover.kind:<10} {leftover.bytes / 1e6:>9,.1f} MB  {visible(leftover.name)}"
        print(f"{line}\n{'':25}not removed: {visible(reason)}" if reason else line)
    if not found:
        print("Nothing is left behind.")
    elif yes:
        print(f"\n{freed / 1e6:,.1f} MB freed.")
    else:
        print(f"\n{freed / 1e6:,.1f} MB can be freed: pawl sandbox prune --yes")
    return 1 if failed else 0


def _remover(folder: Path) -> Any:
    async def away() -> None:
        await asyncio.to_thread(shutil.rmtree, folder)

    return away
