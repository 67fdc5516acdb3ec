"""Which tools there are: each file of `tools/builtin/` holds one Tool of its name; plugins add theirs.

A toolset is a plain mapping from name to Tool in the order in which the model is told of them.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from tools import builtin
from tools.base import Tool

DEFAULT = ("read", "edit", "write", "grep", "glob", "bash", "run_tests")
EDITORS = ("apply_patch", "multi_edit")
"""Tools that can stand in the place of `edit`, for models that were trained on them."""
ENTRY_POINTS = "pawl.tools"
"""Group of the entry points by which other packages add tools; each loads to a Tool of the same name."""


class UnknownTool(LookupError):
    """A tool was asked for by a name that nothing has."""


def builtin_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(builtin.__path__))


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _unknown(name: str) -> UnknownTool:
    known = [*builtin_names(), *_plugins()]
    near = difflib.get_close_matches(name, known, n=3) or known
    return UnknownTool(f"there is no tool {name!r}; did you mean {', '.join(near)}?")


def load(name: str) -> Tool:
    """The tool of that name: a built-in, else a plugin's. Raises UnknownTool with the nearest names."""
    if name in builtin_names():
        found = getattr(importlib.import_module(f"{builtin.__name__}.{name}"), name, None)
    elif plugin := _plugins().get(name):
        found = plugin.load()
    else:
        raise _unknown(name)
    if not isinstance(found, Tool) or found.name != name:
        raise TypeError(f"what should be the tool {name!r} is {found!r}")
    return found


def select(names: Sequence[str]) -> dict[str, Tool]:
    return {name: load(name) for name in names}


def parse_changes(text: str) -> dict[str, bool]:
    """Tool -> whether it is added (`+todo`) or taken away (`-grep`); the names stand between commas.

    Raises UnknownTool with the nearest names, or with what was expected.
    """
    changes: dict[str, bool] = {}
    for word in filter(None, map(str.strip, text.split(","))):
        sign, name = word[0], word[1:]
        if sign not in "+-":
            raise UnknownTool(f"expected +{word} to add the tool or -{word} to take it away, got {word!r}")
        if name not in builtin_names() and name not in _plugins():
            raise _unknown(name)
        changes[name] = sign == "+"
    return changes


def default_toolset(edit_form: str = "tool", changes: str = "") -> dict[str, Tool]:
    """What a model gets when nobody chose: enough to find, change and run.

    One whose edit form is a tool's name edits by that tool; every other form is read as calls of `edit` and
    `write`. `changes` are the person's (`parse_changes`): what is added comes last and by name, whatever
    their order was, so that equal sets have equal prompts and one cached beginning.
    """
    editor = edit_form if edit_form in EDITORS else "edit"
    wanted = parse_changes(changes)
    usual = [editor if name == "edit" else name for name in DEFAULT if wanted.get(name, True)]
    kept = [name for name in usual if wanted.get(name, True)]
    return select([*kept, *sorted(name for name, added in wanted.items() if added and name not in kept)])
