"""`pawl config`: the settings in force with the layer each comes from, the user's file, how to change it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent import config

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show and change the settings.")


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    bare: Annotated[bool, typer.Option("--bare", help="Ignore configuration files.")] = False,
) -> None:
    """Show each setting, its value and the layer that it comes from."""
    merged = config.load(cwd=Path.cwd(), bare=bare)
    for note in merged.notes:
        print(f"pawl: {note}", file=sys.stderr)
    values = msgspec.structs.asdict(merged.settings)
    if as_json:
        rows = {key: {"value": value, "origin": merged.origin[key]} for key, value in values.items()}
        print(json.dumps(rows, indent=2))
        return
    wide, wider = max(map(len, values)), max(len(_shown(value)) for value in values.values())
    for key, value in values.items():
        print(f"{key:<{wide}}  {_shown(value):<{wider}}  {merged.origin[key]}")


@app.command()
def path() -> None:
    """Print where the user's settings file is, whether or not it exists."""
    print(config.user_file())


@app.command("set")
def set_(
    key: Annotated[str, typer.Argument(metavar="KEY")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="An empty value takes the setting out.")],
) -> None:
    """Change one setting in the user's file; everything else in it is kept."""
    file = config.user_file()
    config.set_value(key, value, file)
    print(f"{key} = {value}  in {file}" if value else f"{key} taken out of {file}")


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
