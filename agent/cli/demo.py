"""`pawl demo`: `fix` on a bundled repository that has a real bug, with the embedded model."""

from __future__ import annotations

import typer

from agent.cli.options import Options, with_options

app = typer.Typer(add_completion=False)

ATTEMPTS = 8
"""More than `fix` makes by itself: a demonstration should not hang on a few throws of the dice."""

COMMAND = ("python", "-m", "pytest", "-q")


@app.command()
@with_options
def demo(options: Options) -> None:
    """Repair a copy of a small bundled repository: `pawl fix -- python -m pytest -q`."""
    raise typer.Exit(run_demo(options))


def run_demo(options: Options) -> int:
    """Copy the bundled repository to a temporary folder, fix it there, remove it; returns the exit code."""
    import os
    import shutil
    import sys
    import tempfile
    from importlib.resources import as_file, files
    from pathlib import Path

    import msgspec

    from agent.cli.fix import run_fix
    from agent.models.catalog import DEFAULT_LOCAL, EMBEDDED

    settings = options.settings
    if settings.model is None and settings.base_url is None:
        settings = msgspec.structs.replace(settings, model=EMBEDDED + DEFAULT_LOCAL)
    # what is bundled is no git repository, and needs nothing installed
    settings = msgspec.structs.replace(
        settings, attempts=settings.attempts or ATTEMPTS, copy="all", setup=None
    )
    with tempfile.TemporaryDirectory(prefix="pawl-demo-") as folder:
        copy = Path(folder).resolve() / "roster"
        with as_file(files("agent") / "demo" / "repository") as bundled:
            shutil.copytree(bundled, copy, ignore=shutil.ignore_patterns("__pycache__"))
        # the copy goes away with the demo, so there is nothing to apply the patch to
        changed = msgspec.structs.replace(options, settings=settings, cwd=copy, apply=False)
        # pytest is installed beside pawl, and maybe nowhere else
        return run_fix(changed, COMMAND, environ={**os.environ, "VIRTUAL_ENV": sys.prefix})
