"""Maven: the XML that surefire and failsafe leave in `target`, else the text."""

from __future__ import annotations

import re

from tools.runners._java import SUFFIXES, classes, compile_error, has_tests, read_reports
from tools.runners._runner import Command, Project, Ran, Runner, Selection
from tools.testreport import TestReport, TestResult, make_report

_TOTAL = re.compile(
    r"^\[(?:ERROR|WARNING|INFO)\] (?:\[.+?\] )?"
    r"Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)\s*$",
    re.MULTILINE,
)
_NAMED = re.compile(r"^\[ERROR\] {2,}(?:[\w.]+\.)?(\w+)\.(\w+):(\d+)(?:->\S+)* (.+)$", re.MULTILINE)


_FAILURES = 300
"""That are placed in files; the counts hold for all."""


class Maven(Runner):
    name = "maven"
    rank = 42
    programs = frozenset({"mvn", "mvnw"})
    manifests = ("pom.xml",)
    steering = ("pom.xml", "maven.config", "jvm.config", "extensions.xml", "junit-platform.properties")
    reports = ("*/target/surefire-reports/TEST-*.xml", "*/target/failsafe-reports/TEST-*.xml")
    suffixes = SUFFIXES
    needs_project = True

    def detect(self, project: Project) -> float:
        if not project.has("pom.xml"):
            return 0.0
        return 0.9 if has_tests(project) else 0.6

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        program = "./mvnw" if project.has("mvnw") else "mvn"
        # whole stacks: the trimmed ones end at the test
        words = [program, "--batch-mode", "--offline", "-DtrimStackTrace=false", *selection.options]
        if chosen := classes(selection.picks, "#"):
            words += [
                f"-Dtest={','.join(chosen)}",
                "-DfailIfNoTests=false",
                "-Dsurefire.failIfNoSpecifiedTests=false",
            ]
        return Command((*words, "test"), self.reports)

    def read_files(self, ran: Ran) -> TestReport | None:
        return read_reports(ran, self.name)

    def read_text(self, ran: Ran) -> TestReport | None:
        totals = _TOTAL.findall(ran.output)
        if not totals:
            if broken := compile_error(ran) if "COMPILATION ERROR" in ran.output else None:
                return make_report([broken], ran.exit_code, self.name)
            nothing = re.search(r"^\[INFO\] No tests to run\.$", ran.output, re.MULTILINE)
            return make_report([], ran.exit_code, self.name) if nothing else None
        run, failed, errors, skipped = (sum(map(int, column)) for column in zip(*totals, strict=True))
        counts = {
            "failed": failed,
            "error": errors,
            "skipped": skipped,
            "passed": run - failed - errors - skipped,
        }
        tests = []
        for name, method, line, message in list(dict.fromkeys(_NAMED.findall(ran.output)))[:_FAILURES]:
            path = next((p for p in ran.project.paths if p.endswith(f"/{name}.java")), f"{name}.java")
            frame = ran.frame(path, int(line), f"{name}.{method}")
            kind = (
                re.match(r"(?:» )?(\w+(?:Error|Exception|Failure)?)\b", message)
                if message.startswith("»")
                else None
            )
            tests.append(
                TestResult(
                    f"{name}.{method}",
                    "error" if kind else "failed",
                    kind[1] if kind else "",
                    message,
                    (frame,),
                )
            )
        return make_report(tests, ran.exit_code, self.name, {k: n for k, n in counts.items() if n})


runner = Maven()
