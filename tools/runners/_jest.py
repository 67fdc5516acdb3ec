"""The JSON of jest, which vitest writes too. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from tools.output import readable
from tools.runners._javascript import own_lines, stack
from tools.runners._runner import Ran, decoded
from tools.testreport import Outcome, TestReport, TestResult, make_report


class _Test(msgspec.Struct):
    title: str = ""
    ancestorTitles: list[str] = []
    status: str = ""
    duration: float | None = None
    failureMessages: list[str] | None = None


class _File(msgspec.Struct):
    name: str = ""
    status: str = ""
    message: str | None = None
    assertionResults: list[_Test] = []


class _Run(msgspec.Struct):
    testResults: list[_File]
    numTotalTests: int = 0


_OUTCOMES: dict[str, Outcome] = {"passed": "passed", "failed": "failed"}
"""All else was not run: pending, skipped, todo, disabled."""


def read_json(ran: Ran, runner: str) -> TestReport | None:
    for data in ran.files.values():
        if (run := decoded(data, _Run)) is None:
            continue
        tests = [test for file in run.testResults for test in _file(file, ran)]
        return make_report(tests, ran.exit_code, runner)
    return None


def _file(file: _File, ran: Ran) -> list[TestResult]:
    path = ran.file(file.name)
    tests = [_test(test, path, ran) for test in file.assertionResults]
    if file.status == "failed" and not any(test.bad for test in tests):
        text = _plain(file.message or "it could not be loaded")
        kind, message, frames = stack(text, ran)
        tests.append(
            TestResult(
                path, "error", kind, message, frames or (ran.frame(file.name, 1),), details=own_lines(text)
            )
        )
    return tests


def _test(test: _Test, path: str, ran: Ran) -> TestResult:
    name = f"{path}::{' > '.join([*filter(None, test.ancestorTitles), test.title])}"
    outcome = _OUTCOMES.get(test.status, "skipped")
    seconds = max(test.duration or 0.0, 0.0) / 1000
    if outcome != "failed":
        return TestResult(name, outcome, duration=seconds)
    text = _plain("\n".join(test.failureMessages or []))
    kind, message, frames = stack(text, ran)
    return TestResult(name, outcome, kind, message, frames, seconds, own_lines(text))


def _plain(value: Any) -> str:
    return readable(str(value).encode("utf-8", "replace"))
