"""CMake's ctest: its JUnit XML, else the text. What is tested is built first."""

from __future__ import annotations

import re
import shlex

from tools.runners._c import assertion, compile_errors
from tools.runners._junit import Case, cases
from tools.runners._runner import Command, NotSelectable, Project, Ran, Runner, Selection, broken_build, tail
from tools.testreport import Outcome, TestReport, TestResult, make_report

BUILD = "/tmp/pawl-build"
"""Where a project is built that has no build folder yet: outside of the workspace, kept between runs."""

_TESTS = re.compile(
    r"^[ \t]*(?:enable_testing|add_test)\s*\(|include\s*\(\s*CTest\s*\)", re.MULTILINE | re.IGNORECASE
)
_LINE = re.compile(r"^ *\d+/\d+ Test +#\d+: (\S+) \.*\s*(\S.*?):? +([\d.]+) sec", re.MULTILINE)
_TOTAL = re.compile(r"^\d+% tests passed, (\d+) tests failed out of (\d+)$", re.MULTILINE)
_OUTCOMES: dict[str, Outcome] = {"Passed": "passed", "Skipped": "skipped", "Not Run (Disabled)": "skipped"}


class Ctest(Runner):
    name = "ctest"
    rank = 60
    programs = frozenset({"ctest"})
    manifests = ("CMakeLists.txt",)
    steering = ("CMakeLists.txt", "*.cmake")
    suffixes = (".c", ".cc", ".cpp", ".cxx")

    def detect(self, project: Project) -> float:
        return 0.85 if _TESTS.search(project.text("CMakeLists.txt")) else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        if selection.paths:
            raise NotSelectable(
                "ctest knows tests by name, not by file; name one, or leave the selection empty"
            )
        report = f"{out}ctest.xml"
        words = ["--output-junit", report, *selection.options]
        if selection.names:
            words += ["-R", f"^({'|'.join(map(re.escape, selection.names))})$"]
        return Command(_built_and_run(project, words), (report,))

    def usual(self, project: Project) -> tuple[str, ...]:
        return _built_and_run(project, [])

    def read_files(self, ran: Ran) -> TestReport | None:
        found = cases(data for path, data in ran.files.items() if path.endswith("ctest.xml"))
        return (
            make_report([self._case(case, ran) for case in found], ran.exit_code, self.name)
            if found
            else None
        )

    def _case(self, case: Case, ran: Ran) -> TestResult:
        outcome: Outcome = "skipped" if case.status == "disabled" else case.outcome
        return self._test(case.name, outcome, case.message, case.output, case.seconds, ran)

    def _test(
        self, name: str, outcome: Outcome, reason: str, text: str, seconds: float, ran: Ran
    ) -> TestResult:
        if outcome == "skipped" and "Unable to find executable" in f"{reason}{text}":
            outcome = "error"
        if outcome not in ("failed", "error"):
            return TestResult(name, outcome, duration=seconds)
        kind, message, frames = assertion(text, ran)
        return TestResult(name, outcome, kind, message or reason, frames, seconds, tail(text.strip("\n")))

    def read_text(self, ran: Ran) -> TestReport | None:
        lines = list(_LINE.finditer(ran.output))
        if lines or _TOTAL.search(ran.output):
            stops = [*(match.start() for match in lines[1:]), *([len(ran.output)] if lines else [])]
            tests = []
            for match, stop in zip(lines, stops, strict=True):
                text = ran.output[match.end() : stop].partition("% tests passed")[0].rpartition("\n")[0]
                word = match[2].replace("***", " ").strip()
                outcome = _OUTCOMES.get(word, "error" if word.startswith("Not Run") else "failed")
                tests.append(self._test(match[1], outcome, word, text, float(match[3]), ran))
            return make_report(tests, ran.exit_code, self.name)
        if re.search(r"^No tests were found!!!$", ran.output, re.MULTILINE):
            return make_report([], ran.exit_code, self.name)
        broken = broken_build(ran, compile_errors(ran.output)) if "CMakeFiles/" in ran.output else None
        return make_report([broken], ran.exit_code, self.name) if broken else None


runner = Ctest()


def _built_and_run(project: Project, words: list[str]) -> tuple[str, ...]:
    built = [path.rpartition("/")[0] for path in project.paths if path.endswith("/CMakeCache.txt")]
    where = min(built, key=len) if built else BUILD
    folder = shlex.quote(where)
    build = f"cmake -S . -B {folder} >/dev/null && cmake --build {folder} --parallel 2"
    return (
        "sh",
        "-c",
        f"{build} && {shlex.join(['ctest', '--test-dir', where, '--output-on-failure', *words])}",
    )
