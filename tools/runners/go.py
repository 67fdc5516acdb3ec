"""Go: `go test -json`, whose events stand on the output; else the plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from tools.runners._runner import Command, Project, Ran, Runner, Selection, broken_build, decoded, tail
from tools.testreport import Frame, Outcome, TestReport, TestResult, make_report

_MODULE = re.compile(r"^module\s+\"?([^\s\"]+)", re.MULTILINE)
_BROKEN = re.compile(r"^(?:vet: )?((?:\./)?[^\s:]+\.go):(\d+):(?:\d+:)? (.+)$", re.MULTILINE)
_SAID = re.compile(r"^[ \t]+([\w.-]+\.go):(\d+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_LEVEL = re.compile(r"^([\w./*()-]+?)\(.*\)\n\t(\S+\.go):(\d+)", re.MULTILINE)
_BEGINS = re.compile(r"^=== (?:RUN|NAME|CONT) +(\S+)$")
_ENDED = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)$")
_CLOSES = re.compile(r"[\d.]+s\b|\[(?:build|setup) failed\]|\[no test|\(cached\)")
_PACKAGE = re.compile(r"^(ok  |FAIL|\?   )\t(\S+)[ \t](.*)$", re.MULTILINE)
_OUTCOMES: dict[str, Outcome] = {"pass": "passed", "fail": "failed", "skip": "skipped"}


class _Event(msgspec.Struct):
    Action: str
    Package: str = ""
    Test: str = ""
    Output: str = ""
    Elapsed: float = 0.0


class Go(Runner):
    name = "go"
    rank = 40
    programs = frozenset({"go", "gotestsum"})
    manifests = ("go.mod",)
    suffixes = (".go",)
    needs_project = True

    def detect(self, project: Project) -> float:
        if not project.has("go.mod", "go.work"):
            return 0.0
        return 0.9 if project.tests(*self.suffixes) else 0.6

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        folders = {path.rpartition("/")[0] if path.endswith(".go") else path for path in selection.paths}
        where = sorted(f"./{folder}".rstrip("/") for folder in folders) or ["./..."]
        levels = [re.escape(name).replace("/", "$/^") for name in selection.names]
        only = ["-run", "|".join(f"^{level}$" for level in levels)] if levels else []
        return Command(("go", "test", "-json", *only, *selection.options, *where))

    def read_text(self, ran: Ran) -> TestReport | None:
        if events := list(_events(ran.output)):
            return self._from_events(events, ran)
        packages = _PACKAGE.findall(ran.output)
        if not any(_CLOSES.search(rest) for _, _, rest in packages):
            return None
        tests = self._from_text(ran)
        if not tests and ran.exit_code == 0:
            # without -v a package that passes names no test
            passed = sum(word == "ok  " and "no tests to run" not in rest for word, _, rest in packages)
            return make_report([], ran.exit_code, self.name, {"passed": passed} if passed else {})
        return self._report(tests, ran.output, ran)

    def _from_text(self, ran: Ran) -> list[TestResult]:
        """What stands below `=== RUN` and `--- FAIL` of a test belongs to it."""
        said: dict[str, str] = {}
        ended: dict[str, tuple[Outcome, float]] = {}
        name = ""
        for line in ran.output.splitlines(keepends=True):
            if begins := _BEGINS.match(line):
                name = begins[1]
            elif ends := _ENDED.match(line):
                name = ends[2]
                ended[name] = (_OUTCOMES[ends[1].lower()], float(ends[3]))
            elif _PACKAGE.match(line):
                name = ""
            elif name:
                said[name] = said.get(name, "") + line
        leaves = {name for name in ended if not any(other.startswith(f"{name}/") for other in ended)}
        return [
            self._test(f".::{name}", outcome, seconds, said.get(name, ""), ".", ran)
            for name, (outcome, seconds) in ended.items()
            if name in leaves
        ]

    def _from_events(self, events: list[_Event], ran: Ran) -> TestReport:
        module = _MODULE.search(ran.project.text("go.mod"))
        prefix = module[1] if module else ""
        said: dict[tuple[str, str], str] = {}
        ended: dict[tuple[str, str], _Event] = {}
        for event in events:
            key = (event.Package, event.Test)
            if event.Action == "output":
                said[key] = said.get(key, "") + event.Output
            elif event.Action in _OUTCOMES and event.Test:
                ended[key] = event
        began = {key for key in said if key[1] and key not in ended}
        tests = []
        for key in [*ended, *began]:
            package, test = key
            if any(other != test and other.startswith(f"{test}/") for p, other in ended if p == package):
                continue  # a test with tests in it ends as they do
            folder = package.removeprefix(prefix).strip("/") or "."
            event = ended.get(key, _Event("fail"))
            text = said.get(key, "") + ("" if key in ended else said.get((package, ""), ""))
            tests.append(
                self._test(f"{folder}::{test}", _OUTCOMES[event.Action], event.Elapsed, text, folder, ran)
            )
        printed = "\n".join(line for line in ran.output.splitlines() if not line.startswith('{"'))
        return self._report(tests, printed + "\n" + "".join(said.values()), ran)

    def _report(self, tests: list[TestResult], text: str, ran: Ran) -> TestReport:
        if ran.exit_code and ("[build failed]" in text or "[setup failed]" in text or not tests):
            plain = msgspec.structs.replace(ran, output=text)
            places = [(m[1], int(m[2]), m[3]) for m in _BROKEN.finditer(text)]
            tests += filter(None, [broken_build(plain, places)])
        return make_report(tests, ran.exit_code, self.name)

    def _test(
        self, name: str, outcome: Outcome, seconds: float, text: str, folder: str, ran: Ran
    ) -> TestResult:
        if outcome != "failed":
            return TestResult(name, outcome, duration=seconds)
        exception, message, frames = "", "", []
        if panic := re.search(r"^panic: (.+?)(?: \[recovered\].*)?$", text, re.MULTILINE):
            exception, message = "panic", panic[1]
            frames = [self._level(m, ran) for m in _LEVEL.finditer(text)]
            frames = [f for f in reversed(frames) if f.in_workspace]
        elif said := _SAID.search(text):
            path = f"{folder}/{said[1]}" if folder != "." else ran.project.ending(said[1]) or said[1]
            message, frames = said[3].strip(), [ran.frame(path, int(said[2]), name.rpartition("::")[2])]
        body = "".join(
            line for line in text.splitlines(keepends=True) if not line.startswith(("=== ", "FAIL\t"))
        )
        return TestResult(name, outcome, exception, message, tuple(frames), seconds, tail(body))

    def _level(self, match: re.Match[str], ran: Ran) -> Frame:
        return ran.frame(match[2], int(match[3]), match[1].rpartition("/")[2].partition(".")[2])


runner = Go()


def _events(text: str) -> Iterator[_Event]:
    for line in text.splitlines():
        if line.startswith('{"') and (event := decoded(line, _Event)) is not None:
            yield event
