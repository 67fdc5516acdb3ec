"""Stacks of the Java virtual machine, and what its two builders share. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from tools.runners._junit import Case, cases
from tools.runners._runner import Pick, Project, Ran, broken_build, tail
from tools.testreport import Frame, TestReport, TestResult, is_test_path, make_report

SUFFIXES = (".java", ".kt", ".groovy", ".scala")

_LEVEL = re.compile(
    r"^[ \t]*at (?:[\w.@-]*/{1,2})?([\w.$]+)\.([\w$<>]+)\(([\w-]+\.\w+):(\d+)\)", re.MULTILINE
)
_AT = re.compile(r"^[ \t]*(?:at |\.\.\. \d+ more)")
_LEVELS = 300
"""Of one exception; a deeper stack is a recursion, of which the inner end is enough."""
_CAUSE = re.compile(r"^Caused by: ", re.MULTILINE)
_BROKEN = (
    re.compile(r"^\[ERROR\] (?:file://)?(/\S+?\.\w+):\[(\d+),\d+\] (.+)$", re.MULTILINE),
    re.compile(
        r"^(?:e: )?(?:file://)?(/\S+?\.(?:java|kt|groovy|scala)):(\d+):(?:\d+:?)? (?:error: )?(.+)$",
        re.MULTILINE,
    ),
)


def stack(text: str, ran: Ran) -> tuple[Frame, ...]:
    """Levels of the project's own classes, outermost first, each cause behind what it caused."""
    frames: list[Frame] = []
    for part in _CAUSE.split(text):
        levels = [
            ran.frame(path, int(match[4]), f"{match[1].rpartition('.')[2]}.{match[2]}")
            for match in islice(_LEVEL.finditer(part), _LEVELS)
            if (path := _source(match[1], match[3], ran.project))
        ]
        frames += reversed(levels)
    return tuple(frames)


def _source(name: str, file: str, project: Project) -> str:
    folders = name.split(".")[:-1]
    return project.ending("/".join([*folders, file]))


def read_reports(ran: Ran, runner: str) -> TestReport | None:
    """The report of surefire's or gradle's XML, with a compiler's errors of the text."""
    found = cases(data for path, data in ran.files.items() if path.endswith(".xml"))
    broken = compile_error(ran)
    if found is None and broken is None:
        return None
    tests = [_test(case, ran) for case in found or ()]
    return make_report([*tests, *filter(None, [broken])], ran.exit_code, runner)


def _test(case: Case, ran: Ran) -> TestResult:
    name = f"{case.classname}.{case.name.removesuffix('()')}"
    if case.outcome not in ("failed", "error"):
        return TestResult(name, case.outcome, duration=case.seconds)
    text = case.text or case.message
    head = text.partition("\n")[0].removeprefix(case.kind).lstrip(": ")
    kind = case.kind.rpartition(".")[2]
    message = case.message.removeprefix(case.kind).lstrip(": ") or head
    return TestResult(name, case.outcome, kind, message, stack(text, ran), case.seconds, _own(text, ran))


def _own(text: str, ran: Ran) -> str:
    """The stack without the levels of the machine and of libraries."""
    lines = text.splitlines(keepends=True)[:_LEVELS]
    return tail("".join(line for line in lines if not _AT.match(line) or stack(line, ran)))


def compile_error(ran: Ran) -> TestResult | None:
    return broken_build(ran, ((m[1], int(m[2]), m[3]) for rule in _BROKEN for m in rule.finditer(ran.output)))


def has_tests(project: Project) -> bool:
    return any(is_test_path(path) and path.endswith(SUFFIXES) for path in project.paths)


def classes(picks: Iterable[Pick], method: str) -> list[str]:
    """`Class`, or `Class` + `method` + name, for each pick; of a folder all classes of its package."""
    found = []
    for pick in picks:
        inside = re.sub(r"^.*?src/\w+/(?:java|kotlin|groovy|scala)/", "", pick.path)
        name = re.sub(r"\.\w+$", "", inside).replace("/", ".") if pick.path.endswith(SUFFIXES) else ""
        if pick.path and not name:
            name = f"{inside.strip('/').replace('/', '.')}.*"
        if pick.name and not name:
            name, _, last = pick.name.replace("#", ".").rpartition(".")
            known, last = (f"{name}.{last}", "") if last[:1].isupper() else (name, last)
            found.append(f"{known}{method}{last}".removesuffix(method) if last else known)
        else:
            found.append(f"{name}{method}{pick.name}" if pick.name else name)
    return found
