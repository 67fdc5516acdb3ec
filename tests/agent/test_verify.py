"""Which files cannot prove themselves."""

from __future__ import annotations

import msgspec
import pytest

from agent.verify import is_protected, lost_tests, shadows
from sandbox.base import ExecResult
from sandbox.patch import FileChange
from tools.runners import parse_output
from tools.testreport import CheckResult, TestResult, make_report

PYTEST = ("python", "-m", "pytest", "-q")


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("tests/test_a.py", PYTEST),
        ("pkg/a_test.py", PYTEST),
        ("conftest.py", PYTEST),
        ("deep/down/conftest.py", PYTEST),
        ("python_testcases/node.py", PYTEST),
        ("spec/helper.rb", ("rspec",)),
        ("testdata/a.json", PYTEST),
        ("pytest.ini", PYTEST),
        ("pyproject.toml", PYTEST),
        ("sitecustomize.py", PYTEST),
        ("x.pth", PYTEST),
        ("Makefile", ("make", "check")),
        ("Makefile", ("sh", "-c", "cd x && make check")),
        ("check.sh", ("./check.sh",)),
        ("scripts/check.sh", ("bash", "scripts/check.sh")),
        ("run", ("./run",)),
        ("package.json", ("npm", "test")),
        ("jest.config.ts", ("npx", "jest")),
        ("sub/pom.xml", ("mvn", "test")),
        (".cargo/config.toml", ("cargo", "test")),
        ("CMakeLists.txt", ("sh", "-c", "cmake --build b && ctest")),
    ],
)
def test_protected(path: str, command: tuple[str, ...]) -> None:
    assert is_protected(path, command)


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("pkg/module.py", PYTEST),
        ("contest/main.py", PYTEST),
        ("latest/a.py", PYTEST),
        ("attestation/a.py", PYTEST),
        ("Makefile", PYTEST),
        ("main.py", ("python", "main.py")),
        ("check.sh", PYTEST),
        ("package.json", PYTEST),
        ("src/index.js", ("npm", "test")),
        ("Cargo.toml", ("make", "test")),
    ],
)
def test_not_protected(path: str, command: tuple[str, ...]) -> None:
    assert not is_protected(path, command)


def ran(exit_code: int, output: str) -> CheckResult:
    ended = ExecResult(exit_code, None, False, False, False, b"", b"", 0, 1.0)
    return CheckResult(ended, parse_output(output, exit_code, "/w"), output)


def pytest_text(summary: str, *failed: str) -> str:
    lines = [f"FAILED {test} - AssertionError" for test in failed]
    return "\n".join(["=== short test summary info ===", *lines, f"=== {summary} in 0.01s ===", ""])


BEFORE = ran(1, pytest_text("1 failed, 3 passed", "tests/test_a.py::test_one"))


@pytest.mark.parametrize(
    ("after", "lost"),
    [
        (ran(0, pytest_text("4 passed")), ""),
        (ran(0, pytest_text("5 passed")), ""),
        (ran(0, ""), "no longer run"),
        (ran(0, pytest_text("2 passed")), "only 2 tests pass where 3 did"),
    ],
)
def test_tests_that_ran_before_must_still_run(after: CheckResult, lost: str) -> None:
    told = lost_tests(BEFORE, after)
    assert lost in told and bool(told) == bool(lost)


def test_a_check_without_tests_loses_none() -> None:
    assert lost_tests(ran(2, "make: *** [all] Error 2"), ran(0, "")) == ""


def told_by_name(**outcomes: str) -> CheckResult:
    """A run whose tests are known by name, as the probe tells them."""
    tests = [TestResult(f"test_a.py::{name}", outcome) for name, outcome in outcomes.items()]  # type: ignore[arg-type]
    return msgspec.structs.replace(ran(0, ""), report=make_report(tests, 0, "pytest"))


def test_what_passed_by_name_must_be_seen_to_pass() -> None:
    before = told_by_name(one="failed", two="passed")
    assert lost_tests(before, told_by_name(one="passed", two="passed")) == ""
    assert "two passed and is no longer seen to" in lost_tests(
        before, told_by_name(one="passed", new="passed")
    )
    assert "is now skipped" in lost_tests(before, told_by_name(one="skipped", two="passed"))
    # a module that only prints what a runner would print
    assert "no longer seen to" in lost_tests(before, ran(0, pytest_text("2 passed")))


@pytest.mark.parametrize(
    ("path", "kind", "expected"),
    [
        ("pytest.py", "add", True),
        ("_pytest/python.py", "add", True),
        ("json.py", "add", True),
        ("json.py", "modify", False),
        ("pkg/json.py", "add", False),
        ("helpers.py", "add", False),
    ],
)
def test_new_modules_that_shadow_the_runner(path: str, kind: str, expected: bool) -> None:
    old, mode = (None, None) if kind == "add" else (b"", 0o100644)
    assert shadows(FileChange(path, old, b"x", mode, 0o100644, b"")) is expected
