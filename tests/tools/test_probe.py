"""The probe in real pytest processes, as a sandbox would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.probe import PROBE_MOUNT_SOURCE, probe_env
from tools.runners._probe import read_probe
from tools.testreport import TestReport, TestResult


class Run(NamedTuple):
    exit_code: int
    output: str
    report: TestReport | None
    records: list[dict[str, object]]

    def test(self, name: str) -> TestResult:
        assert self.report is not None
        return next(t for t in self.report.tests if t.id.endswith(name))


RunPytest = Callable[..., Run]


@pytest.fixture
def run(tmp_path: Path) -> RunPytest:
    """Run pytest on files given by name and content, with the probe on."""

    def run_pytest(
        files: dict[str, str], *args: str, limit: float | None = None, env: dict[str, str] | None = None
    ) -> Run:
        root = tmp_path / "ws"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        out = tmp_path / "records.jsonl"
        variables = probe_env(str(out), limit, PROBE_MOUNT_SOURCE, str(root), env)
        clean = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **variables,
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
        done = subprocess.run(
            command,
            cwd=root,
            env=clean,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        data = out.read_bytes() if out.exists() else b""
        report = read_probe(data, done.returncode, str(root))
        return Run(done.returncode, done.stdout.decode(), report, [json.loads(x) for x in data.splitlines()])

    return run_pytest


MODULE = """\
class Node:
    def __init__(self, value, next=None):
        self.value = value
        self.next = next

def deep(node):
    count = 1
    raise ValueError("no " + str(node.value))

def outer(node):
    return deep(node)

def recurse(n):
    return recurse(n + 1)

def caused():
    try:
        return {}["k"]
    except KeyError as error:
        raise RuntimeError("wrapped") from error

class Angry:
    def __repr__(self):
        raise OSError("no repr")

def angry():
    thing, many = Angry(), list(range(1000))
    assert not thing

def add(a, b):
    return a - b
"""

TESTS = """\
import pytest, sys
from pkg.mod import *

@pytest.mark.parametrize("text", ["x y", "z[1]", "a::b"])
def test_ids(text): assert text == "z[1]"
def test_outer(): outer(Node(7, Node(8)))
def test_recursion(): recurse(1)
def test_caused(): caused()
def test_angry(): angry()
def test_add():
    assert add(1, 2) == 3
@pytest.fixture
def broken(): raise LookupError("fixture")
def test_fixture(broken): pass
@pytest.fixture
def leaves():
    yield
    raise LookupError("teardown")
def test_teardown(leaves): pass
def test_ok(): print("fine")
@pytest.mark.skip(reason="not now")
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert 0
class TestGroup:
    def test_in_class(self): assert sys.exit(3)
"""


def test_every_kind_of_end_is_reported(run: RunPytest) -> None:
    files = {
        "pkg/mod.py": MODULE,
        "pkg/__init__.py": "",
        "tests/test_a.py": TESTS,
        "test_b.py": "import nowhere\n",
    }
    found = run(files, "--continue-on-collection-errors")
    report = found.report
    assert report is not None and not report.ok and report.runner == "pytest"
    assert report.counts == {"failed": 8, "error": 3, "passed": 2, "skipped": 2}
    # a test that passes and then fails in its tear-down is both to pytest, and an error to us
    assert "8 failed, 3 passed, 1 skipped, 1 xfailed, 3 errors" in found.output
    assert report.summary == "8 failed, 3 error, 2 passed, 2 skipped"

    assert found.test("test_ids[x y]").outcome == "failed"
    assert found.test("test_ids[z[1]]").outcome == "passed"
    assert found.test("test_ids[a::b]").bad
    assert found.test("test_in_class").exception == "SystemExit"
    assert [found.test(n).outcome for n in ("test_ok", "test_skipped", "test_expected")] == [
        "passed",
        "skipped",
        "skipped",
    ]

    outer = found.test("test_outer")
    assert (outer.exception, outer.message) == ("ValueError", "no 7")
    assert [(f.path, f.line, f.function) for f in outer.frames] == [
        ("tests/test_a.py", 6, "test_outer"),
        ("pkg/mod.py", 11, "outer"),
        ("pkg/mod.py", 8, "deep"),
    ]
    assert all(f.in_workspace for f in outer.frames)
    assert dict(outer.frames[-1].locals) == {
        "node": "Node(value=7, next=Node(value=8, next=None))",
        "count": "1",
    }

    add = found.test("test_add")
    assert add.message == "assert -1 == 3\n +  where -1 = add(1, 2)"
    assert "E       assert -1 == 3" in add.details

    caused = found.test("test_caused")
    assert caused.exception == "RuntimeError"
    assert [f.line for f in caused.frames if f.path == "pkg/mod.py"] == [20, 18]

    angry = dict(found.test("test_angry").frames[-1].locals)
    assert angry["thing"].startswith("<") and len(angry["many"]) <= 120

    assert found.test("test_fixture").outcome == "error" and found.test("test_fixture").message == "fixture"
    assert (
        found.test("test_teardown").outcome == "error"
        and found.test("test_teardown").exception == "LookupError"
    )
    missing = found.test("test_b.py")
    assert (missing.outcome, missing.exception) == ("error", "ModuleNotFoundError")
    assert [(f.path, f.line) for f in missing.frames if f.in_workspace] == [("test_b.py", 1)]

    recursion = found.test("test_recursion")
    assert recursion.exception == "RecursionError" and len(recursion.frames) <= 24
    assert len(recursion.details) < 5000


def test_a_syntax_error_has_a_place(run: RunPytest) -> None:
    found = run({"mod.py": "def f():\n    return (1\n", "test_a.py": "import mod\n"})
    [test] = found.report.tests if found.report else []
    assert (test.outcome, test.exception) == ("error", "SyntaxError")
    assert (test.frames[-1].path, test.frames[-1].line) == ("mod.py", 2)


HANGS = """\
import pytest, time
def spin():
    n = 0
    while True:
        try:
            n += 1
        except Exception:
            pass
def test_spin(): spin()
def test_sleep(): time.sleep(60)
def test_fine(): pass
@pytest.fixture
def stuck(): time.sleep(60)
def test_stuck(stuck): pass
def test_never_reached(): pass
"""


def test_tests_that_hang_are_ended_and_then_the_session(run: RunPytest) -> None:
    started = time.monotonic()
    found = run({"test_a.py": HANGS}, limit=0.6)
    assert time.monotonic() - started < 15
    assert found.exit_code == 1
    spin = found.test("test_spin")
    assert spin.hung and spin.outcome == "failed" and spin.exception == "Timeout"
    assert spin.message == "pawl: the test ran longer than 0.6 s"
    assert [f.function for f in spin.frames] == ["test_spin", "spin"]
    assert spin.frames[-1].path == "test_a.py" and dict(spin.frames[-1].locals)["n"].isdigit()
    assert found.test("test_sleep").hung and found.test("test_fine").outcome == "passed"
    assert found.test("test_stuck").outcome == "error" and found.test("test_stuck").hung
    assert found.report is not None and not any("never_reached" in t.id for t in found.report.tests)
    assert "pawl: stopped after 3 tests that did not end" in found.output


def test_an_alarm_of_the_code_under_test_still_rings(run: RunPytest) -> None:
    code = """\
import signal, time
def test_own_alarm():
    rung = []
    signal.signal(signal.SIGALRM, lambda *a: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(0.1)
    assert rung
def test_default_again():
    assert signal.getsignal(signal.SIGALRM) is not None
"""
    found = run({"test_a.py": code}, limit=5)
    assert found.exit_code == 0, found.output


def test_outcomes_are_the_same_with_warnings_as_errors_and_other_options(run: RunPytest) -> None:
    env = {"PYTEST_ADDOPTS": "-W error", "PYTHONPATH": "lib"}
    files = {"test_a.py": "import here\ndef test_a(): assert here\n", "lib/here.py": ""}
    found = run(files, "-p", "no:faulthandler", env=env, limit=5)
    assert (found.exit_code, found.report and found.report.counts) == (0, {"passed": 1})
    assert found.report is not None and found.report.ok


def test_sessions_inside_of_tests_are_not_recorded(run: RunPytest) -> None:
    inner = "def test_inner(): assert 0\n"
    code = (
        "import subprocess, sys, os\n"
        "def test_outer():\n"
        "    assert 'PAWL_PROBE_OUT' not in os.environ\n"
        "    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', 'inner.py'])\n"
        "    assert done.returncode == 1\n"
    )
    found = run({"test_a.py": code, "inner.py": inner})
    assert found.exit_code == 0, found.output
    assert found.report is not None and [t.id for t in found.report.tests] == ["test_a.py::test_outer"]


def test_no_tests_is_not_a_pass(run: RunPytest) -> None:
    found = run({"test_a.py": "x = 1\n"})
    assert found.exit_code == 5
    assert found.report is not None and not found.report.ok and found.report.collected == 0


def test_a_place_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): assert 0\n")
    env = probe_env("/proc/nowhere/out", 1, PROBE_MOUNT_SOURCE, str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and b"1 failed" in done.stdout


def test_a_test_that_was_killed_in_the_middle_is_known() -> None:
    data = b'{"type":"start"}\n{"type":"begin","id":"a"}\n'
    data += b'{"type":"test","id":"a","when":"call","outcome":"passed"}\n{"type":"end","id":"a"}\n'
    data += b'{"type":"begin","id":"b"}\n{"type":"te'
    report = read_probe(data, None, "/ws")
    assert report is not None
    assert [(t.id, t.outcome, t.hung) for t in report.tests] == [
        ("a", "passed", False),
        ("b", "failed", True),
    ]
    assert read_probe(b"", 0, "/ws") is None


def test_variables_that_were_set_are_kept() -> None:
    env = probe_env("/tmp/o", 2.5, "/probe", "/ws", {"PYTHONPATH": "src", "PYTEST_ADDOPTS": "-x", "A": "b"})
    assert env["PYTHONPATH"] == "/probe:src" and env["PYTEST_ADDOPTS"] == "-x -p pawl_probe"
    assert env["PAWL_TEST_LIMIT"] == "2.5" and env["A"] == "b"
    assert "PAWL_TEST_LIMIT" not in probe_env("/tmp/o", None, "/probe", "/ws")
