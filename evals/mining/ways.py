"""How a repository is installed and tested, by what lies in it. Pure.

Python projects are tested by pytest, whose results the grading plugin signs; all others by the likeliest of
`tools/runners/`, with the report that it writes. What is not known is said with `--install` and `--test-cmd`.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Sequence

import msgspec

from evals.benchmark import DatasetError
from tools.runners import Project, Selection, candidates, owner
from tools.testplan import OUT
from tools.testreport import is_test_path

_PYTEST = (
    "python -m pytest -rA -q --tb=short --no-header -p no:cacheprovider "
    "--continue-on-collection-errors --color=no"
)
_PYTHONS = frozenset({"pytest", "unittest", "tox", "nox", "python"})
"""Runners whose tests pytest runs as well."""
_ANYTHING = frozenset({"make", "tap"})
"""Runners that say nothing of the language."""
_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg")
"""Files at the top of a Python project that can be installed."""


class Way(msgspec.Struct, frozen=True):
    """Shell commands; `install` may be empty."""

    install: str
    test: str
    runner: str = ""
    """A name of `tools/runners/`; "" for pytest, and for whoever recognises what the command prints."""
    reports: tuple[str, ...] = ()
    """Absolute paths of what the test command writes."""

    @property
    def columns(self) -> dict[str, object]:
        """What a row's `extra` says of it."""
        told: dict[str, object] = {"install": self.install, "test_cmd": self.test}
        return told | ({"runner": self.runner, "reports": list(self.reports)} if self.runner else {})


def way_of(project: Project, install: str | None, test: str | None) -> Way:
    """The way for a project; what is given wins. Raises DatasetError when none is known."""
    fetch = _fetch(project) if install is None else install
    if test is not None:
        by = owner(test)
        return Way(fetch, test, by.name if by is not None and by.name not in _PYTHONS else "")
    if _is_python(project):
        return Way(fetch, _pytest(project))
    runner = next(iter(candidates(project)), None)
    if runner is None:
        raise DatasetError(
            "how this repository is tested is not known: say it with --test-cmd, and what that needs with "
            "--install"
        )
    command = runner.command(project, Selection(), OUT.format("graded"))
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in command.env.items())
    line = f"export {variables}; {command.text}" if variables else command.text
    return Way(fetch, line, runner.name, tuple(path for path in command.reports if path.startswith("/")))


def _is_python(project: Project) -> bool:
    likely = next((runner.name for runner in candidates(project) if runner.name not in _ANYTHING), "")
    return likely in _PYTHONS or (not likely and project.has(*_MARKERS))


def _pytest(project: Project) -> str:
    """With the folders of tests where there are some, so that benchmarks and examples are not collected."""
    paths = project.paths
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    named: list[str] = [name for name in ("tests", "test") if name in tops]
    if not named:  # pytest does not find `test.py` by itself
        named += [path for path in ("test.py", "tests.py") if path in paths]
    if not named:
        inner = {path.partition("/")[0] for path in paths if path.endswith(".py") and is_test_path(path)}
        named = sorted(top for top in inner if not top.endswith(".py"))
    return " ".join([_PYTEST, *named])


def _fetch(project: Project) -> str:
    """What fetches the dependencies; "" when the project has none."""
    if _is_python(project):
        return "pip install -e . pytest" if project.has(*_MARKERS) else "pip install pytest"
    return next((command for has, command in _FETCH if has(project)), "")


def _npm(project: Project) -> bool:
    return bool(re.search(r'"(dev)?[dD]ependencies"\s*:\s*{\s*"', project.text("package.json")))


def _crates(project: Project) -> bool:
    try:
        manifest = tomllib.loads(project.text("Cargo.toml"))
    except tomllib.TOMLDecodeError:
        return False
    return any(manifest.get(name) for name in ("dependencies", "dev-dependencies", "workspace"))


def _modules(project: Project) -> bool:
    return bool(re.search(r"^require\b", project.text("go.mod"), re.MULTILINE))


_FETCH: Sequence[tuple[Callable[[Project], bool], str]] = (
    (lambda project: _npm(project) and project.has("package-lock.json"), "npm ci"),
    (_npm, "npm install"),
    (_crates, "cargo fetch"),
    (_modules, "go mod download"),
    # what the tests need is known to Maven only once they run
    (lambda project: project.has("pom.xml"), "mvn --batch-mode test -Dmaven.test.failure.ignore=true"),
    (lambda project: project.has("Gemfile"), "bundle install"),
    (lambda project: project.has("composer.json"), "composer install --no-interaction"),
)
