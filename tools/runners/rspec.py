"""RSpec: its JSON, else the text."""

from __future__ import annotations

import re

import msgspec

from tools.runners._runner import Command, Project, Ran, Runner, Selection, decoded, tail
from tools.testreport import Frame, Outcome, TestReport, TestResult, make_report

_COUNT = re.compile(
    r"^(\d+) examples?, (\d+) failures?(?:, (\d+) pending)?"
    r"(?:, (\d+) errors? occurred outside of examples)?$",
    re.MULTILINE,
)
_FAILURE = re.compile(
    r"^  \d+\) ([^\n]+)$\n     Failure/Error: (.*?)(?=^  \d+\) |^Finished in |\Z)", re.MULTILINE | re.DOTALL
)
_OUTSIDE = re.compile(
    r"^An error occurred while loading (\S+?)\.?$\n(.*?)(?=^An error occurred|^Finished in |\Z)",
    re.MULTILINE | re.DOTALL,
)
_LEVEL = re.compile(
    r"(?:^|\s)(?:# )?((?:\./|/)[^\s:]+\.rb):(\d+)(?::in [`'](?:block (?:\(.*?\) )?in )?(.+?)')?", re.MULTILINE
)
_OUTCOMES: dict[str, Outcome] = {"passed": "passed", "failed": "failed"}


class _Exception(msgspec.Struct):
    name: str = msgspec.field(name="class", default="")
    message: str = ""
    backtrace: list[str] | None = None


class _Example(msgspec.Struct):
    full_description: str
    status: str
    file_path: str = ""
    run_time: float | None = 0.0
    exception: _Exception | None = None


class _Run(msgspec.Struct):
    examples: list[_Example]
    messages: list[str] = []


class Rspec(Runner):
    name = "rspec"
    rank = 50
    programs = frozenset({"rspec"})
    manifests = ("Gemfile",)
    steering = (".rspec", ".rspec-local", "Rakefile")
    suffixes = (".rb",)

    def detect(self, project: Project) -> float:
        if project.has(".rspec", "spec/spec_helper.rb"):
            return 0.9
        return (
            0.8
            if any(path.startswith("spec/") and path.endswith("_spec.rb") for path in project.paths)
            else 0.0
        )

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        report = f"{out}rspec.json"
        bundled = "rspec" in project.text("Gemfile")
        words = [*(["bundle", "exec"] if bundled else []), "rspec", "--no-color"]
        words += [
            "--format",
            "progress",
            "--format",
            "json",
            "--out",
            report,
            *selection.options,
            *selection.paths,
        ]
        for name in selection.names:
            words += ["--example", name]
        return Command(tuple(words), (report,))

    def usual(self, project: Project) -> tuple[str, ...]:
        return (*(["bundle", "exec"] if "rspec" in project.text("Gemfile") else []), "rspec")

    def read_files(self, ran: Ran) -> TestReport | None:
        for data in ran.files.values():
            if (run := decoded(data, _Run)) is None:
                continue
            tests = [self._example(example, ran) for example in run.examples]
            tests += self._outside("\n".join(run.messages), ran)
            return make_report(tests, ran.exit_code, self.name)
        return None

    def _example(self, example: _Example, ran: Ran) -> TestResult:
        name = f"{ran.file(example.file_path)}::{example.full_description}"
        outcome, seconds, error = (
            _OUTCOMES.get(example.status, "skipped"),
            example.run_time or 0.0,
            example.exception,
        )
        if outcome != "failed" or error is None:
            return TestResult(name, outcome, duration=seconds)
        frames = _frames("\n".join(error.backtrace or ()), ran)
        return TestResult(
            name, outcome, error.name, error.message.strip(), frames, seconds, tail(error.message.strip("\n"))
        )

    def _outside(self, text: str, ran: Ran) -> list[TestResult]:
        """Files that cannot be loaded."""
        return [self._failure(ran.file(m[1]), "error", m[2], ran) for m in _OUTSIDE.finditer(text)]

    def _failure(self, name: str, outcome: Outcome, text: str, ran: Ran) -> TestResult:
        kind = re.search(r"^[ \t]*([\w:]*(?:Error|Exception)\w*):$\n?(.*(?:\n +.*)?)", text, re.MULTILINE)
        message = (
            kind[2].strip()
            if kind
            else text.partition("\n\n")[2].partition("\n     #")[0].strip() or text.strip()
        )
        return TestResult(
            name, outcome, kind[1] if kind else "", message, _frames(text, ran), details=tail(text)
        )

    def read_text(self, ran: Ran) -> TestReport | None:
        count = _COUNT.search(ran.output)
        if count is None:
            return None
        run, failed, pending, errors = (int(number or 0) for number in count.groups())
        counts = {"failed": failed, "error": errors, "skipped": pending, "passed": run - failed - pending}
        failures = ran.output.partition("\nFailures:\n")[2]
        tests = [self._failure(m[1], "failed", m[2], ran) for m in _FAILURE.finditer(failures)]
        tests += self._outside(ran.output, ran)
        return make_report(tests, ran.exit_code, self.name, {k: n for k, n in counts.items() if n})


runner = Rspec()


def _frames(text: str, ran: Ran) -> tuple[Frame, ...]:
    levels = [ran.frame(m[1], int(m[2]), m[3] or "") for m in _LEVEL.finditer(text)]
    return tuple(reversed([level for level in levels if level.in_workspace]))
