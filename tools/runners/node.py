"""node's own runner, `node --test`: JUnit XML beside the text, which is TAP or `spec`."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator

from tools.runners._javascript import (
    CI,
    MANIFEST,
    SUFFIXES,
    last_part,
    own_lines,
    pattern,
    run_script,
    script,
    stack,
)
from tools.runners._junit import Case, cases
from tools.runners._runner import Command, Project, Ran, Runner, Selection
from tools.runners._tap import results
from tools.testreport import TestReport, TestResult, make_report

_IMPORTED = re.compile(r"""["']node:test["']""")
_FLAG = re.compile(r"(?<!\S)--test(?!\S)")
_COUNT = re.compile(r"^(?:#|ℹ) (tests|pass|fail|cancelled|skipped|todo) (\d+)$", re.MULTILINE)
_FAILED = re.compile(r"^✖ ([^\n]+?) \([\d.]+ms\)\n(.*?)(?=^✖ |^test at |\Z)", re.MULTILINE | re.DOTALL)


class Node(Runner):
    name = "node"
    rank = 33
    manifests = (MANIFEST,)
    steering = (MANIFEST,)
    suffixes = SUFFIXES

    def detect(self, project: Project) -> float:
        if _FLAG.search(last_part(script(project))):
            return 0.95
        return 0.65 if any(_IMPORTED.search(text) for text in project.texts.values()) else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        report = f"{out}node.xml"
        flags = (
            "--test --test-reporter=spec --test-reporter-destination=stdout "
            f"--test-reporter=junit --test-reporter-destination={report}"
        )
        if only := pattern(selection.picks):
            flags += f" --test-name-pattern={shlex.quote(only)}"
        line = last_part(script(project))
        line = _FLAG.sub(lambda _: flags, line, count=1) if _FLAG.search(line) else f"node {flags}"
        if selection.paths:
            line = " ".join([line.partition(" --test ")[0], flags])
        words = " ".join([line, *map(shlex.quote, (*selection.options, *selection.paths))])
        return Command(("sh", "-c", words), (report,), CI)

    def usual(self, project: Project) -> tuple[str, ...]:
        return run_script(project, []).words if script(project) else ("node", "--test")

    def read_files(self, ran: Ran) -> TestReport | None:
        found = cases(data for path, data in ran.files.items() if path.endswith("node.xml"))
        return (
            make_report([self._test(case, ran) for case in found], ran.exit_code, self.name)
            if found
            else None
        )

    def _test(self, case: Case, ran: Ran) -> TestResult:
        if case.name.startswith("/"):
            return self._file(case, ran)
        name = f"{ran.file(case.file)}::{case.name}" if case.file else case.name
        if case.outcome not in ("failed", "error"):
            return TestResult(name, case.outcome, duration=case.seconds)
        cause = re.search(r"^  cause: (.*)^}", case.text, re.MULTILINE | re.DOTALL)
        text = textwrap.dedent("  " + cause[1]) if cause else case.text
        kind, message, frames = stack(text, ran)
        return TestResult(
            name, "failed", kind, message or case.message, frames, case.seconds, own_lines(text)
        )

    def _file(self, case: Case, ran: Ran) -> TestResult:
        """A file that cannot be loaded: why, stands on the output alone."""
        said = re.search(
            rf"^{re.escape(case.name)}:\d+$\n.*?(?=^Node\.js v|^✖ |\Z)", ran.output, re.MULTILINE | re.DOTALL
        )
        kind, message, frames = stack(said[0] if said else case.text, ran)
        name = ran.file(case.name)
        if case.outcome in ("failed", "error"):
            return TestResult(
                name, "error", kind, message, frames, case.seconds, own_lines(said[0] if said else ran.output)
            )
        return TestResult(name, case.outcome, duration=case.seconds)

    def read_text(self, ran: Ran) -> TestReport | None:
        said = {word: int(number) for word, number in _COUNT.findall(ran.output)}
        if "tests" not in said or "pass" not in said:
            return None
        counts = {"passed": said["pass"], "failed": said.get("fail", 0) + said.get("cancelled", 0)}
        counts["skipped"] = said.get("skipped", 0) + said.get("todo", 0)
        tests = results(ran) if "TAP version" in ran.output else list(self._failures(ran))
        broken = sum(test.outcome == "error" for test in tests)
        counts |= {"failed": counts["failed"] - broken, "error": broken}
        return make_report(tests, ran.exit_code, self.name, {k: n for k, n in counts.items() if n})

    def _failures(self, ran: Ran) -> Iterator[TestResult]:
        """What `spec` tells again below all tests."""
        for match in _FAILED.finditer(ran.output.partition("failing tests:")[2]):
            if match[1].startswith("/"):
                yield self._file(Case("", match[1], "error"), ran)
                continue
            kind, message, frames = stack(textwrap.dedent(match[2]), ran)
            yield TestResult(match[1], "failed", kind, message, frames, details=own_lines(match[2]))


runner = Node()
