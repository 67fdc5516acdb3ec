"""Reading a large tree for suspects leaves the event loop free."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.bus import Bus
from agent.session import Header, SessionLog
from agent.solve.locate import located
from agent.workbench import Workbench
from sandbox.base import ExecResult, Limits
from sandbox.workspace import Workspace
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
