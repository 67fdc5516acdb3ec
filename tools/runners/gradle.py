"""Gradle: the XML that it leaves in `build/test-results`, else the text."""

from __future__ import annotations

import re
from itertools import islice

from tools.runners._java import SUFFIXES, classes, compile_error, has_tests, read_reports
from tools.runners._runner import Command, Project, Ran, Runner, Selection
from tools.testreport import TestReport, TestResult, make_report

_COUNT = re.compile(r"^(\d+) tests? completed(?:, (\d+) failed)?(?:, (\d+) skipped)?$", re.MULTILINE)
_FAILED = re.compile(
    r"^(\w[\w.$]*) > (.+?) FAILED\n {4}([\w.$]+)(?:: (.*))? at (\w+)\.(\w+):(\d+)", re.MULTILINE
)
_FAILURES = 300
"""That are placed in files; the counts hold for all."""
_BUILDS = ("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")


class Gradle(Runner):
    name = "gradle"
    rank = 43
    programs = frozenset({"gradle", "gradlew"})
    manifests = _BUILDS
    steering = (*_BUILDS, "gradle.properties", "*.gradle", "*.gradle.kts")
    reports = ("*/build/test-results/*.xml",)
    suffixes = SUFFIXES
    needs_project = True

    def detect(self, project: Project) -> float:
        if not project.has(*_BUILDS):
            return 0.0
        return 0.91 if has_tests(project) else 0.61

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        program = "./gradlew" if project.has("gradlew") else "gradle"
        only = [word for chosen in classes(selection.picks, ".") for word in ("--tests", chosen)]
        words = (program, "--offline", "--console=plain", *selection.options, "test", *only)
        return Command((*words, "--continue"), self.reports)

    def read_files(self, ran: Ran) -> TestReport | None:
        return read_reports(ran, self.name)

    def read_text(self, ran: Ran) -> TestReport | None:
        if not re.search(r"^BUILD (?:SUCCESSFUL|FAILED) in ", ran.output, re.MULTILINE):
            return None
        if broken := compile_error(ran):
            return make_report([broken], ran.exit_code, self.name)
        tests = []
        for match in islice(_FAILED.finditer(ran.output), _FAILURES):
            path = next(
                (p for p in ran.project.paths if p.endswith(f"/{match[5]}.{match[6]}")),
                f"{match[5]}.{match[6]}",
            )
            frame = ran.frame(path, int(match[7]))
            tests.append(
                TestResult(
                    f"{match[1]}.{match[2]}", "failed", match[3].rpartition(".")[2], match[4] or "", (frame,)
                )
            )
        if count := _COUNT.search(ran.output):
            run, failed, skipped = (int(number or 0) for number in count.groups())
            counts = {"failed": failed, "skipped": skipped, "passed": run - failed - skipped}
            return make_report(tests, ran.exit_code, self.name, {k: n for k, n in counts.items() if n})
        nothing = re.search(r"^(?:> Task )?:\S*test NO-SOURCE", ran.output, re.MULTILINE)
        return make_report(tests, ran.exit_code, self.name) if tests or nothing else None


runner = Gradle()
