"""Rust: the text of `cargo test`, for its JSON is of the nightly compiler alone."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from tools.runners._runner import Command, Project, Ran, Runner, Selection, broken_build, tail
from tools.testreport import Outcome, TestReport, TestResult, make_report

_BINARY = re.compile(r"^\s+(?:Running (?:unittests )?(\S+) \(.*\)|Doc-tests (\S+))$")
_TEST = re.compile(r"^test (.+?) \.\.\. (ok|FAILED|ignored)\b")
_SECTION = re.compile(
    r"^---- ([^\n]+?) stdout ----\n(.*?)(?=^---- [^\n]+ stdout ----$|^failures:$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PANIC = re.compile(
    r"^thread '.*?'(?: \(\d+\))? panicked at (?:'(.*?)', )?(\S+?):(\d+):\d+:?$\n?((?:.+\n)*)",
    re.MULTILINE | re.DOTALL,
)
_LEVEL = re.compile(r"^ +\d+: (.+)\n +at (\S+?):(\d+)(?::\d+)?$", re.MULTILINE)
_BROKEN = re.compile(r"^error(?:\[\w+\])?: (.+)\n +--> ([^\s:]+):(\d+):\d+$", re.MULTILINE)
_OUTCOMES: dict[str, Outcome] = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}


class Cargo(Runner):
    name = "cargo"
    rank = 41
    programs = frozenset({"cargo"})
    manifests = ("Cargo.toml",)
    steering = ("Cargo.toml", "config.toml")
    suffixes = (".rs",)

    def detect(self, project: Project) -> float:
        return 0.9 if project.has("Cargo.toml") else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        words = ["cargo", "test", "--no-fail-fast", *selection.options]
        for path in selection.paths:
            if path.startswith("tests/") and path.count("/") == 1:
                words += ["--test", PurePosixPath(path).stem]
            else:
                words += [word for word in ("--lib", "--bins") if word not in words]
        if selection.names:
            whole = selection.paths or all("::" in name for name in selection.names)
            words += ["--", *(["--exact"] if whole else []), *selection.names]
        return Command(tuple(words), env={"RUST_BACKTRACE": "1", "CARGO_TERM_COLOR": "never"})

    def read_text(self, ran: Ran) -> TestReport | None:
        tests: dict[str, TestResult] = {}
        where, seen = "", False
        for line in ran.output.splitlines():
            if binary := _BINARY.match(line):
                where = binary[1] or ""
            elif found := _TEST.match(line):
                name = (
                    f"{where}::{found[1]}"
                    if where.startswith("tests/")
                    else found[1].removesuffix(" - should panic")
                )
                tests[name] = TestResult(name, _OUTCOMES[found[2]])
            seen = seen or line.startswith("test result: ")
        for match in _SECTION.finditer(ran.output):
            name = next(
                (known for known in tests if known == match[1] or known.endswith(f"::{match[1]}")), match[1]
            )
            tests[name] = self._failure(name, match[2], ran)
        places = [(m[2], int(m[3]), m[1]) for m in _BROKEN.finditer(ran.output)]
        broken = broken_build(ran, places) if "could not compile" in ran.output else None
        if not seen and broken is None:
            return None
        return make_report([*tests.values(), *filter(None, [broken])], ran.exit_code, self.name)

    def _failure(self, name: str, text: str, ran: Ran) -> TestResult:
        panic = _PANIC.search(text)
        if panic is None:
            return TestResult(name, "failed", "Error", text.strip()[:500], details=tail(text))
        message = panic[1] or panic[4].partition("note: ")[0].partition("stack backtrace:")[0].strip()
        levels = [
            ran.frame(m[2], int(m[3]), m[1].partition("::")[2])
            for m in _LEVEL.finditer(text)
            if not m[1].endswith("{{closure}}")
        ]
        frames = tuple(reversed([level for level in levels if level.in_workspace]))
        if not any(frame.line == int(panic[3]) for frame in frames):
            frames = (*frames, ran.frame(panic[2], int(panic[3])))
        return TestResult(
            name, "failed", "panic", message, frames, details=tail(text.partition("stack backtrace:")[0])
        )


runner = Cargo()
