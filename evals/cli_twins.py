"""`pawl eval twins DATASET`: the same tasks with other names, to see what an agent knew by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.cli.progress import note
from agent.cli.render import visible
from agent.paths import cache_dir
from evals.benchmark import DatasetError
from evals.benchmarks import twins as dataset
from evals.contamination import canary_line, new_canary
from evals.place import lay_out, scratch
from evals.planning import find_source, select
from evals.twins import twin
from evals.types import Instance
from sandbox.tree import remove_path


def twins(
    source: Annotated[
        str, typer.Argument(metavar="DATASET", help="A benchmark's name, or a dataset's path.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for the dataset.")],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ID", help="These instances; * and ? match; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the new names.")] = 0,
) -> None:
    """Write a dataset of each task and its twin: the same task with other names for local variables.

    A run of it reports the drop from the tasks to their twins, paired. A task in which nothing can be renamed
    without changing what its tests or its statement say has no twin, and is left out.
    """
    tasks = select(find_source(source).load(), only or [], None)
    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out} is not empty; choose another --out")
    (out / dataset.TREES).mkdir(parents=True, exist_ok=True)
    canary = canary_line(new_canary())
    pairs: list[Instance] = []
    for task in tasks:
        made = _twin(task, out, seed)
        if made is None:
            note(f"{visible(task.id)}: has no twin")
            continue
        marked = (msgspec.structs.replace(one, canary=one.canary or canary) for one in (task, made))
        pairs.extend(marked)
    if not pairs:
        (out / dataset.TREES).rmdir()
        raise DatasetError(
            f"none of the {len(tasks)} tasks has a twin: their code has no local names to change"
        )
    dataset.save(out, pairs)
    (out / "CANARY").write_text(f"{canary}\n")
    print(f"{len(pairs) // 2} of {len(tasks)} tasks have a twin; pawl eval run {visible(str(out))}")


def _twin(task: Instance, out: Path, seed: int) -> Instance | None:
    """The task's twin, with its tree in `out`; None when it has none."""
    cache = cache_dir() / "evals"
    place = scratch(cache, "twins")
    try:
        lay_out(task, place, cache)
        return twin(task, place, out.absolute() / dataset.TREES / f"{task.id}.twin", seed)
    finally:
        remove_path(place)
