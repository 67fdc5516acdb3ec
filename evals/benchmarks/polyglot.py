"""Aider's polyglot benchmark: exercises of six languages, `LANGUAGE/exercises/practice/NAME/`.

https://github.com/Aider-AI/polyglot-benchmark. Each exercise is one of Exercism's.
"""

from __future__ import annotations

from pathlib import Path

from evals.benchmark import DatasetError
from evals.benchmarks import exercism
from evals.types import Instance

name = "polyglot"
summary = "Aider's polyglot benchmark: exercises in up to six languages"


def _tracks(source: Path) -> list[Path]:
    return [source / name for name in sorted(exercism.COMMANDS) if exercism.recognises(source / name)]


def recognises(source: Path) -> bool:
    """True for a folder with at least one language's exercises."""
    return bool(_tracks(source))


def load(source: Path | None) -> list[Instance]:
    """All exercises, sorted by language and name; ids are `LANGUAGE-NAME`."""
    tracks = _tracks(source) if source is not None else []
    if not tracks:
        raise DatasetError(f"{source}: not the polyglot benchmark, with folders such as python/exercises")
    return [task for track in tracks for task in exercism.exercises(track, f"{track.name}-", name)]
