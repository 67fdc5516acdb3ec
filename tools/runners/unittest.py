"""unittest of Python's standard library; `--locals` makes it print values."""

from __future__ import annotations

import re

from tools.runners._python import traceback
from tools.runners._runner import Command, NotSelectable, Pick, Project, Ran, Runner, Selection, tail
from tools.testreport import Outcome, TestReport, TestResult, make_report

_IMPORTED = re.compile(r"^[ \t]*(?:import|from) unittest\b", re.MULTILINE)
_FOLDERS = ("tests", "test")


class Unittest(Runner):
    name = "unittest"
    rank = 11
    programs = frozenset({"unittest"})
    suffixes = (".py",)

    def detect(self, project: Project) -> float:
        written = [text for path, text in project.texts.items() if path.endswith(".py")]
        return 0.7 if any(_IMPORTED.search(text) for text in written) else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        words = ("python", "-m", "unittest")
        options = ("-v", "--locals", *selection.options)
        if selection.picks:
            return Command((*words, *options, *map(_dotted, selection.picks)))
        # discovery looks into packages only
        apart = [
            folder for folder in _FOLDERS if any(path.startswith(f"{folder}/test") for path in project.paths)
        ]
        where: tuple[str, ...] = ("-s", apart[0], "-t", ".") if apart else ()
        if apart and not project.has(f"{apart[0]}/__init__.py"):
            where = ("-s", apart[0])
        return Command((*words, "discover", *where, *options))

    def read_text(self, ran: Ran) -> TestReport | None:
        return _read_text(ran)


runner = Unittest()


def _dotted(pick: Pick) -> str:
    if not pick.path:
        return pick.name
    if not pick.path.endswith(".py"):
        raise NotSelectable(f"unittest runs modules, not the folder {pick.path}; name one of its files")
    return ".".join(
        filter(None, [pick.path.removesuffix(".py").replace("/", "."), pick.name.replace("::", ".")])
    )


_UNITTEST = re.compile(
    r"^={70}\n(FAIL|ERROR): (\S+)(?: \(([^)\n]*)\))?([^\n]*)\n(.*?)(?=^={70}$|^-{70}\nRan )",
    re.MULTILINE | re.DOTALL,
)
_RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s$", re.MULTILINE)


def _read_text(ran: Ran) -> TestReport | None:
    output, exit_code = ran.output, ran.exit_code
    endings = list(_RAN.finditer(output))
    if not endings:
        return None
    tests = []
    for match in _UNITTEST.finditer(output):
        scope = match[3] or ""
        name = scope if scope.endswith("." + match[2]) else f"{scope}.{match[2]}".strip(".")
        if "_FailedTest" in scope:
            name = match[2]
        exception, message, frames = traceback(match[5], ran) or ("", "", ())
        outcome: Outcome = "failed" if match[1] == "FAIL" else "error"
        tests.append(
            TestResult(name + match[4].strip(), outcome, exception, message, frames, details=tail(match[5]))
        )
    closing = output[endings[-1].end() :]
    numbers = {word: int(number) for word, number in re.findall(r"(failures|errors|skipped)=(\d+)", closing)}
    bad = {
        "failed": numbers.get("failures", 0),
        "error": numbers.get("errors", 0),
        "skipped": numbers.get("skipped", 0),
    }
    total = sum(int(match[1]) for match in endings)
    counts = {"passed": max(total - sum(bad.values()), 0), **bad}
    return make_report(tests, exit_code, "unittest", {key: n for key, n in counts.items() if n})
