"""Reading a large tree leaves the event loop free; what reading and measuring leave open, trials decide."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from agent.bus import Bus
from agent.session import Header, SessionLog
from agent.solve.locate import located
from agent.workbench import Workbench
from sandbox.base import ExecResult, Limits
from sandbox.workspace import Workspace
from tools.probe import run_check
from tools.testreport import CheckResult, Frame, TestResult, make_report

pytestmark = pytest.mark.anyio
FUNCTIONS = "".join(f"def f{n}(x):\n    return [g(x), h(x), k(x)]\n\n\n" for n in range(400))
SOURCES = {f"pkg/m{n}.py": FUNCTIONS.encode() for n in range(40)}
SOURCES["test_m.py"] = b"from pkg.m1 import f7\n\n\ndef test_f():\n    assert f7(1) == 2\n"
TEST = TestResult("test_m.py::test_f", "failed", frames=(Frame("test_m.py", 5, "test_f", in_workspace=True),))
HEADER = Header(id="s1", at="2026-01-02T03:04:05.678Z", project="/home/ada/engine")


async def test_the_loop_turns_while_a_large_tree_is_read(tmp_path: Path) -> None:
    ended = ExecResult(1, None, False, False, False, b"", b"", 0, 1.0)
    before = CheckResult(ended, make_report([TEST], 1, "pytest"), "")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    (tmp_path / "tree").mkdir()
    workspace = await Workspace.open(tmp_path / "tree", tmp_path / "state")
    bench = Workbench(workspace, "local", session="test", state=tmp_path, limits=Limits())
    counting = asyncio.create_task(count())
    try:
        with SessionLog.create(tmp_path / "session.jsonl", HEADER) as log:
            found = await located(bench, ("pytest",), before, SOURCES, Bus(log).branch())
    finally:
        counting.cancel()
        await bench.aclose()
        await workspace.aclose()
    assert [(s.path, s.qualname) for s in found.suspects] == [("pkg/m1.py", "f7")]
    assert found.failures == (TEST,)
    assert turns > 20


CHAIN = """\
def shifted(x):
    return x + 1


def doubled(x):
    return x * 2


def lowered(x):
    return x if x < 8 else 0


def run(x):
    return lowered(doubled(shifted(x)))
"""
CHECKS = """\
import pytest
from chain import run

@pytest.mark.parametrize("given, wanted", [(1, 4), (3, 8), (5, 0)])
def test_run(given, wanted):
    assert run(given) == wanted
"""
RUN = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


async def test_where_every_test_runs_every_function_trials_decide(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "chain.py").write_text(CHAIN)
    (tree / "test_chain.py").write_text(CHECKS)
    sources = {path.name: path.read_bytes() for path in tree.iterdir()}
    workspace = await Workspace.open(tree, tmp_path / "state")
    bench = Workbench(workspace, "local", session="test", state=tmp_path, limits=Limits())
    try:
        async with bench.candidate() as candidate:
            before = await run_check(candidate.sandbox, RUN)
        with SessionLog.create(tmp_path / "session.jsonl", HEADER) as log:
            found = await located(bench, RUN, before, sources, Bus(log).branch())
    finally:
        await bench.aclose()
        await workspace.aclose()
    assert [(s.qualname, s.reason) for s in found.suspects[:1]] == [
        ("lowered", "a small change here makes the failing tests pass")
    ]
    assert {s.qualname for s in found.suspects} == {"lowered", "doubled", "shifted", "run"}
