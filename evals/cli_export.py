"""`pawl eval export` and `import`: what leaves a run for other programs, and what comes from them."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.progress import note
from agent.cli.render import visible
from agent.config import ConfigError
from evals import planning
from evals.cli_run import RunFolder
from evals.cli_sandbox import Sandbox, sandbox_of
from evals.export import FILTERS, ExportError, known_exports, load_export, select
from evals.imports import make_run, read_predictions
from evals.reading import read_run
from evals.types import Limits


def export(
    folder: RunFolder,
    form: Annotated[str, typer.Option("--format", metavar="NAME", help=f"{', '.join(known_exports())}.")],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="The new file or folder.")],
    filters: Annotated[
        str, typer.Option("--filter", metavar="NAME,NAME", help=f"Of {', '.join(FILTERS)}; all must hold.")
    ] = "",
    per_task: Annotated[
        int | None, typer.Option("--per-task", metavar="N", min=1, help="At most so many, the shortest.")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", min=1, help="That attempt alone.")
    ] = None,
    scorer: Annotated[str, typer.Option("--scorer", metavar="NAME", help="Whose scores count.")] = "",
) -> None:
    """Write a run's rollouts in the format of another program.

    What infrastructure ended is never in it. What is left out is said on stderr, with the reason.
    """
    chosen = load_export(form)
    names = [name.strip() for name in filters.split(",") if name.strip()]
    for name in names:
        if name not in FILTERS:
            raise ConfigError(f"--filter: expected some of {', '.join(FILTERS)}, got {name!r}")
    if out.exists():
        raise ExportError(f"{out} is there already; choose another --out")
    run = read_run(folder, scorer)
    if chosen.one_attempt and attempt is None and run.manifest.attempts > 1:
        raise ExportError(
            f"{chosen.name} holds one patch a task, and there are {run.manifest.attempts}: --attempt N"
        )
    selected = select(run, chosen.needs, names, per_task, None if attempt is None else attempt - 1)
    for why, count in selected.left_out.items():
        note(f"left out: {count} {why}")
    if not selected.episodes:
        raise ExportError("nothing is left to be exported")
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        counts = chosen.write(selected.episodes, run, part)
        part.rename(out)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    print(f"{visible(str(out))}: {told}")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Predictions: .jsonl, .json, preds.json.")],
    dataset: Annotated[str, typer.Option("--dataset", metavar="PATH", help="Or a benchmark's name.")],
    benchmark: Annotated[
        str, typer.Option("--benchmark", metavar="NAME", help="How to read the dataset, if it is not clear.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The run's folder.", show_default="runs/...")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Tasks without a prediction too; they count as unsolved.")
    ] = False,
    sandbox: Sandbox = "auto",
) -> None:
    """Make a run of patches that another program wrote, to be scored by `pawl eval score`."""
    predictions = read_predictions(file)
    source = planning.find_source(benchmark, Path(dataset)) if benchmark else planning.find_source(dataset)
    every = source.load()
    unknown = sorted(predictions.patches.keys() - {one.id for one in every})
    if unknown:
        raise ConfigError(f"{file}: {dataset} has no task {unknown[0]!r} ({len(unknown)} such predictions)")
    instances = [one for one in every if whole or one.id in predictions.patches]
    folder = out or Path("runs") / f"imported-{file.stem}"
    manifest = planning.make_manifest(
        source,
        instances,
        predictions.spec,
        name=folder.name,
        attempts=1,
        seed=0,
        limits=Limits(),
        backend=asyncio.run(sandbox_of(sandbox)),
    )
    make_run(folder, manifest, instances, predictions)
    if missing := len(every) - len(predictions.patches):
        what = "count as unsolved" if whole else "are not in the run; with --all they count as unsolved"
        note(f"{missing} of {len(every)} tasks have no prediction and {what}")
    print(f"{len(predictions.patches)} patches: pawl eval score {visible(str(folder))}")
