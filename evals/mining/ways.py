"""How a repository is installed and tested, by what lies at its top. A further way is one entry. Pure.

A way that is not known is said with `--install` and `--test-cmd`: any command will do whose runner names its
tests (`tools/testparse.py`), or is pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from evals.benchmark import DatasetError
from tools.testreport import is_test_path

_PYTEST = (
    "python -m pytest -rA -q --tb=short --no-header -p no:cacheprovider "
    "--continue-on-collection-errors --color=no"
)


class Way(msgspec.Struct, frozen=True):
    """Shell commands; `install` may be empty."""

    install: str
    test: str


class _Known(NamedTuple):
    markers: frozenset[str]
    """Files at the top, one of which shows that this is the way."""
    install: str
    test: Callable[[Sequence[str]], str]
    """The command, from the paths of all files."""


def _pytest(paths: Sequence[str]) -> str:
    """With the folders of tests where there are some, so that benchmarks and examples are not collected."""
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    named: list[str] = [name for name in ("tests", "test") if name in tops]
    if not named:  # pytest does not find `test.py` by itself
        named += [path for path in ("test.py", "tests.py") if path in paths]
    if not named:
        inner = {path.partition("/")[0] for path in paths if path.endswith(".py") and is_test_path(path)}
        named = sorted(top for top in inner if not top.endswith(".py"))
    return " ".join([_PYTEST, *named])


_WAYS = (_Known(frozenset({"pyproject.toml", "setup.py", "setup.cfg"}), "pip install -e . pytest", _pytest),)


def way_of(paths: Sequence[str], install: str | None, test: str | None) -> Way:
    """The way for a tree with these files; what is given wins. Raises DatasetError when none is known."""
    tops = frozenset(path for path in paths if "/" not in path)
    known = next((way for way in _WAYS if way.markers & tops), None)
    if known is None and test is None:
        raise DatasetError(
            "how this repository is tested is not known: say it with --test-cmd, and what that needs with "
            "--install"
        )
    made = Way(known.install, known.test(paths)) if known else Way("", "")
    return Way(made.install if install is None else install, made.test if test is None else test)
