"""mocha, also under c8 and nyc."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tools.runners._javascript import (
    MANIFEST,
    SUFFIXES,
    depends_on,
    last_part,
    own_lines,
    pattern,
    script,
    scripted,
    stack,
    starts,
)
from tools.runners._runner import Command, Project, Ran, Runner, Selection, decoded
from tools.testreport import TestReport, TestResult, make_report

_COUNT = re.compile(r"^  (\d+) (passing|failing|pending)\b", re.MULTILINE)
_FAILURE = re.compile(r"^  \d+\) (.+?):\n\n(.*?)(?=^  \d+\) |\Z)", re.MULTILINE | re.DOTALL)
_WORDS = {"passing": "passed", "failing": "failed", "pending": "skipped"}


class _Test(msgspec.Struct):
    title: str = ""
    fullTitle: str = ""
    file: str | None = None
    duration: float | None = None
    err: dict[str, Any] = {}


class _Run(msgspec.Struct):
    tests: list[_Test]
    pending: list[_Test] = []
    failures: list[_Test] = []


class Mocha(Runner):
    name = "mocha"
    rank = 32
    programs = frozenset({"mocha", "_mocha"})
    manifests = (MANIFEST,)
    steering = (MANIFEST, ".mocharc*")
    suffixes = SUFFIXES

    def detect(self, project: Project) -> float:
        if starts(last_part(script(project)), *self.programs):
            return 0.95
        known = depends_on(project, "mocha") or any(path.startswith(".mocharc") for path in project.paths)
        return 0.74 if known else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        report = f"{out}mocha.json"
        words = ["--reporter", "json", "--reporter-option", f"output={report}", *selection.options]
        if only := pattern(selection.picks):
            words += ["--grep", only]
        if selection.paths:
            words += selection.paths
        return scripted(project, "mocha", words, [report], "_mocha")

    def usual(self, project: Project) -> tuple[str, ...]:
        return scripted(project, "mocha", [], [], "_mocha").words

    def read_files(self, ran: Ran) -> TestReport | None:
        for data in ran.files.values():
            if (run := decoded(data, _Run)) is None:
                continue
            waiting = {test.fullTitle for test in run.pending}
            tests = [self._test(test, waiting, ran) for test in run.tests]
            named = {test.id for test in tests}
            # hooks that fail are no tests of their own
            tests += [
                found for test in run.failures if (found := self._test(test, waiting, ran)).id not in named
            ]
            return make_report(tests, ran.exit_code, self.name)
        return None

    def _test(self, test: _Test, waiting: set[str], ran: Ran) -> TestResult:
        name = f"{ran.file(test.file)}::{test.fullTitle}" if test.file else test.fullTitle
        seconds = max(test.duration or 0.0, 0.0) / 1000
        if not test.err:
            return TestResult(name, "skipped" if test.fullTitle in waiting else "passed", duration=seconds)
        text = str(test.err.get("stack") or test.err.get("message") or "")
        kind, message, frames = stack(text, ran)
        return TestResult(name, "failed", kind, message, frames, seconds, own_lines(text))

    def read_text(self, ran: Ran) -> TestReport | None:
        found = {_WORDS[word]: int(number) for number, word in _COUNT.findall(ran.output)}
        if found:
            tests = [self._failure(match, ran) for match in _FAILURE.finditer(ran.output)]
            return make_report(tests, ran.exit_code, self.name, {k: n for k, n in found.items() if n})
        if re.search(r"^ ?Error: No test files found", ran.output, re.MULTILINE):
            return make_report([], ran.exit_code, self.name)
        if ran.exit_code and "node_modules/mocha/" in ran.output:
            kind, message, frames = stack(ran.output, ran)
            own = tuple(frame for frame in frames if frame.in_workspace)
            name = own[-1].path if own else "mocha"
            return make_report(
                [TestResult(name, "error", kind, message, own, details=own_lines(ran.output))],
                ran.exit_code,
                self.name,
            )
        return None

    def _failure(self, match: re.Match[str], ran: Ran) -> TestResult:
        name = " ".join(line.strip() for line in match[1].splitlines())
        kind, message, frames = stack(re.sub(r"^ {5}", "", match[2], flags=re.MULTILINE), ran)
        return TestResult(name, "failed", kind, message, frames, details=own_lines(match[2]))


runner = Mocha()
