"""jest, also under react-scripts."""

from __future__ import annotations

import re

from tools.runners._javascript import (
    MANIFEST,
    SUFFIXES,
    depends_on,
    last_part,
    own_lines,
    package,
    pattern,
    script,
    scripted,
    stack,
    starts,
)
from tools.runners._jest import read_json
from tools.runners._runner import Command, Project, Ran, Runner, Selection
from tools.testreport import TestReport, TestResult, make_report

_COUNTS = re.compile(r"^Tests: +((?:\d+ \w+, )*)(\d+) total$", re.MULTILINE)
_SUITES = re.compile(r"^Test Suites: +(?:(\d+) failed, )?", re.MULTILINE)
_FAILURE = re.compile(
    r"^  ● ([^\n]+)$\n(.*?)(?=^  ● |^Test Suites: |^(?:FAIL|PASS) |\Z)", re.MULTILINE | re.DOTALL
)
_CONFIGS = tuple(f"jest.config{suffix}" for suffix in (*SUFFIXES, ".json"))


class Jest(Runner):
    name = "jest"
    rank = 30
    programs = frozenset({"jest", "react-scripts"})
    manifests = (MANIFEST,)
    steering = (MANIFEST, "jest.config.*", "jest.setup.*", "babel.config.*", ".babelrc*")
    suffixes = SUFFIXES

    def detect(self, project: Project) -> float:
        if starts(last_part(script(project)), *self.programs):
            return 0.95
        known = depends_on(project, "jest") or "jest" in package(project) or project.has(*_CONFIGS)
        return 0.75 if known else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        report = f"{out}jest.json"
        words = ["--json", f"--outputFile={report}", *selection.options]
        if only := pattern(selection.picks):
            words += ["-t", only]
        if selection.paths:
            words += ["--runTestsByPath", *selection.paths]
        return scripted(project, "jest", words, [report], "react-scripts")

    def usual(self, project: Project) -> tuple[str, ...]:
        return scripted(project, "jest", [], [], "react-scripts").words

    def read_files(self, ran: Ran) -> TestReport | None:
        return read_json(ran, self.name)

    def read_text(self, ran: Ran) -> TestReport | None:
        closing = _COUNTS.search(ran.output)
        if closing is None:
            nothing = re.search(r"^No tests found, exiting with code", ran.output, re.MULTILINE)
            return make_report([], ran.exit_code, self.name) if nothing else None
        said = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", closing[1])}
        counts = {"failed": said.get("failed", 0), "passed": said.get("passed", 0)}
        counts["skipped"] = int(closing[2]) - sum(counts.values())
        suites = _SUITES.search(ran.output)
        if counts["failed"] == 0 and suites and suites[1]:
            counts["error"] = int(suites[1])
        tests = {
            test.id: test for match in _FAILURE.finditer(ran.output) if (test := self._failure(match, ran))
        }
        return make_report(
            list(tests.values()), ran.exit_code, self.name, {k: n for k, n in counts.items() if n}
        )

    def _failure(self, match: re.Match[str], ran: Ran) -> TestResult | None:
        if match[1] in ("Console", "Cannot log after tests are done"):
            return None
        kind, message, frames = stack(re.sub(r"^    ", "", match[2], flags=re.MULTILINE), ran)
        broken = match[1] == "Test suite failed to run"
        file = re.findall(r"^FAIL (\S+)", ran.output[: match.start()], re.MULTILINE)
        name = ran.file(file[-1]) if broken and file else match[1].replace(" › ", " > ")
        return TestResult(
            name, "error" if broken else "failed", kind, message, frames, details=own_lines(match[2])
        )


runner = Jest()
