"""PHPUnit: its JUnit XML, else the text."""

from __future__ import annotations

import re

from tools.runners._junit import Case, cases
from tools.runners._runner import Command, Project, Ran, Runner, Selection, tail
from tools.testreport import Frame, Outcome, TestReport, TestResult, make_report

_COUNTS = re.compile(r"^Tests: (\d+), Assertions: \d+(.*)\.$", re.MULTILINE)
_FINE = re.compile(r"^OK \((\d+) tests?, \d+ assertions?\)$", re.MULTILINE)
_PLACE = re.compile(r"(/[^\s:()]+\.php)(?::(\d+)| on line (\d+)|\((\d+)\))")
_FAILURE = re.compile(
    r"^\d+\) ([\w\\]+)::([^\n]+)$\n(.*?)(?=^\d+\) |^--$|^(?:FAILURES|ERRORS)!$|\Z)", re.MULTILINE | re.DOTALL
)
_FATAL = re.compile(
    r"^(?:PHP )?(Parse|Fatal) error: +(?:Uncaught ([\w\\]+): )?(.+?)"
    r"(?: in (/\S+?\.php)(?: on line |:)(\d+))?$",
    re.MULTILINE,
)
_CONFIGS = ("phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml")


class Phpunit(Runner):
    name = "phpunit"
    rank = 51
    programs = frozenset({"phpunit", "paratest"})
    manifests = ("composer.json",)
    steering = (*_CONFIGS, "composer.json")
    suffixes = (".php",)

    def detect(self, project: Project) -> float:
        if project.has(*_CONFIGS):
            return 0.9
        return (
            0.8
            if "phpunit/phpunit" in project.text("composer.json") or project.tests(*self.suffixes)
            else 0.0
        )

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        report = f"{out}phpunit.xml"
        words = [_program(project), "--colors=never", "--log-junit", report, *selection.options]
        if selection.names:
            names = "|".join(re.escape(name.rpartition("::")[2]) for name in selection.names)
            words += ["--filter", f"/::({names})$/"]
        return Command((*words, *(selection.paths or _where(project))), (report,))

    def usual(self, project: Project) -> tuple[str, ...]:
        return (_program(project), *_where(project))

    def read_files(self, ran: Ran) -> TestReport | None:
        found = cases(data for path, data in ran.files.items() if path.endswith("phpunit.xml"))
        return (
            make_report([self._case(case, ran) for case in found], ran.exit_code, self.name)
            if found
            else None
        )

    def _case(self, case: Case, ran: Ran) -> TestResult:
        name = f"{ran.file(case.file)}::{case.name}" if case.file else f"{case.classname}::{case.name}"
        if case.outcome not in ("failed", "error"):
            return TestResult(name, case.outcome, duration=case.seconds)
        # the first line of the text is the test's name
        return self._failure(name, case.outcome, case.text.partition("\n")[2], ran, case.kind, case.seconds)

    def _failure(
        self, name: str, outcome: Outcome, text: str, ran: Ran, kind: str = "", seconds: float = 0.0
    ) -> TestResult:
        message = text.partition("\n\n")[0].strip()
        if head := re.match(r"([\w\\]*(?:Error|Exception)): ", message):
            kind, message = kind or head[1], message[head.end() :]
        elif not kind:
            kind = "ExpectationFailedException"
        places = (ran.frame(m[1], int(m[2])) for m in _PLACE.finditer(text) if m[2])
        own = tuple(reversed([place for place in places if place.in_workspace]))
        return TestResult(
            name, outcome, kind.rpartition("\\")[2], message, own, seconds, tail(text.strip("\n"))
        )

    def read_text(self, ran: Ran) -> TestReport | None:
        if fine := _FINE.search(ran.output):
            return make_report([], ran.exit_code, self.name, {"passed": int(fine[1])})
        if counted := _COUNTS.search(ran.output):
            said = {word: int(number) for word, number in re.findall(r", (\w+): (\d+)", counted[2])}
            counts = {"failed": said.get("Failures", 0), "error": said.get("Errors", 0)}
            counts["skipped"] = said.get("Skipped", 0) + said.get("Incomplete", 0)
            counts["passed"] = int(counted[1]) - sum(counts.values())
            tests = [
                self._failure(f"{m[1]}::{m[2]}", _outcome(m.start(), ran.output), m[3], ran)
                for m in _FAILURE.finditer(ran.output)
                if _outcome(m.start(), ran.output) != "skipped"
            ]
            return make_report(tests, ran.exit_code, self.name, {k: n for k, n in counts.items() if n})
        if re.search(r"^No tests executed!$", ran.output, re.MULTILINE):
            return make_report([], ran.exit_code, self.name)
        if ran.exit_code and (fatal := _FATAL.search(ran.output)):
            frames: tuple[Frame, ...] = (ran.frame(fatal[4], int(fatal[5])),) if fatal[4] else ()
            name = ran.file(fatal[4]) if fatal[4] else "php"
            kind = fatal[2] or f"{fatal[1]}Error"
            broken = TestResult(name, "error", kind, fatal[3], frames, details=tail(ran.output))
            return make_report([broken], ran.exit_code, self.name)
        return None


runner = Phpunit()


def _program(project: Project) -> str:
    return "vendor/bin/phpunit" if "phpunit/phpunit" in project.text("composer.json") else "phpunit"


def _where(project: Project) -> tuple[str, ...]:
    """Nothing where a configuration says it."""
    if project.has(*_CONFIGS):
        return ()
    return ("tests" if any(path.startswith("tests/") for path in project.paths) else ".",)


def _outcome(at: int, text: str) -> Outcome:
    """Of a numbered entry, by the heading above it."""
    headings = re.findall(r"^There (?:was|were) \d+ (\w+?)s?(?: tests?)?:$", text[:at], re.MULTILINE)
    words: dict[str, Outcome] = {"error": "error", "failure": "failed"}
    return words.get(headings[-1], "skipped") if headings else "failed"
