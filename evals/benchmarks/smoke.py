"""A few tiny tasks that ship with pawl: does everything work, offline, within a minute?"""

from __future__ import annotations

from pathlib import Path

from evals.benchmark import DatasetError
from evals.benchmarks import folder
from evals.types import Instance

name = "smoke"
summary = "Five tiny Python tasks that ship with pawl and need nothing but pytest"

PLACE = Path(__file__).resolve().parent.parent / "smoke"


def recognises(source: Path) -> bool:
    """True for the folder that ships alone."""
    return source.resolve() == PLACE


def load(source: Path | None) -> list[Instance]:
    """The shipped tasks; there are no others."""
    if source is not None and not recognises(source):
        raise DatasetError("smoke takes no dataset: its tasks ship with pawl")
    return folder.load_tasks(PLACE, name)
