"""vitest."""

from __future__ import annotations

import re

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
from tools.runners._jest import read_json
from tools.runners._runner import Command, Project, Ran, Runner, Selection
from tools.testreport import TestReport, TestResult, make_report

_COUNTS = re.compile(r"^ +Tests +(.*?)(?:\((\d+)\)|$)", re.MULTILINE)
_FAILURE = re.compile(
    r"^ FAIL +(\S+)( >[^\n\[]+| \[ .+? \])?$\n(.*?)(?=^ FAIL |^⎯|\Z)", re.MULTILINE | re.DOTALL
)
_PLACE = re.compile(r"^ ❯ (?:(\S+) )?([^\s:]+):(\d+):\d+$", re.MULTILINE)
_CONFIGS = tuple(f"vitest.config{suffix}" for suffix in SUFFIXES)


class Vitest(Runner):
    name = "vitest"
    rank = 31
    programs = frozenset({"vitest"})
    manifests = (MANIFEST,)
    steering = (MANIFEST, "vitest.*", "vite.config.*")
    suffixes = SUFFIXES

    def detect(self, project: Project) -> float:
        if starts(last_part(script(project)), "vitest"):
            return 0.95
        return 0.76 if depends_on(project, "vitest") or project.has(*_CONFIGS) else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        report = f"{out}vitest.json"
        words = [
            "--run",
            "--reporter=default",
            "--reporter=json",
            f"--outputFile.json={report}",
            *selection.options,
        ]
        if only := pattern(selection.picks):
            words += ["-t", only]
        return scripted(project, "vitest", [*words, *selection.paths], [report])

    def usual(self, project: Project) -> tuple[str, ...]:
        return scripted(project, "vitest", ["--run"], []).words

    def read_files(self, ran: Ran) -> TestReport | None:
        return read_json(ran, self.name)

    def read_text(self, ran: Ran) -> TestReport | None:
        if not re.search(r"^ +Test Files +", ran.output, re.MULTILINE):
            nothing = re.search(r"^No test files found, exiting with code", ran.output, re.MULTILINE)
            return make_report([], ran.exit_code, self.name) if nothing else None
        closing = _COUNTS.search(ran.output)
        said = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", closing[1] if closing else "")}
        counts = {name: said.get(name, 0) for name in ("failed", "passed")}
        counts["skipped"] = said.get("skipped", 0) + said.get("todo", 0)
        tests = [self._failure(match, ran) for match in _FAILURE.finditer(ran.output)]
        counts["error"] = sum(test.outcome == "error" for test in tests)
        return make_report(tests, ran.exit_code, self.name, {k: n for k, n in counts.items() if n})

    def _failure(self, match: re.Match[str], ran: Ran) -> TestResult:
        kind, message, _ = stack(match[3].partition("\n ❯ ")[0], ran)
        places = [ran.frame(m[2], int(m[3]), m[1] or "") for m in _PLACE.finditer(match[3])]
        broken = not (match[2] or "").startswith(" >")
        name = match[1] if broken else f"{match[1]}::{match[2][3:].strip()}"
        if broken and not places:
            places = [ran.frame(match[1], 1)]
        own = tuple(reversed([place for place in places if place.in_workspace]))
        return TestResult(
            name, "error" if broken else "failed", kind, message, own, details=own_lines(match[3])
        )


runner = Vitest()
