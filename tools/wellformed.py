"""The first syntax error of a text, in the languages of which it can be told. Pure.

Python, JSON and TOML by their own parsers; the languages whose grammars come with pawl by these, which know
less: a macro of C may look like an error. So compare with what was there before.
"""

from __future__ import annotations

import json
import re
import tomllib

import msgspec

from tools import syntax
from tools.grammars import language_of
from tools.tags import first_error

BY_GRAMMAR = frozenset({"c", "cpp", "go", "java", "javascript", "rust", "tsx", "typescript"})
MAX_BYTES = 512 * 1024
"""Larger texts are not checked, but for Python."""


class SyntaxFault(msgspec.Struct, frozen=True):
    """What is wrong and where; `line` counts from 1."""

    line: int
    what: str
    certain: bool = True
    """Whether a new text that has it is surely broken: grammars may err, and JSON may have comments."""


def syntax_fault(path: str, source: bytes) -> SyntaxFault | None:
    """The first syntax error of a file's bytes by its name; None when there is none that can be told."""
    if syntax.language_of(path) == "python":
        found = syntax.errors(source)
        return SyntaxFault(*found[0]) if found else None
    if len(source) > MAX_BYTES:
        return None
    if path.endswith((".json", ".toml")):
        return _of_data(path, source)
    language = language_of(path)
    if language in BY_GRAMMAR and (error := first_error(source, language)):
        return SyntaxFault(error[0], f"{error[1]}, by the grammar of {language}", certain=False)
    return None


def _of_data(path: str, source: bytes) -> SyntaxFault | None:
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    try:
        if path.endswith(".json"):
            json.loads(text)
        else:
            tomllib.loads(text)
    except json.JSONDecodeError as error:
        return SyntaxFault(error.lineno, error.msg, certain=False)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        return SyntaxFault(line, str(error).partition(" (at ")[0])
    except RecursionError:
        return None
    return None
