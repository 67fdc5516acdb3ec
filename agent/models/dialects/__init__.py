"""How models write tool calls in text. This folder is the registry: each module is a dialect, but for
those with a leading underscore, which dialects share.

A dialect is salvage: it is asked only when tools were offered and the server gave no call of its own.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from agent.messages import ToolCall, ToolResult
from agent.models.base import ToolSpec


class Dialect(Protocol):
    """What a module of this folder provides. Pure."""

    name: str
    """The same as the module's."""
    rank: int
    """Lower is asked first: dialects with marks of their own before those that look like ordinary text."""

    def find(self, text: str, tools: Sequence[ToolSpec], prefix: str = "call_") -> tuple[ToolCall, ...]:
        """The calls of offered tools in a whole reply, in order, their ids `prefix` + 1, 2, ...

        Empty when the text only talks about a call. Arguments are as written, and broken when the reply was
        cut inside them: running such a call tells the model so.
        """
        ...

    def render_results(self, results: Sequence[ToolResult]) -> str:
        """The results of one step as the text of a user message."""
        ...


@cache
def load() -> Mapping[str, Dialect]:
    """All dialects by name, in the order in which they are asked."""
    names = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    found = [cast(Dialect, import_module(f"{__name__}.{name}")) for name in names]
    return {dialect.name: dialect for dialect in sorted(found, key=lambda dialect: dialect.rank)}
