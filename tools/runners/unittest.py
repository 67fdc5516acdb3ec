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
        sought = [pick.name for pick in selection.picks if _is_of_a_test(pick, project)]
        if selection.picks and len(sought) < len(selection.picks):
            return Command((*words, *options, *map(_dotted, selection.picks)))
        # discovery looks into packages only
        apart = [
            folder for folder in _FOLDERS if any(path.startswith(f"{folder}/test") for path in project.paths)
        ]
        where: tuple[str, ...] = ("-s", apart[0], "-t", ".") if apart else ()
        if apart and not project.has(f"{apart[0]}/__init__.py"):
            where = ("-s", apart[0])
        return Command((*words, "discover", *where, *options, *(f"-k={name}" for name in sought)))

    def read_text(self, ran: Ran) -> TestReport | None:
        return _read_text(ran)


runner = Unittest()


def _is_of_a_test(pick: Pick, project: Project) -> bool:
    """Whether it is the name of a test alone, which the loader cannot import."""
    return not pick.path and pick.name.isidentifier() and not project.has(f"{pick.name}.py")


def _dotted(pick: Pick) -> str:
    if not pick.path:
        return pick.name
    if not pick.path.endswith(".py"):
        raise NotSelectable(f"unittest runs modules, not the folder {pick.path}; name one of its files")
    return ".".join(
        filter(None, [pick.path.removesuffix(".py").replace("/", "."), pick.name.replace("::", ".")])
    )


def _id(name: str, scope: str) -> str:
    """Since Python 3.11 the scope has the name in it."""
    return scope if scope.endswith("." + name) else f"{scope}.{name}".strip(".")


_UNITTEST = re.compile(
    r"^={70}\n(FAIL|ERROR): (\S+)(?: \(([^)\n]*)\))?([^\n]*)\n(.*?)(?=^={70}$|^-{70}\nRan )",
    re.MULTILINE | re.DOTALL,
)
_UNEXPECTED = re.compile(r"^(\w+) \(([\w.]+)\)(?:\n[^\n]*)? \.\.\. unexpected success$", re.MULTILINE)
_NUMBERS = re.compile(r"[(,] ?((?:expected )?failures|errors|skipped|unexpected successes)=(\d+)")
_RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s$", re.MULTILINE)


def _read_text(ran: Ran) -> TestReport | None:
    output, exit_code = ran.output, ran.exit_code
    endings = list(_RAN.finditer(output))
    if not endings:
        return None
    tests = []
    for match in _UNITTEST.finditer(output):
        scope = match[3] or ""
        name = match[2] if "_FailedTest" in scope else _id(match[2], scope)
        exception, message, frames = traceback(match[5], ran) or ("", "", ())
        outcome: Outcome = "failed" if match[1] == "FAIL" else "error"
        tests.append(
            TestResult(name + match[4].strip(), outcome, exception, message, frames, details=tail(match[5]))
        )
    told = "it is expected to fail, and passes"
    tests += [
        TestResult(_id(match[1], match[2]), "failed", message=told) for match in _UNEXPECTED.finditer(output)
    ]
    closing = output[endings[-1].end() :]
    numbers = {word: int(number) for word, number in _NUMBERS.findall(closing)}
    bad = {
        "failed": numbers.get("failures", 0) + numbers.get("unexpected successes", 0),
        "error": numbers.get("errors", 0),
        "skipped": numbers.get("skipped", 0) + numbers.get("expected failures", 0),
    }
    total = sum(int(match[1]) for match in endings)
    counts = {"passed": max(total - sum(bad.values()), 0), **bad}
    return make_report(tests, exit_code, "unittest", {key: n for key, n in counts.items() if n})
