"""How projects run their tests. This folder is the registry: each module holds one `runner`, but for those
with a leading underscore, which runners share.
"""

from __future__ import annotations

import pkgutil
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import PurePosixPath

from tools.runners._runner import Command, NotSelectable, Pick, Project, Ran, Runner, Selection
from tools.testreport import TestReport

__all__ = [
    "Command", "NotSelectable", "Pick", "Project", "Ran", "Runner", "Selection",
    "candidates", "load", "owner", "parse_output", "read", "steers",
]  # fmt: skip

ENTRY_POINTS = "pawl.runners"
"""Group of the entry points by which other packages add runners; each loads to a Runner of the same name."""


@cache
def load() -> Mapping[str, Runner]:
    """All runners by name, in the order of their ranks."""
    names = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    found: list[Runner] = [import_module(f"{__name__}.{name}").runner for name in names]
    found += [point.load() for point in entry_points(group=ENTRY_POINTS)]
    return {runner.name: runner for runner in sorted(found, key=lambda runner: runner.rank)}


def candidates(project: Project) -> list[Runner]:
    """The runners that know the project, likeliest first; among equals the one with the most test files."""

    def likelihood(runner: Runner) -> tuple[float, int, int]:
        return -runner.detect(project), -len(project.tests(*runner.suffixes)), runner.rank

    return sorted((r for r in load().values() if r.detect(project) > 0), key=likelihood)


def owner(command: str | Sequence[str]) -> Runner | None:
    """The runner that a command plainly is of, by its words; None when it may be anything."""
    names = [PurePosixPath(word).name for word in _words(command)]
    for runner in load().values():
        if not runner.programs.isdisjoint(names):
            return runner
    return None


def steers(path: str, command: Sequence[str]) -> bool:
    """True when the file decides what this command's tests do, without being a test itself."""
    found = owner(command)
    return found is not None and found.steered_by(path)


def read(ran: Ran, first: Runner | None = None) -> TestReport | None:
    """The report of a run, by the first runner that recognises it; None when nobody does."""
    asked = [first, *load().values()] if first else load().values()
    return next((report for runner in asked if (report := runner.read(ran)) is not None), None)


def parse_output(output: str, exit_code: int | None, root: str) -> TestReport | None:
    """The report of a printed text alone (without control codes); None when nothing is recognised."""
    return read(Ran(output, exit_code, root))


def _words(command: str | Sequence[str]) -> list[str]:
    """The words of a command, those of a script in one of its words among them."""
    words: list[str] = []
    for part in [command] if isinstance(command, str) else command:
        try:
            words += shlex.split(part)
        except ValueError:
            words += part.split()
    return words
