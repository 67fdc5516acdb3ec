"""Reports from the text of real runs, in every style of traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.base import ExecResult
from tools.output import readable
from tools.runners import parse_output
from tools.testreport import (
    CheckResult,
    TestReport,
    could_not_start,
    describe,
    is_test_path,
    make_report,
    workspace_path,
)

MODULE = """\
def deep(x):
    raise ValueError("no " + x)

def outer(x):
    return deep(x)

def add(a, b):
    return a - b
"""

PYTESTS = """\
import pytest
from mod import *

@pytest.mark.parametrize("t", ["x y"])
def test_ids(t): assert t == "z"
def test_outer(): outer("way")
def test_add():
    assert add(1, 2) == 3
def test_ok(): pass
@pytest.fixture
def broken(): raise LookupError("fixture")
def test_fixture(broken): pass
class TestGroup:
    def test_in_class(self): assert add(1, 1) == 2
"""

UNITTESTS = """\
import unittest
from mod import *

class T(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(1, 2), 3)
    def test_outer(self):
        "A docstring that unittest shows."
        outer("way")
    def test_ok(self): pass
    @unittest.skip("later")
    def test_later(self): pass
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    (root / "mod.py").write_text(MODULE)
    (root / "test_p.py").write_text(PYTESTS)
    (root / "unit").mkdir()
    (root / "unit/__init__.py").touch()
    (root / "unit/test_u.py").write_text(UNITTESTS)
    (root / "unit/test_broken.py").write_text("import nowhere\n")
    (root / "script.py").write_text("import mod\nmod.outer('out')\n")
    (root / "empty").mkdir()
    return root


def run(root: Path, *args: str) -> CheckResult:
    env = {"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, *args],
        cwd=root,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return checked(done.stdout, done.returncode, str(root))


def checked(output: bytes, exit_code: int, root: str = "/ws") -> CheckResult:
    result = ExecResult(exit_code, None, False, False, False, output, b"", len(output), 0.1)
    text = readable(output)
    return CheckResult(result, parse_output(text, exit_code, root), text)


def report_of(check: CheckResult) -> TestReport:
    assert check.report is not None
    return check.report


@pytest.mark.parametrize("style", ["long", "short", "native"])
def test_pytest(project: Path, style: str) -> None:
    check = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--tb={style}", "test_p.py")
    report = report_of(check)
    assert (report.runner, report.ok, report.collected) == ("pytest", False, 6)
    assert report.counts == {"failed": 4, "passed": 1, "error": 1}
    tests = {t.id: t for t in report.tests}
    assert set(tests) == {
        "test_p.py::test_ids[x y]",
        "test_p.py::test_outer",
        "test_p.py::test_add",
        "test_p.py::TestGroup::test_in_class",
        "test_p.py::test_fixture",
    }
    outer = tests["test_p.py::test_outer"]
    assert (outer.outcome, outer.exception, outer.message) == ("failed", "ValueError", "no way")
    assert [(f.path, f.line, f.function) for f in outer.frames] == [
        ("test_p.py", 6, "test_outer"),
        ("mod.py", 5, "outer"),
        ("mod.py", 2, "deep"),
    ]
    add = tests["test_p.py::test_add"]
    assert add.exception == "AssertionError" and add.message.startswith("assert -1 == 3")
    assert [(f.path, f.line) for f in add.frames] == [("test_p.py", 8)]
    assert tests["test_p.py::test_fixture"].outcome == "error"
    assert could_not_start(check) is None and not check.ok


def test_pytest_without_tracebacks(project: Path) -> None:
    report = report_of(run(project, "-m", "pytest", "--tb=no", "-v", "-p", "no:cacheprovider", "test_p.py"))
    assert report.counts == {"failed": 4, "passed": 1, "error": 1}
    tests = {t.id: t for t in report.tests}
    assert tests["test_p.py::test_ok"].outcome == "passed"
    assert tests["test_p.py::test_outer"].exception == "ValueError"
    assert tests["test_p.py::test_add"].exception == "AssertionError"


def test_pytest_that_passes(project: Path) -> None:
    check = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_p.py::test_ok")
    assert check.ok and report_of(check).counts == {"passed": 1} and could_not_start(check) is None


def test_pytest_collection_error(project: Path) -> None:
    check = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "unit/test_broken.py")
    [test] = report_of(check).tests
    assert (test.id, test.outcome, test.exception) == ("unit/test_broken.py", "error", "ModuleNotFoundError")
    assert ("unit/test_broken.py", 1) in [(f.path, f.line) for f in test.frames if f.in_workspace]
    assert could_not_start(check) is None


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["-m", "pytest", "-q", "empty"], "no tests were collected"),
        (["-m", "pytest", "nowhere.py"], "file or directory not found: nowhere.py"),
        (["-m", "pytest", "--no-such-option"], "unrecognized arguments|unrecognised|usage"),
        (["-m", "unittest", "discover", "-s", "empty"], "no tests were collected"),
        (["nowhere.py"], "can't open file"),
    ],
)
def test_a_command_that_ran_no_test_could_not_start(project: Path, args: list[str], reason: str) -> None:
    check = run(project, *args)
    found = could_not_start(check)
    assert found is not None and any(part in found for part in reason.split("|"))
    assert not check.ok


def test_other_ways_not_to_start() -> None:
    assert (
        could_not_start(checked(b"sh: 1: pytst: not found\n", 127))
        == "the command was not found: sh: 1: pytst: not found"
    )
    assert "cannot be executed" in (could_not_start(checked(b"denied\n", 126)) or "")
    assert (
        could_not_start(checked(b"/usr/bin/python3: No module named pytest\n", 1)) == "No module named pytest"
    )
    assert "No rule to make" in (
        could_not_start(checked(b"make: *** No rule to make target 'test'.  Stop.\n", 2)) or ""
    )
    assert could_not_start(checked(b"", 0)) is None and could_not_start(checked(b"some failure\n", 1)) is None
    assert checked(b"all good\n", 0).ok and not checked(b"bad\n", 1).ok


def test_a_conftest_that_does_not_import_is_a_failure_not_a_false_start(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import broken\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    check = run(tmp_path, "-m", "pytest", "-q")
    assert check.exec.exit_code == 4 and could_not_start(check) is None


def test_unittest(project: Path) -> None:
    check = run(project, "-m", "unittest", "-v", "unit.test_u", "unit.test_broken")
    report = report_of(check)
    assert (report.runner, report.ok) == ("unittest", False)
    assert report.counts == {"passed": 1, "failed": 1, "error": 2, "skipped": 1}
    tests = {t.id: t for t in report.tests}
    add = tests["unit.test_u.T.test_add"]
    assert (add.outcome, add.exception, add.message) == ("failed", "AssertionError", "-1 != 3")
    assert [(f.path, f.function) for f in add.frames if f.in_workspace] == [("unit/test_u.py", "test_add")]
    outer = tests["unit.test_u.T.test_outer"]
    assert (outer.outcome, outer.exception) == ("error", "ValueError")
    assert [(f.path, f.line) for f in outer.frames][-2:] == [("mod.py", 5), ("mod.py", 2)]
    assert any("test_broken" in name for name in tests)


def test_a_script_s_traceback(project: Path) -> None:
    report = report_of(run(project, "script.py"))
    [test] = report.tests
    assert (report.runner, report.ok, report.collected) == ("python", False, 0)
    assert (test.exception, test.message) == ("ValueError", "no out")
    assert [(f.path, f.line) for f in test.frames] == [("script.py", 2), ("mod.py", 5), ("mod.py", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello\n",
        "1..10 items\n",
        "1..5\n",
        "ok  thing 1.2s\nFAIL x 2s\n",
        "  3 errors\n",
        "Tests: fine\n",
        "BUILD SUCCESSFUL in 2s\n",
    ],
)
def test_text_that_says_nothing_gives_no_report(text: str) -> None:
    assert parse_output(text, 0, "/ws") is None
    assert parse_output(text, 1, "/ws") is None


def test_a_report_in_short(project: Path) -> None:
    text = describe(
        report_of(run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_p.py")), limit=2
    )
    assert text.startswith("4 failed, 1 error, 1 passed\n\n")
    assert "FAILED test_p.py::test_outer\n" in text and "  mod.py:2 in deep\n" in text
    assert "3 more failed: " in text


def test_success_needs_a_test_that_ran() -> None:
    assert not make_report([], 0, "pytest").ok
    assert make_report([], 0, "pytest", {"passed": 1}).ok
    assert not make_report([], 0, "pytest", {"passed": 1, "failed": 1}).ok
    assert make_report([], 5, "pytest").summary == "no tests ran"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("test_a.py", True),
        ("a_test.py", True),
        ("src/tests/helper.py", True),
        ("conftest.py", True),
        ("src/contest.py", False),
        ("src/latest.py", False),
        ("src/calc.test.ts", True),
        ("src/calc.spec.jsx", True),
        ("src/__tests__/calc.js", True),
        ("spec_helper/calc_spec.rb", True),
        ("src/api_spec.py", False),
        ("src/CalcTest.java", True),
        ("src/CalcIT.kt", True),
        ("src/Contest.java", False),
        ("src/Testimony.php", False),
        ("lib/TestCalc.php", True),
        ("num/calc_test.go", True),
        ("src/inspector.js", False),
        ("testing.py", False),
        ("attest/a.py", False),
    ],
)
def test_test_paths(path: str, expected: bool) -> None:
    assert is_test_path(path) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/ws/a/b.py", ("a/b.py", True)),
        ("a/b.py", ("a/b.py", True)),
        ("./a.py", ("a.py", True)),
        ("/wsx/a.py", ("/wsx/a.py", False)),
        ("../a.py", ("../a.py", False)),
        ("/ws/.venv/lib/x.py", ("/ws/.venv/lib/x.py", False)),
        ("<frozen runpy>", ("<frozen runpy>", False)),
    ],
)
def test_workspace_paths(path: str, expected: tuple[str, bool]) -> None:
    assert workspace_path(path, "/ws") == expected
