"""`pawl fix -- CMD...`: make a command pass."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from agent.cli.options import Options, with_options

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_interspersed_args": False})
@with_options
def fix(
    options: Options,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- CMD...",
            help="The command that is to pass; without it --test-cmd, or how the project is tested.",
            show_default=False,
        ),
    ] = None,
    allow_test_edits: Annotated[
        bool, typer.Option("--allow-test-edits", help="Let the patch change tests too.")
    ] = False,
) -> None:
    """Make CMD pass: run it in the sandbox, repair, and prove it by a run in a clean copy."""
    raise typer.Exit(
        run_fix(options, tuple(command or options.settings.check), allow_test_edits=allow_test_edits)
    )


def run_fix(
    options: Options,
    command: tuple[str, ...],
    *,
    allow_test_edits: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run `fix` and return its exit code; an empty `command` stands for how the project is tested.

    `environ` is where the tools for `command` are looked up.
    """
    from agent.cli.desk import Desk, run_headless
    from agent.cli.model import check_name, opener
    from agent.solve.fix import Outcome
    from agent.solve.fix import fix as solve_fix

    check_name(options.settings)

    async def body(desk: Desk) -> Outcome:
        bench = await desk.open_bench(environ)
        return await solve_fix(
            command,
            bench,
            desk.branch,
            desk.budget,
            open_model=opener(desk, allow_test_edits=allow_test_edits),
            wall_s=options.settings.timeout,
        )

    return run_headless(options, "fix", body)
