"""`pawl eval run`, `resume` and `score`: everything that works on a run's folder until it is scored."""

from __future__ import annotations

import asyncio
import re
import signal
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agent.cli.progress import note
from agent.cli.render import visible
from agent.config import ConfigError
from evals import planning
from evals.cli_progress import shown_progress
from evals.cli_sandbox import Sandbox, sandbox_of
from evals.engine import Setup, load_engine
from evals.runner import Outcome, Runner
from evals.store import Run
from evals.types import AgentSpec, Limits, plan_units

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]
EngineName = Annotated[str, typer.Option("--engine", metavar="NAME", help="Where units run: local or ray.")]
Address = Annotated[str, typer.Option("--address", metavar="ADDRESS", help="Of the Ray cluster.")]
Jobs = Annotated[int, typer.Option("-j", "--jobs", metavar="N", min=0, help="Units at once; 0: one a core.")]
FailUnder = Annotated[
    float | None,
    typer.Option("--fail-under", metavar="PERCENT", min=0, max=100, help="Exit 3 when fewer are resolved."),
]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", metavar="USD", min=0, help="Of the whole run; then exit 4.")
]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", metavar="N", min=0, help="Of the whole run; then exit 4.")
]


def run(
    benchmark: Annotated[
        str, typer.Argument(metavar="BENCHMARK", help="A name of `pawl eval list`, or a dataset's path.")
    ],
    dataset: Annotated[Path | None, typer.Option("--dataset", metavar="PATH", help="Its dataset.")] = None,
    agent: Annotated[str, typer.Option("-a", "--agent", metavar="NAME", help="Who works.")] = "pawl",
    model: Annotated[
        str, typer.Option("-m", "--model", metavar="NAME", help="Such as local/qwen2.5-coder-1.5b.")
    ] = "",
    base_url: Annotated[
        str, typer.Option("--base-url", metavar="URL", help="An OpenAI-compatible server.")
    ] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the agent; may be repeated."),
    ] = None,
    record_tokens: Annotated[
        bool, typer.Option("--record-tokens", help="Keep token ids and logprobs, for training exports.")
    ] = False,
    sandbox: Sandbox = "auto",
    attempts: Annotated[int, typer.Option("--attempts", metavar="N", min=1, help="At each instance.")] = 1,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of sampling and order.")] = 0,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    unit_cost: Annotated[
        float | None, typer.Option("--unit-cost", metavar="USD", min=0, help="Bound of one unit.")
    ] = None,
    unit_tokens: Annotated[
        int | None, typer.Option("--unit-tokens", metavar="N", min=0, help="Bound of one unit.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0, help="The agent's, at each instance."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="The first N instances.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ID", help="These instances; * and ? match; may be repeated."),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Such as train or heldout, of a mined dataset.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The run's folder.", show_default="runs/...")
    ] = None,
    fail_under: FailUnder = None,
    engine: EngineName = "local",
    address: Address = "",
    jobs: Jobs = 0,
) -> None:
    """Let an agent work on a benchmark and score what it hands in.

    Given the folder of the same run it goes on with it; given another's it refuses.
    """
    source = planning.find_source(benchmark, dataset)
    instances = planning.select(source.load(), only or [], limit, split)
    settings = _settings(setting or [])
    if record_tokens:
        if agent != "pawl":
            raise ConfigError(f"--record-tokens: only pawl records them, not {agent}")
        settings["record_tokens"] = True
    spec = AgentSpec(name=agent, model=model, base_url=base_url, settings=settings)
    limits = Limits(timeout, unit_tokens, unit_cost, max_tokens, max_cost)
    load_engine(engine)
    folder = out or Path("runs") / _name(source.benchmark, agent, model)
    manifest = planning.make_manifest(
        source,
        instances,
        spec,
        name=folder.name,
        attempts=attempts,
        seed=seed,
        limits=limits,
        backend=asyncio.run(sandbox_of(sandbox)),
    )
    units = plan_units(instances, manifest.agent, attempts, seed, limits)
    made = Run.create(folder, manifest, instances, units)
    _finish(made, engine, Setup(jobs, address), limits=limits, fail_under=fail_under)


def resume(
    folder: RunFolder,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    fail_under: FailUnder = None,
    engine: EngineName = "local",
    address: Address = "",
    jobs: Jobs = 0,
) -> None:
    """Go on with a run that was cut off or came to its budget; what is there stays.

    Dataset, agent and pawl must be what they were. The run's budgets may be raised.
    """
    found = Run.open(folder)
    planning.check_unchanged(found)
    was = found.manifest.limits
    limits = msgspec.structs.replace(
        was,
        run_cost_usd=was.run_cost_usd if max_cost is None else max_cost,
        run_tokens=was.run_tokens if max_tokens is None else max_tokens,
    )
    _finish(found, engine, Setup(jobs, address), limits=limits, fail_under=fail_under)


def score(
    folder: RunFolder,
    fail_under: FailUnder = None,
    engine: EngineName = "local",
    address: Address = "",
    jobs: Jobs = 0,
) -> None:
    """Grade every rollout that what grades here has not scored yet; no agent runs.

    After scores/ was deleted, this makes the same scores again.
    """
    found = Run.open(folder)
    scorer = planning.scorer()
    setup = Setup(jobs, address)
    _finish(found, engine, setup, scorer=scorer, rollouts=False, limits=Limits(), fail_under=fail_under)


def _finish(
    run: Run,
    engine: str,
    setup: Setup,
    *,
    limits: Limits,
    fail_under: float | None,
    scorer: str = "",
    rollouts: bool = True,
) -> None:
    note(f"run: {visible(str(run.folder))}")
    modules = (f"evals.agents.{run.manifest.agent.name.replace('-', '_')}",)
    setup = msgspec.structs.replace(setup, preload=modules)
    outcome, rate = asyncio.run(_work(run, engine, setup, limits, scorer, rollouts))
    if outcome.code:
        note(f"{visible(outcome.reason)}: pawl eval resume {visible(str(run.folder))}")
        raise typer.Exit(outcome.code)
    if fail_under is not None and 100 * rate < fail_under:
        note(f"{100 * rate:.1f} % are resolved, under {fail_under:g} %")
        raise typer.Exit(3)


async def _work(
    run: Run, engine_name: str, setup: Setup, limits: Limits, scorer: str, rollouts: bool
) -> tuple[Outcome, float]:
    """How it ended, and the share of all units that are resolved."""
    with run.held():
        engine = await load_engine(engine_name).start(setup)
        try:
            with shown_progress() as on_change:
                runner = Runner(run, engine, scorer=scorer, limits=limits, on_change=on_change)
                with _interruptible(runner):
                    outcome = await runner.work(rollouts=rollouts)
        finally:
            await engine.close()
    if runner.tally.trouble:
        where = visible(str(run.folder))
        note(f"the first error: {visible(runner.tally.trouble)}; each: pawl eval show {where} UNIT")
    return outcome, runner.tally.resolved / max(runner.tally.planned, 1)


class _interruptible:
    """First Ctrl-C: drain; second, or a SIGTERM: cancel."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.cancelling: asyncio.Task[None] | None = None
        self.asked = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._cancel)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)

    def _interrupt(self) -> None:
        if self.asked:
            self._cancel()
            return
        self.asked = True
        note("finishing what is under way; once more ends it now. Either way it can be resumed.")
        self.runner.drain()

    def _cancel(self) -> None:
        if self.cancelling is None:
            self.cancelling = asyncio.create_task(self.runner.cancel())


def _settings(given: list[str]) -> dict[str, object]:
    """`KEY=VALUE` each; a value that reads as JSON is that, else a text. Raises ConfigError."""
    settings: dict[str, object] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set: expected KEY=VALUE, got {text!r}")
        try:
            settings[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            settings[key] = value
    return settings


def _name(benchmark: str, agent: str, model: str) -> str:
    words = [benchmark, agent, *([model] if model else []), datetime.now().strftime("%Y%m%d-%H%M%S")]
    return re.sub(r"[^\w.-]+", "-", "-".join(words))
