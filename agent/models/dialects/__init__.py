"""How models write tool calls in text. This folder is the registry: each module holds one `dialect`, but for
those with a leading underscore, which dialects share.

A dialect is salvage: it is asked only when tools were offered and the server gave no call of its own.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import NamedTuple

from agent.messages import ToolCall
from agent.models.base import ToolSpec
from agent.models.dialects._dialect import Dialect, example, numbered
from agent.models.dialects._offer import Offer
from agent.models.dialects._scan import Found, scan

__all__ = ["Dialect", "Salvaged", "doubted", "example", "find", "load", "names"]


class Salvaged(NamedTuple):
    """The calls of a reply."""

    calls: tuple[ToolCall, ...] = ()
    dialect: str = ""
    """Name of the dialect in whose form they stand in the answer. Empty for calls of the reasoning: few
    servers are sent that again, so such calls go back as if the server had found them."""


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


@cache
def load() -> Mapping[str, Dialect]:
    """All dialects by name, in the order in which they are asked."""
    found: list[Dialect] = [import_module(f"{__name__}.{name}").dialect for name in names()]
    return {dialect.name: dialect for dialect in sorted(found, key=lambda dialect: dialect.rank)}


def find(
    text: str,
    tools: Sequence[ToolSpec],
    prefix: str = "call_",
    *,
    reasoning: str = "",
    asked: Iterable[Dialect] | None = None,
) -> Salvaged:
    """The calls of a whole reply, their ids `prefix` + 1, 2, ...; `asked` are all dialects when None.

    Empty when the reply only talks about a call. Arguments are as written where they are JSON of the right
    types, and broken when the reply was cut inside them: running such a call tells the model so. A marked
    call of an unknown tool is given too, for the same reason.

    The answer is looked at first, the reasoning (also in `<think>` tags) only when the answer has no call:
    then its calls count if the reply ends with it, or if nothing but a marked call ends it.
    """
    offer = Offer(tools)
    if not tools:
        return Salvaged()
    dialects = tuple(load().values() if asked is None else asked)
    for thoughts, answer in _splits(text):
        if found := scan(answer, offer, dialects):
            return Salvaged(numbered((one.call for one in found), prefix), found[0].dialect.name)
        if found := _in_reasoning(f"{reasoning}\n{thoughts}".strip(), answer, offer, dialects):
            return Salvaged(numbered((one.call for one in found), prefix))
    return Salvaged()


def doubted(text: str, tools: Sequence[ToolSpec]) -> str:
    """The tool of the call that ends a reply in which `find` finds none: the sentence in front of it neither
    says nor denies that it is meant. Empty when there is no such call."""
    _, answer = _splits(text)[0]
    if not tools or not _ENDS_IN_CALL.search(answer):
        return ""
    found = scan(answer, Offer(tools), tuple(load().values()), strict=False)
    return found[-1].call.name if found else ""


def _in_reasoning(reasoning: str, answer: str, offer: Offer, dialects: tuple[Dialect, ...]) -> list[Found]:
    if not reasoning:
        return []
    found = scan(reasoning, offer, dialects)
    if answer.strip() and not (all(one.marked for one in found) and _ENDS_IN_CALL.search(reasoning)):
        return []
    return found


def _splits(text: str) -> list[tuple[str, str]]:
    """Thoughts and answer. A closing tag alone may also stand in an argument: then both are tried."""
    if opening := _THINK.match(text):
        closing = _THOUGHT.search(text, opening.end())
        end, behind = closing.span() if closing else (len(text), len(text))
        return [(text[opening.end() : end], text[behind:])]
    if closing := _THOUGHT.search(text):
        return [(text[: closing.start()], text[closing.end() :]), ("", text)]
    return [("", text)]


_THINK = re.compile(
    r"\s*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\]|<\|channel>thought\b)", re.IGNORECASE
)
_THOUGHT = re.compile(r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|<channel\|>", re.IGNORECASE)
_ENDS_IN_CALL = re.compile(r"(?:[>\]}]|```)\s*\Z")
