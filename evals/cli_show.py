"""`pawl eval list`, `show` and `clean`: what there is, and tidying up. Nothing is run."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.cli.render import visible
from agent.config import ConfigError
from evals.agent import known_agents, load_agent
from evals.benchmark import known_benchmarks, load_benchmark
from evals.commit import parts
from evals.engine import known_engines, load_engine
from evals.store import Run, StoreError
from evals.worker import scratch, sweep, sweep_gradings

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]


def list_all(
    runs: Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where runs are.")] = Path("runs"),
) -> None:
    """List benchmarks, agents and engines, and the runs in this directory."""
    tables = {
        "Benchmarks": [(name, load_benchmark(name).summary) for name in known_benchmarks()],
        "Agents": [(name.replace("_", "-"), load_agent(name).summary) for name in known_agents()],
        "Engines": [(name, load_engine(name).summary) for name in known_engines()],
        f"Runs in {runs}": [_line(path.parent) for path in sorted(runs.glob("*/run.json"))],
    }
    for title, rows in tables.items():
        if rows:
            width = max(len(name) for name, _ in rows)
            print(f"{visible(title)}:")
            print("\n".join(f"  {visible(name):<{width}}  {visible(text)}" for name, text in rows))


def _line(folder: Path) -> tuple[str, str]:
    try:
        run = Run.open(folder)
        units, scores = run.units(), run.scores()
    except StoreError as error:
        return folder.name, f"cannot be read: {error}"
    solved = sum(score.resolved for score in scores)
    who = " ".join(filter(None, (run.manifest.agent.name, run.manifest.agent.model)))
    return folder.name, f"{len(scores)} of {len(units)} scored, {solved} resolved  {who}"


def show(
    folder: RunFolder,
    unit: Annotated[str, typer.Argument(metavar="[UNIT]", help="Or its instance.", show_default=False)] = "",
) -> None:
    """Show how far a run is, or what its units of that id or instance came to."""
    run = Run.open(folder)
    if not unit:
        _show_run(run)
        return
    found = [one for one in run.units() if unit in (one.id, one.instance)]
    if not found:
        raise ConfigError(f"{folder} has no unit or instance {unit!r}; `pawl eval show {folder}` lists them")
    for one in found:
        rollout, graded = run.rollout(one.id), run.score(one.id)
        print(f"{one.id}  {visible(one.instance)}  attempt {one.attempt + 1}")
        for number, ended in enumerate(run.ended(one.id), 1):
            print(f"  try {number} came to nothing: {ended.end}: {visible(ended.detail)}")
        if rollout is None:
            print("  no rollout yet")
            continue
        print(f"  {rollout.end}: {visible(rollout.detail)}" if rollout.detail else f"  {rollout.end}")
        usage = msgspec.json.encode(rollout.usage).decode()
        print(f"  {rollout.steps} steps, {rollout.duration_s:.1f} s, {usage}")
        if graded is not None:
            failed = [f"{test.outcome} {test.id}" for test in graded.tests if test.outcome != "passed"]
            flags = [f"{flag.weight} {flag.rule}: {flag.detail}" for flag in graded.flags]
            said = [graded.error] if graded.error else []
            print(f"  {'resolved' if graded.resolved else 'not resolved'}, reward {graded.reward:g}")
            print("".join(f"    {visible(text)}\n" for text in (*said, *flags, *failed)), end="")
        print(f"  files: {visible(str(run.attempt(one.id)))}")


def _show_run(run: Run) -> None:
    manifest, units, rollouts = run.manifest, run.units(), run.rollouts()
    print(f"{visible(manifest.name)}: {visible(manifest.benchmark)}, {visible(manifest.agent.name)}", end="")
    print(f" {visible(manifest.agent.model)}, {manifest.attempts} attempts, {visible(manifest.backend)}")
    for scorer in run.scorers() or [manifest.scorer]:
        scores = run.scores(scorer)
        solved = sum(score.resolved for score in scores)
        print(f"{len(scores)} of {len(units)} units scored by {visible(scorer)}, {solved} resolved")
    for end, count in Counter(rollout.end for rollout in rollouts).most_common():
        print(f"  {count:>5}  {end}")
    print(f"spent: {msgspec.json.encode(run.spent()).decode()}")
    for one in units:
        score, rollout = run.score(one.id), run.rollout(one.id)
        state = (
            "resolved"
            if score and score.resolved
            else "scored"
            if score
            else "rolled out"
            if rollout
            else "-"
        )
        print(f"{one.id}  {state:<10}  {visible(one.instance)}")


def clean(
    folder: RunFolder,
    whole: Annotated[bool, typer.Option("--run", help="The run itself too, with all its results.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do it.")] = False,
) -> None:
    """Remove what killed workers of a run left on this machine; with --run --yes the run's folder as well.

    Containers that a killed pawl left are removed by `pawl sandbox prune`.
    """
    run = Run.open(folder)
    if whole and not yes:
        raise ConfigError(f"--run removes {folder} with all its results; say --yes as well")
    with run.held():  # which removes half-written files
        place = scratch(str(run.folder.absolute()))
        before = len(list(place.glob("*"))) if place.exists() else 0
        sweep(place)
        left = list(place.glob("*")) if place.exists() else []
        for path in (run.folder / "attempts").glob("*"):
            for part in parts(path):
                part.unlink()
        print(f"{before - len(left) + sweep_gradings()} scratch folders removed")
        if not left and place.exists():
            place.rmdir()
        if whole:
            shutil.rmtree(run.folder)
            print(f"removed: {visible(str(folder))}")
