"""Whether the functions that a failure points at hold the fault: QuixBugs programs and injected faults.

    python -P tests/bench/localize.py quixbugs REPOSITORY NAMES
    python -P tests/bench/localize.py mutants REPOSITORY ... --count 10 --seed 1

REPOSITORY is a git repository; NAMES is a file with the programs to take, one a line: no others are opened. A
mutant is the repository's newest tree with one operator of one line changed, chosen by chance among those
that a test notices; tests that fail without it are deselected. Everything runs in a sandbox; each failure is
ranked as read and as measured.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import importlib.util
import io
import random
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sandbox.base import Limits, SandboxSpec
from sandbox.open import open_sandbox
from tools import syntax
from tools.localize import suspects
from tools.probe import PROBE_MOUNT, run_check
from tools.testreport import TestReport, is_test_path

LIMIT_S = 120.0
TEST_LIMIT_S = 5.0
PAIRS = ("< <=", "> >=", "== !=", "+ -", "* //", "+= -=", "and or", "True False", "break continue")
TABLE = {old: new for pair in PAIRS for old, new in (pair.split(), reversed(pair.split()))} | {"not": ""}
"""What a token of a mutant becomes; a number becomes the next one."""


class Fault(NamedTuple):
    path: str
    qualname: str
    source: bytes
    """The whole file, with the fault."""


def archive(repository: Path, target: Path, *paths: str) -> None:
    done = subprocess.run(
        ["git", "-C", str(repository), "archive", "HEAD", *paths], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(target, filter="data")


async def run(tree: Path, backend: str, tests: list[str]) -> TestReport | None:
    """The report of the tests of a tree, with what was measured."""
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
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
            path = {"PYTHONPATH": f"{tree}/src:{tree}"}
            check = await run_check(
                box, tuple(command), timeout_s=LIMIT_S, limit_s=TEST_LIMIT_S, extra_env=path, coverage=True
            )
        finally:
            await box.aclose()
    return check.report


async def places(tree: Path, fault: Fault, backend: str, tests: list[str]) -> tuple[int, int] | None:
    """(place of the faulty function by reading alone, and measured), 0 for none; None if no test fails."""
    report = await run(tree, backend, tests)
    if report is None or not report.failures:
        return None
    sources = {
        str(file.relative_to(tree)): file.read_bytes()
        for file in sorted(tree.rglob("*.py"))
        if file.is_file() and file.stat().st_size < 500_000
    }
    read = type(report)(report.tests, report.counts, report.ok, report.runner, report.collected)
    found = []
    for seen in (read, report):
        ranked = [(suspect.path, suspect.qualname) for suspect in suspects(seen, sources)]
        wanted = (fault.path, fault.qualname)
        found.append(ranked.index(wanted) + 1 if wanted in ranked else 0)
    return found[0], found[1]


def mutants(tree: Path, seed: int) -> Iterator[Fault]:
    """Faults of one line each, in an order by chance; at most one for each function."""
    chance = random.Random(seed)
    faults = []
    for file in sorted(tree.rglob("*.py")):
        path = str(file.relative_to(tree))
        if is_test_path(path) or path.startswith(
            ("docs", "benchmark", "examples", "misc", "setup", "scripts")
        ):
            continue
        source = file.read_bytes()
        for symbol in syntax.functions(source):
            options = list(changes(source, symbol))
            if options:
                faults.append(Fault(path, symbol.qualname, chance.choice(options)))
    chance.shuffle(faults)
    yield from faults


def changes(source: bytes, symbol: syntax.Symbol) -> Iterator[bytes]:
    """The file with one operator, number, truth value or jump of a function's own body changed."""
    lines = source.splitlines(keepends=True)
    first = source.count(b"\n", 0, symbol.body_byte) + 1
    inner = [s for s in syntax.functions(source) if s.qualname.startswith(symbol.qualname + ".")]
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        row = token.start[0]
        if not first <= row <= symbol.end_line or any(s.start_line <= row <= s.end_line for s in inner):
            continue
        number = token.type == tokenize.NUMBER and token.string.isdecimal()
        new = str(int(token.string) + 1) if number else TABLE.get(token.string)
        if new is not None and token.type in (tokenize.NUMBER, tokenize.NAME, tokenize.OP):
            line = lines[row - 1].decode()
            changed = line[: token.start[1]] + new + line[token.end[1] :]
            whole = b"".join([*lines[: row - 1], changed.encode(), *lines[row:]])
            if parses(whole):
                yield whole


def parses(source: bytes) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


async def quixbugs(repository: Path, names: list[str], backend: str) -> list[tuple[int, int]]:
    found = []
    listed = subprocess.run(
        ["git", "-C", str(repository), "ls-tree", "-r", "--name-only", "HEAD"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    shared = {"conftest.py", "python_testcases/load_testdata.py", "python_testcases/node.py"}
    shared |= {"python_programs/node.py"}
    for name in names:
        own = {
            f"python_programs/{name}.py",
            f"python_testcases/test_{name}.py",
            f"json_testcases/{name}.json",
        }
        with tempfile.TemporaryDirectory(prefix="pawl-bench-") as folder:
            tree = Path(folder) / "tree"
            archive(repository, tree, *sorted((own | shared) & set(listed)))
            path = f"python_programs/{name}.py"
            fault = Fault(path, name, (tree / path).read_bytes())
            place = await places(tree, fault, backend, [f"python_testcases/test_{name}.py"])
            print(f"  {name:28} {place}", flush=True)
            if place is not None:
                found.append(place)
    return found


async def injected(
    repository: Path, count: int, seed: int, backend: str, tests: str
) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory(prefix="pawl-bench-") as folder:
        tree = Path(folder) / "tree"
        archive(repository, tree)
        clean = await run(tree, backend, tests.split())
        assert clean is not None and clean.counts.get("passed"), "the repository's own tests do not run"
        selected = [*tests.split(), *(f"--deselect={test.id}" for test in clean.failures)]
        for fault in mutants(tree, seed):
            if len(found) == count:
                break
            before = (tree / fault.path).read_bytes()
            (tree / fault.path).write_bytes(fault.source)
            place = await places(tree, fault, backend, selected)
            (tree / fault.path).write_bytes(before)
            if place is not None:
                found.append(place)
                print(f"  {fault.path}:{fault.qualname} {place}", flush=True)
    return found


def table(name: str, found: list[tuple[int, int]]) -> None:
    count = len(found) or 1
    for what, kind in ((0, "as read"), (1, "as measured")):
        first = sum(place[what] == 1 for place in found)
        five = sum(0 < place[what] <= 5 for place in found)
        print(f"{name:24}{kind:14}{len(found):4} faults, first {first / count:4.0%}, 5 {five / count:4.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["quixbugs", "mutants"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=10, help="mutants of each repository")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tests", default="", help="which tests to run; the whole suite by default")
    if importlib.util.find_spec("coverage") is None:
        raise SystemExit("coverage is not installed: nothing could be measured")
    parser.add_argument("--sandbox", default="bubblewrap", choices=["docker", "bubblewrap", "local"])
    options = parser.parse_args()
    if options.what == "quixbugs":
        repository, names = options.paths
        found = asyncio.run(quixbugs(repository, names.read_text().split(), options.sandbox))
        table("QuixBugs", found)
        return
    everything = []
    for repository in options.paths:
        name = repository.parent.name if repository.name == "repo" else repository.name
        found = asyncio.run(injected(repository, options.count, options.seed, options.sandbox, options.tests))
        table(name, found)
        everything += found
    table("all mutants", everything)


if __name__ == "__main__":
    main()
