"""Which tests a change touches, by what files import. Pure.

Python is read by its syntax tree, JavaScript and TypeScript by a scan for imports. For other languages, and
for files that cannot be parsed, tests count that lie beside the file or carry its name.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from tools.testreport import is_test_path

PYTHON = (".py",)
JAVASCRIPT = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts", ".vue", ".svelte")
_ROOTS = ("", "src", "lib")
_IMPORT = re.compile(
    r"""(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*|\bmock\s*\(\s*)["']([^"'\n]{1,300})["']"""
)
_NAMING = re.compile(r"(^test[_-]?|[._-]?(test|tests|spec|it)$)", re.IGNORECASE)


def has_imports(path: str) -> bool:
    """True for files whose imports are read."""
    return path.endswith((*PYTHON, *JAVASCRIPT))


def touched(changed: Iterable[str], sources: Mapping[str, str], paths: Iterable[str]) -> list[str]:
    """The tests among `paths` that use one of the changed files, directly or by what they import; sorted.

    A changed test touches itself. `sources` are the texts of the files that have imports, deleted ones left
    out; all paths are relative to one folder.
    """
    known = sorted({*paths, *sources})
    tests = [path for path in known if is_test_path(path) and _is_code(path)]
    importers: dict[str, set[str]] = {}
    present = {*known, *changed}
    for path, text in sources.items():
        for used in _uses(path, text, present):
            importers.setdefault(used, set()).add(path)
    found: set[str] = set()
    pending = list(changed)
    found.update(test for path in pending if not has_imports(path) for test in _beside(path, tests))
    reached = set(pending)
    while pending:
        path = pending.pop()
        more = importers.get(path, set()) - reached
        reached |= more
        pending += more
    return sorted(found | (reached & set(tests)))


def _is_code(path: str) -> bool:
    name = PurePosixPath(path).name
    return name not in ("conftest.py", "__init__.py") and name.count(".") > 0


def _beside(path: str, tests: Iterable[str]) -> list[str]:
    """Tests that carry the file's name; where there are none, those of its folder."""
    if is_test_path(path):
        return [test for test in tests if test == path]
    stem, suffix = PurePosixPath(path).stem.lower(), PurePosixPath(path).suffix
    alike = [test for test in tests if test.endswith(suffix)]
    named = [test for test in alike if _NAMING.sub("", PurePosixPath(test).stem).lower() == stem]
    return named or [test for test in alike if posixpath.dirname(test) == posixpath.dirname(path)]


def _uses(path: str, text: str, known: set[str]) -> Iterator[str]:
    """The files of the project that this one loads."""
    if path.endswith(PYTHON):
        yield from _python(path, text, known)
    elif path.endswith(JAVASCRIPT):
        for name in _IMPORT.findall(text):
            if found := _javascript(path, name, known):
                yield found


def _python(path: str, text: str, known: set[str]) -> Iterator[str]:
    folder = posixpath.dirname(path)
    if is_test_path(path):
        for above in (folder, *map(str, PurePosixPath(folder).parents)):
            if (conftest := posixpath.normpath(posixpath.join(above, "conftest.py"))) in known:
                yield conftest
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(alias.name, (*_ROOTS, folder), known)
        elif isinstance(node, ast.ImportFrom):
            roots: tuple[str, ...] = (*_ROOTS, folder)
            if node.level:
                roots = (posixpath.normpath(posixpath.join(folder, *[".."] * (node.level - 1))),)
            for alias in node.names:
                yield from _modules(".".join(filter(None, [node.module, alias.name])), roots, known)


def _modules(name: str, roots: Iterable[str], known: set[str]) -> Iterator[str]:
    """The files that importing a dotted name runs: its own, and those of the packages above it."""
    parts = name.split(".")
    for root in roots:
        for length in range(len(parts) + 1):
            stem = posixpath.normpath(posixpath.join(root, *parts[:length]))
            for path in ([f"{stem}.py"] if length else []) + [posixpath.normpath(f"{stem}/__init__.py")]:
                if path in known and (length or root not in _ROOTS):
                    yield path


def _javascript(path: str, name: str, known: set[str]) -> str:
    """The file that an import means; `@/` and `~/` are the usual names of the source folder."""
    if name.startswith("."):
        stems = [posixpath.normpath(posixpath.join(posixpath.dirname(path), name))]
    elif name.startswith(("@/", "~/")):
        stems = [posixpath.normpath(root + name[1:]) for root in ("src", ".")]
    else:
        return ""
    for stem in stems:
        plain = re.sub(r"\.[cm]?jsx?$", "", stem)
        forms = [stem, *(base + end for base in (stem, plain) for end in JAVASCRIPT)]
        forms += [f"{stem}/index{end}" for end in JAVASCRIPT]
        if found := next((form for form in forms if form in known), ""):
            return found
    return ""
