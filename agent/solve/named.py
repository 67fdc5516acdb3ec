"""Which functions a request speaks of by name. Pure.

A small model cannot search, but it can rewrite what it is shown. So what the person names is shown to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tools import words
from tools.localize import Suspect
from tools.syntax import Symbol, language_of, symbols
from tools.testreport import is_test_path

MOST = 8
"""Functions. A request that names more is too wide to be answered by rewriting them."""
MOST_BYTES = 12_000
"""Of these functions together: about 4,000 tokens, which a small model reads in a minute or two."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_QUOTED = re.compile(r"`([^`\n]+)`")
_CALLED = re.compile(r"([A-Za-z_]\w*)\(")


def named(request: str, sources: Mapping[str, bytes]) -> tuple[Suspect, ...]:
    """The Python functions that the request means; empty when it names none, or too much.

    In a file that it names: the functions and the classes (all their methods) of which it has the name, else
    all of the file. Without a file: those whose name is written as code, in backticks, called or with an
    underscore or a capital inside. A question asks for no change and so names nothing.
    """
    if request.rstrip().endswith("?"):
        return ()
    python = {p: s for p, s in sources.items() if language_of(p) == "python" and not is_test_path(p)}
    files = [p for p in python if any(f"/{p}".endswith(f"/{path}") for path in words.paths(request))]
    if files:
        said = set(_NAME.findall(request))
        found = [s for p in files for s in _meant(p, python[p], said) or _functions(p, python[p])]
    else:
        spelt = _spelt_as_code(request)
        found = [s for p, source in python.items() for s in _meant(p, source, spelt)]
    size = sum(s.symbol.end_byte - s.symbol.start_byte for s in found)
    return tuple(found) if len(found) <= MOST and size <= MOST_BYTES else ()


def _spelt_as_code(request: str) -> set[str]:
    quoted = {name for text in _QUOTED.findall(request) for name in _NAME.findall(text)}
    said = {name for name in _NAME.findall(request) if words.is_spelt_as_code(name)}
    return quoted | said | set(_CALLED.findall(request))


def _meant(path: str, source: bytes, names: set[str]) -> list[Suspect]:
    """Functions of this name, and the methods of classes of this name."""
    known = symbols(source)
    classes = {s.qualname for s in known if s.kind == "class" and s.name in names}
    return [
        _suspect(path, s)
        for s in known
        if s.kind != "class" and (s.name in names or s.qualname.rpartition(".")[0] in classes)
    ]


def _functions(path: str, source: bytes) -> list[Suspect]:
    return [_suspect(path, s) for s in symbols(source) if s.kind != "class"]


def _suspect(path: str, symbol: Symbol) -> Suspect:
    return Suspect(path, symbol.qualname, symbol, 1.0, "the request names it")
