"""Packages that a project's tests import and its own files name, but its installation does not bring. Pure.

A dataset says `pip install -e . pytest`, and the tests of one of its commits import `dateutil`, which
`tests/requirements.txt` lists. Only what a file of the tree names is ever asked for. What
a test file can do without is wanted too: its tests would skip. What the code can do without is not: the code
may do other things with it, and the installation decided.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from tools.testreport import is_test_path

_LISTS = re.compile(
    r"(^|/)([\w.-]*requirements[\w./-]*\.(txt|in)|tox\.ini|setup\.(cfg|py)|pyproject\.toml|Pipfile)$"
)
_WORD = re.compile(r"(?<![\w./-])([A-Za-z][\w.-]*[A-Za-z0-9])")
_FORMS = ("{}", "python-{}", "py{}", "{}-python", "pytest-{}", "types-{}")
MOST_FILES = 400


def of_interest(paths: Iterable[str]) -> list[str]:
    """The files that `wanted` is to look at: lists of packages first, then tests."""
    chosen = [path for path in paths if _LISTS.search(path) or (path.endswith(".py") and is_test_path(path))]
    return sorted(chosen, key=lambda path: not _LISTS.search(path))[:MOST_FILES]


def wanted(files: Mapping[str, bytes], paths: Iterable[str]) -> dict[str, str]:
    """Module -> distribution. `files` are those of interest, `paths` all of the tree."""
    own = {part.removesuffix(".py") for path in paths for part in PurePosixPath(path).parts}
    modules: dict[str, None] = {}
    named: dict[str, str] = {}
    for path, data in files.items():
        text = data.decode("utf-8", "replace")
        if _LISTS.search(path):
            named |= {_normal(word): word for word in _WORD.findall(text)}
        else:
            modules |= dict.fromkeys(_imports(text))
    found = {}
    for module in modules:
        if module in sys.stdlib_module_names or module in own:
            continue
        for form in _FORMS:
            if (name := _normal(form.format(module))) in named:
                found[module] = named[name]
                break
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(text: str) -> list[str]:
    """The packages that a module imports as it is loaded, those in a `try` included."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    optional = [inner for node in body if isinstance(node, ast.Try) for inner in node.body]
    found = []
    for node in [*body, *optional]:
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module.partition(".")[0])
    return found
