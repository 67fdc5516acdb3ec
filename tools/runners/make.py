"""`make test` or `make check`: what it runs prints for itself; a compiler's errors are read here."""

from __future__ import annotations

import re

from tools.runners._c import compile_errors
from tools.runners._runner import Command, NotSelectable, Project, Ran, Runner, Selection, broken_build
from tools.testreport import TestReport, make_report

_FILES = ("GNUmakefile", "makefile", "Makefile")


class Make(Runner):
    name = "make"
    rank = 90
    programs = frozenset({"make", "gmake"})
    manifests = _FILES
    steering = (*_FILES, "*.mk")

    def detect(self, project: Project) -> float:
        return 0.3 if _target(project) else 0.0

    def command(self, project: Project, selection: Selection, out: str) -> Command:
        if selection.picks:
            raise NotSelectable(f"`make {_target(project)}` runs all tests; leave the selection empty")
        return Command(("make", _target(project), *selection.options))

    def read_text(self, ran: Ran) -> TestReport | None:
        if not re.search(r"^g?make(\[\d+\])?: \*\*\* \[", ran.output, re.MULTILINE):
            return None
        broken = broken_build(ran, compile_errors(ran.output))
        return make_report([broken], ran.exit_code, self.name) if broken else None


runner = Make()


def _target(project: Project) -> str:
    text = project.text(*_FILES)
    return next(
        (name for name in ("test", "check", "tests") if re.search(rf"^{name}\s*:(?!=)", text, re.MULTILINE)),
        "",
    )
