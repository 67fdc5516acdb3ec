"""`pawl eval check DATASET`: is a dataset fit to be scored with?"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.paths import cache_dir
from evals.benchmark import DatasetError, known_benchmarks, load_benchmark
from evals.cli_sandbox import Sandbox, sandbox_of
from evals.types import Instance


def find_instances(dataset: str, benchmark: str = "") -> list[Instance]:
    """The instances of a shipped benchmark's name, or of a file or folder. Raises DatasetError.

    Which benchmark reads a path is found by asking each, unless `benchmark` names it.
    """
    path = Path(dataset)
    if not benchmark and not path.exists():
        if dataset in known_benchmarks():
            return load_benchmark(dataset).load(None)
        raise DatasetError(f"there is no {dataset}; give a file, a folder or smoke")
    if benchmark:
        return load_benchmark(benchmark).load(path if path.exists() else None)
    for name in known_benchmarks():
        module = load_benchmark(name)
        if module.recognises(path):
            return module.load(path)
    raise DatasetError(f"{dataset} is a dataset of no known kind; there are {', '.join(known_benchmarks())}")


def chosen(instances: list[Instance], names: list[str]) -> list[Instance]:
    """Those with these ids, in the dataset's order; all when none is named. Raises DatasetError."""
    if unknown := sorted(set(names) - {task.id for task in instances}):
        raise DatasetError(f"no task is called {unknown[0]!r}")
    return [task for task in instances if not names or task.id in names]


def check(
    dataset: Annotated[str, typer.Argument(help="A file or folder of tasks, or smoke.")],
    benchmark: Annotated[str, typer.Option("--benchmark", help="How to read it; found out by itself.")] = "",
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be repeated.")] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="How often the reference is graded.")] = 3,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Tasks at a time.")] = 1,
    sandbox: Sandbox = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all that was found here.")] = None,
) -> None:
    """Try each task of a dataset with its reference and with nothing; exit 3 when one is not fit."""
    from evals.check import Report, TaskCheck
    from evals.check import check as run

    instances = chosen(find_instances(dataset, benchmark), task or [])

    def tell(found: TaskCheck) -> None:
        state = "fit    " if found.ok else "NOT FIT"
        nothing = "fails" if found.null_failed else "PASSES" if found.null_passed else "not graded"
        passes = f"oracle {sum(found.oracle)}/{runs}, null {nothing}"
        print(f"{state} {found.id}: {passes}, {found.overhead_s:.1f} s beside the tests", flush=True)
        for problem in found.problems:
            print(f"        {problem}", file=sys.stderr)

    async def all_of_it() -> Report:
        backend = await sandbox_of(sandbox)
        return await run(
            instances, cache=cache_dir() / "evals", backend=backend, runs=runs, jobs=jobs, on_task=tell
        )

    report = asyncio.run(all_of_it())
    counts = ", ".join(f"{number} {name}" for name, number in report.counts().items())
    print(f"{counts}; {report.environments} environments, {report.environments_bytes / 1e6:.0f} MB")
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    if not report.ok:
        raise typer.Exit(3)
