from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tools.localize import suspects
from tools.probe import PROBE_MOUNT_SOURCE, probe_env
from tools.runners._probe import read_probe
from tools.spectrum import suspicion
from tools.testreport import TestReport, TestResult

SOURCE = b"""\
def outer(x):
    def inner(y):
        return y
    return inner(x)


def other():
    return 1
"""


def report(lines: dict[int, tuple[int, int]], failed: int = 1) -> TestReport:
    tests = tuple(TestResult(f"t.py::t{n}", "failed") for n in range(failed))
    return TestReport(tests, {}, False, "pytest", failed, {"a.py": lines})


def shares(lines: dict[int, tuple[int, int]], failed: int = 1) -> dict[str, float]:
    found = suspicion(report(lines, failed), {"a.py": SOURCE}).values()
    return {symbol.qualname: round(share, 3) for symbol, share in found}


def test_a_line_counts_for_the_innermost_function() -> None:
    lines = {2: (1, 3), 3: (1, 0), 4: (1, 3), 8: (1, 8), 99: (1, 0)}
    assert shares(lines) == {"outer.inner": 1.0, "outer": 0.5, "other": 0.333}
    assert shares({}) == {} and suspicion(report(lines), {}) == {}


def test_the_worst_line_counts_more_than_the_first_one() -> None:
    # line 4 is a branch that only the failing test takes
    assert shares({2: (1, 3), 4: (1, 0)}) == {"outer": round(0.5**0.25 * 1.0**0.75, 3)}


def test_what_all_failing_tests_ran_comes_before_what_one_of_them_ran() -> None:
    assert shares({3: (3, 9), 8: (1, 0)}, failed=3) == {"outer.inner": 0.5, "other": 0.064}


@given(st.dictionaries(st.integers(1, 9), st.tuples(st.integers(0, 9), st.integers(0, 9))), st.integers(1, 9))
def test_suspicion_is_a_share(lines: dict[int, tuple[int, int]], failed: int) -> None:
    shares = [share for _, share in suspicion(report(lines, failed), {"a.py": SOURCE}).values()]
    assert all(0 < share <= 1 for share in shares)


MODULE = """\
def shared(x):
    return x

def right(x):
    return shared(x)

def wrong(x):
    return shared(x) + 1
"""
TESTS = """\
import pytest
from m import right, wrong
FUNCTIONS = {"a": right, "b": wrong}

@pytest.mark.parametrize("name", ["a", "a", "b"])
def test_it(name):
    assert FUNCTIONS[name](1) == 1
"""


def run(tmp_path: Path, module: str = MODULE, tests: str = TESTS, **more: str) -> TestReport:
    (tmp_path / "m.py").write_text(module)
    (tmp_path / "test_m.py").write_text(tests)
    out = tmp_path / "out"
    env = probe_env(str(out), 5, PROBE_MOUNT_SOURCE, str(tmp_path), {"PATH": "/usr/bin:/bin"})
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env=env | more,
        capture_output=True,
        check=False,
        timeout=60,
    )
    found = read_probe(out.read_bytes(), 1, str(tmp_path))
    assert found is not None and found.failures
    return found


def test_the_probe_measures_which_lines_failing_tests_ran(tmp_path: Path) -> None:
    found = run(tmp_path, PAWL_PROBE_COVERAGE="1")
    imported = dict.fromkeys((1, 4, 7), (1, 2))
    assert found.lines["m.py"] == {2: (1, 2), 8: (1, 0), **imported}
    assert not (tmp_path / ".coverage").exists()
    ranked = suspects(found, {"m.py": MODULE.encode(), "test_m.py": TESTS.encode()})
    assert [s.qualname for s in ranked] == ["wrong", "shared"]


def test_without_the_wish_nothing_is_measured(tmp_path: Path) -> None:
    assert run(tmp_path).lines == {}


PARTS = """\
def made():
    return {"a": 1, "b": 3}


def looked(key):
    if key == "b":
        return 3
    if key == "c":
        return 1
    return 1


def only(key):
    return key
"""
OF_PARTS = """\
import unittest
from m import looked, made, only


class TestParts(unittest.TestCase):
    def test_each(self):
        wanted = made()
        for key in "abc":
            with self.subTest(key=key):
                self.assertEqual(looked(key), {"a": 1, "b": 2, "c": 1}[key])
                self.assertEqual(only(key), key)


def test_fixture(subtests):
    for key in "abc":
        with subtests.test(key=key):
            assert looked(key) == 1 and only(key) == key
"""


def test_parts_of_a_test_are_measured_one_by_one(tmp_path: Path) -> None:
    lines = run(tmp_path, PARTS, OF_PARTS, PAWL_PROBE_COVERAGE="1").lines["m.py"]
    assert lines[7] == (2, 0), "a branch that the failing parts alone take"
    assert lines[6] == (2, 4), "all parts of both tests"
    assert lines[2] == (1, 2), "what all parts of a test build on"
    assert 9 not in lines, "a branch that no failing part takes"
