"""Whether the functions that a failure points at hold the fault: QuixBugs programs and mutants of packages.

    python -m tests.bench.localize [--only NAME ...] [--count 15] [--seed 2] [--start 0] [--repositories ...]

NAME is `quixbugs` or a package of `tests/bench/faults.py`; by default QuixBugs and the packages that the
ranking was not tuned on. --repositories names a folder with git repositories by name; what is not in it is
fetched from GitHub.
A mutant that no test notices does not count; one that fails at an import, so that no test runs, counts apart.
Tests that fail without the mutant are deselected. Everything runs in a sandbox, measured by coverage.py, and
each failure is ranked three times: as read, as measured, and as `pawl fix` does it, which measures and
tries small changes where reading leaves it open. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.solve.locate import SHOWN, TRIED
from evals.metrics import wilson
from sandbox.base import Limits, Sandbox, SandboxSpec
from sandbox.open import open_sandbox
from tests.bench.faults import (
    HELD_OUT,
    MEASURED_BEFORE,
    PROGRAMS,
    TUNED_ON,
    Fault,
    Repository,
    mutants,
    program,
)
from tools.localize import Suspect, is_weak, suspects
from tools.probe import PROBE_MOUNT, run_check
from tools.testreport import TestReport
from tools.trying import settled

LIMIT_S = 120.0
TEST_LIMIT_S = 5.0
MAX_FILE = 500_000
LEAST_S = 0.05
"""Trials take longer."""


class Place(NamedTuple):
    """Where the faulty function came: 1 is first, 0 is not among the ten."""

    read: int
    measured: int
    fix: int
    seconds: float
    """Of the processor, for ranking the report as read."""
    trying: float
    """Of the clock, for trials; 0 where there were none."""
    at_import: bool = False


@asynccontextmanager
async def opened(tree: Path, backend: str) -> AsyncIterator[Sandbox]:
    with tempfile.TemporaryDirectory(prefix="pawl-bench-") as state:
        spec = SandboxSpec(
            tree=tree,
            root=str(tree),
            session="bench",
            limits=Limits(timeout_s=LIMIT_S),
            mounts=() if backend == "local" else (PROBE_MOUNT,),
        )
        box = await open_sandbox(spec, backend, state=Path(state), project=tree)  # type: ignore[arg-type]
        try:
            yield box
        finally:
            await box.aclose()


def pytest(tree: Path, tests: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Command and environment."""
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    return command, {"PYTHONPATH": f"{tree}/src:{tree}"}


async def run(box: Sandbox, tree: Path, tests: list[str]) -> TestReport | None:
    """The report of the tests of a tree, with what was measured."""
    command, env = pytest(tree, tests)
    check = await run_check(
        box, command, timeout_s=LIMIT_S, limit_s=TEST_LIMIT_S, extra_env=env, coverage=True
    )
    return check.report


async def place(tree: Path, fault: Fault, backend: str, tests: list[str]) -> Place | None:
    """Where the ranking of a tree with a fault in it puts the fault; None if no test fails."""
    async with opened(tree, backend) as box:
        report = await run(box, tree, tests)
        if report is None or not report.failures:
            return None
        at_import = any("::" not in test.id for test in report.failures)
        sources = {
            str(file.relative_to(tree)): file.read_bytes()
            for file in sorted(tree.rglob("*.py"))
            if file.is_file() and file.stat().st_size < MAX_FILE
        }
        read = msgspec.structs.replace(report, lines={})
        started = time.process_time()
        as_read = suspects(read, sources)
        seconds = time.process_time() - started
        measured = suspects(report, sources, limit=TRIED)
        fix = measured if report.lines and is_weak(read, as_read) else as_read
        began = time.monotonic()
        if fix is measured:
            command, env = pytest(tree, tests)
            fix = await settled(box, command, report, sources, measured, timeout_s=LIMIT_S, extra_env=env)
        trying = time.monotonic() - began
    ranks = [_of(fault, ranked[:SHOWN]) for ranked in (as_read, measured, fix)]
    return Place(ranks[0], ranks[1], ranks[2], seconds, trying, at_import)


def _of(fault: Fault, found: list[Suspect]) -> int:
    ranked = [(suspect.path, suspect.qualname) for suspect in found]
    wanted = (fault.path, fault.qualname)
    return ranked.index(wanted) + 1 if wanted in ranked else 0


async def quixbugs(folder: Path, backend: str) -> list[Place]:
    found = []
    for name in PROGRAMS:
        with tempfile.TemporaryDirectory(prefix="pawl-bench-") as work:
            tree = Path(work) / "tree"
            fault = program(name, folder, tree)
            where = await place(tree, fault, backend, [f"python_testcases/test_{name}.py"])
        if where is not None:
            found.append(_told(name, where))
    return found


async def injected(
    repository: Repository, folder: Path, count: int, seed: int, start: int, backend: str
) -> list[Place]:
    found: list[Place] = []
    with tempfile.TemporaryDirectory(prefix="pawl-bench-") as work:
        tree = Path(work) / "tree"
        repository.archive(folder, tree)
        async with opened(tree, backend) as box:
            clean = await run(box, tree, list(repository.tests))
        if clean is None or not clean.counts.get("passed"):
            raise SystemExit(f"the tests of {repository.name} do not run here; do they need a package?")
        tests = [*repository.tests, *(f"--deselect={test.id}" for test in clean.failures)]
        for number, fault in enumerate(mutants(tree, seed)):
            if number < start:
                continue
            if len(found) == count:
                break
            before = (tree / fault.path).read_bytes()
            (tree / fault.path).write_bytes(fault.source)
            where = await place(tree, fault, backend, tests)
            (tree / fault.path).write_bytes(before)
            if where is not None:
                found.append(_told(f"{number} {fault.path}:{fault.qualname}", where))
    return found


def _told(name: str, where: Place) -> Place:
    aside = " at import" if where.at_import else ""
    ranks = f"{where.read:3} {where.measured:3} {where.fix:3} {where.trying:5.1f} s"
    print(f"  {name:60} {ranks}{aside}", file=sys.stderr, flush=True)
    return where


def table(rows: dict[str, list[Place]]) -> Iterator[str]:
    kinds = ("as read", "as measured", "as in fix")
    heads = [f"{most}, {kind}" for most in ("first", "among five") for kind in kinds]
    yield f"| faults | number | at import | {' | '.join(heads)} | s a report | tried | s each |"
    yield "|---" * (len(heads) + 6) + "|"
    for name, places in rows.items():
        counted = [where for where in places if not where.at_import]
        if not counted:
            continue
        cells = [name, str(len(counted)), str(len(places) - len(counted))]
        for most in (1, 5):
            for kind in ("read", "measured", "fix"):
                cells.append(_share([0 < getattr(where, kind) <= most for where in counted]))
        cells.append(f"{sum(where.seconds for where in counted) / len(counted):.2f}")
        tried = [where.trying for where in counted if where.trying > LEAST_S]
        cells += [str(len(tried)), f"{sum(tried) / max(1, len(tried)):.1f}"]
        yield f"| {' | '.join(cells)} |"


def _share(hits: list[bool]) -> str:
    between = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.0%} ({between.low:.0%} to {between.high:.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    packages = {one.name: one for one in (*TUNED_ON, *MEASURED_BEFORE, *HELD_OUT)}
    usual = ["quixbugs", *(repository.name for repository in HELD_OUT)]
    parser.add_argument("--only", nargs="+", choices=["quixbugs", *packages], default=usual)
    parser.add_argument("--count", type=int, default=15, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument(
        "--start", type=int, default=0, help="number of the first mutant, to go on with a run"
    )
    parser.add_argument("--repositories", type=Path, default=Path("build/bench-localise"))
    parser.add_argument("--sandbox", default="bubblewrap", choices=["docker", "bubblewrap", "local"])
    options = parser.parse_args()
    if importlib.util.find_spec("coverage") is None:
        raise SystemExit("coverage is not installed: nothing could be measured")
    folder = options.repositories.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[Place]] = {}
    for name in options.only:
        print(name, file=sys.stderr)
        rows[name] = asyncio.run(
            quixbugs(folder, options.sandbox)
            if name == "quixbugs"
            else injected(packages[name], folder, options.count, options.seed, options.start, options.sandbox)
        )
    rows["all mutants"] = [where for name, found in rows.items() if name != "quixbugs" for where in found]
    print(*table(rows), sep="\n")


if __name__ == "__main__":
    main()
