"""What a benchmark is: a file of `evals/benchmarks/` that turns a dataset into instances."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Protocol, cast

from evals import benchmarks
from evals.types import Instance


class DatasetError(Exception):
    """A dataset cannot be read. The text names the file, the line and the field. Exit code 2."""

    exit_code = 2


class Benchmark(Protocol):
    """What each file of `evals/benchmarks/` offers, as a module."""

    name: str
    summary: str
    """One line for `pawl eval list`."""

    def recognises(self, source: Path) -> bool:
        """True when `source` looks like a dataset of this kind."""
        ...

    def load(self, source: Path | None) -> list[Instance]:
        """The instances of a dataset, in its order; None is the one that ships, where one does.

        Ids are unique and the same each time. Nothing of the dataset is run. Raises DatasetError.
        """
        ...


def known_benchmarks() -> list[str]:
    """Names of all benchmarks, found by listing the folder."""
    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))


def load_benchmark(name: str) -> Benchmark:
    """The benchmark's module, imported only now. Raises DatasetError with the names that there are."""
    if name not in known_benchmarks():
        raise DatasetError(f"no benchmark is called {name!r}; there are {', '.join(known_benchmarks())}")
    return cast(Benchmark, importlib.import_module(f"evals.benchmarks.{name}"))
