"""Trial changes in a real pytest, inside a sandbox."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.base import ToolContext
from tools.localize import Suspect, suspects
from tools.probe import run_check
from tools.syntax import functions
from tools.testreport import TestReport, TestResult, make_report
from tools.trials import Outcome, Trial, reranked, trials
from tools.trying import tried

pytestmark = pytest.mark.anyio
CODE = '''\
def doubled(x):
    return [each * 2 for each in x]


def kept(x):
    def small(each):
        return each < 10

    return [each for each in x if small(each)]


def shifted(x):
    return [each + 0 for each in x]


def padded(x):
    while len(x) < 3:
        x.append(0)
    return x


class Chain:
    """All of it runs in every test."""

    def run(self, x):
        return doubled(shifted(kept(padded(list(x)))))
'''
TESTS = """\
import pytest
from chain import Chain

@pytest.mark.parametrize("given, wanted", [((1, 2, 3), [4, 6, 8]), ((9, 9, 9), [20, 20, 20])])
def test_run(given, wanted):
    assert Chain().run(given) == wanted

def test_kept():
    assert len(Chain().run([1, 2, 3, 10])) == 3

def test_none():
    assert len(Chain().run([])) == 3
"""
COMMAND = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


async def test_the_change_that_mends_it_puts_its_function_first(ctx: ToolContext, tree: Path) -> None:
    (tree / "chain.py").write_text(CODE)
    (tree / "test_chain.py").write_text(TESTS)
    check = await run_check(ctx.sandbox, COMMAND, coverage=True)
    assert check.report is not None and len(check.report.failures) == 2
    sources = {"chain.py": CODE.encode(), "test_chain.py": TESTS.encode()}
    found = suspects(check.report, sources)
    assert found[0].qualname != "shifted"
    asked = trials(check.report, sources, found)
    went = await tried(ctx.sandbox, COMMAND, asked, check.report, timeout_s=30, seconds=10)
    mends = [(t.suspect.qualname, t.repair.text) for t, outcome in went if outcome.says == 1.0]
    assert mends == [("shifted", b"1")]
    assert reranked(found, went)[0].qualname == "shifted"
    ran = {t.suspect.qualname for t, _ in went}
    assert ran == {"doubled", "kept", "kept.small", "shifted", "padded", "Chain.run"}, "endless ones as well"
    assert (tree / "chain.py").read_text() == CODE
    assert sorted(Path("/tmp").glob("pawl-trials-*")) == []


async def all_tried(ctx: ToolContext, tree: Path, report: TestReport) -> list[tuple[Trial, Outcome]]:
    """How the trials of all suspects went."""
    sources = {path.name: path.read_bytes() for path in tree.glob("*.py")}
    asked = trials(report, sources, suspects(report, sources))
    return await tried(ctx.sandbox, COMMAND, asked, report, timeout_s=30, seconds=5)


async def test_a_test_of_which_a_part_fails_is_one_that_fails(ctx: ToolContext, tree: Path) -> None:
    source = "def right(x):\n    return x + 1\n"
    (tree / "m.py").write_text(source)
    (tree / "test_m.py").write_text(
        "import unittest\nfrom m import right\n\n\nclass TestIt(unittest.TestCase):\n"
        "    def test_each(self):\n        for x in (0, 1):\n            with self.subTest(x=x):\n"
        "                self.assertEqual(right(x), x)\n"
    )
    check = await run_check(ctx.sandbox, COMMAND)
    assert check.report is not None and check.report.failures
    went = await all_tried(ctx, tree, check.report)
    assert sorted(trial.repair.text for trial, outcome in went if outcome.says == 1.0) == [b"*", b"0"]


async def test_a_trial_ends_where_a_part_fails_and_has_the_time_of_all_parts(
    ctx: ToolContext, tree: Path
) -> None:
    source = "def right(x):\n    return x + 1\n"
    (tree / "m.py").write_text(source)
    (tree / "test_m.py").write_text(
        "import time, unittest\nfrom pathlib import Path\nfrom m import right\n\n\n"
        "class TestIt(unittest.TestCase):\n    def test_each(self):\n        for x in (2, 3):\n"
        "            with self.subTest(x=x):\n                if x == 3:\n"
        "                    time.sleep(0.3)\n"
        "                    with Path(__file__).with_name('later').open('a') as file:\n"
        "                        file.write('.')\n"
        "                self.assertEqual(right(x), x)\n"
    )
    check = await run_check(ctx.sandbox, COMMAND)
    assert check.report is not None and check.report.failures
    (tree / "later").write_text("")
    went = await all_tried(ctx, tree, check.report)
    assert sorted(trial.repair.text for trial, outcome in went if outcome.says == 1.0) == [b"*", b"0"]
    assert len(went) > 3
    assert (tree / "later").read_text() == "...", "once before all trials, and in the two that mend it"


async def test_other_runners_and_tests_that_are_gone_have_none(ctx: ToolContext, tree: Path) -> None:
    (tree / "chain.py").write_text(CODE)
    (tree / "test_chain.py").write_text(TESTS)
    test = TestResult("test_chain.py::test_gone", "failed")
    sources = {"chain.py": CODE.encode()}
    found = [Suspect("chain.py", each.qualname, each, 0.5, "") for each in functions(CODE.encode())]
    for runner in ("unittest", "pytest"):
        report = make_report([test], 1, runner)
        asked = trials(report, sources, found)
        assert asked
        assert await tried(ctx.sandbox, COMMAND, asked, report, timeout_s=30) == []
        assert reranked(found, []) == found
