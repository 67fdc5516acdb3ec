"""The conformance card of a model at an endpoint, and what it says in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from agent.models.catalog import EMBEDDED, ModelSettings
from agent.models.families import ToolMode

ENOUGH = 0.9
"""Share of simple requests that must end in the right call before the tool loop is worth using."""
MIN_CONTEXT = 8192
"""Tokens: the tool loop's system prompt and tools take about 800, and it must hold files and results."""
SLOW_READ = 150.0
"""Tokens per second; below it reading a file of 500 lines takes half a minute."""


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """How simple requests for one call ended."""

    asked: int = 0
    native: int = 0
    """Replies whose calls the server itself told."""
    native_right: int = 0
    """Of these the right call: what a client gets that trusts the server's parser."""
    salvaged: int = 0
    """Replies whose calls pawl found in the text."""
    right: int = 0
    """Right calls with arguments that could be run, told or found."""
    dialects: Mapping[str, int] = {}
    """Dialect -> replies that were written in it."""
    failures: tuple[str, ...] = ()
    """Request and what came instead."""


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """A second request with the same beginning."""

    prompt_tokens: int
    read_anew: int | None
    """None: the server does not tell."""
    first_s: tuple[float, float]
    """Seconds to the first token, of the first and of the second request."""

    @property
    def works(self) -> bool:
        if self.read_anew is not None:
            return self.read_anew < 0.5 * self.prompt_tokens
        return self.first_s[1] < 0.5 * self.first_s[0]


class Card(msgspec.Struct, kw_only=True):
    """What was measured; None and empty: not measured."""

    model: str
    server: str = ""
    wires: dict[str, str] = {}
    """Wire -> `ok`, or why it does not work."""
    context_tokens: int | None = None
    slots: int | None = None
    template: dict[str, bool] = {}
    takes_temperature: bool | None = None
    streams: bool | None = None
    stops: dict[str, str] = {}
    """What should end a reply (`length`, `stop`) -> what the server said."""
    tools: dict[ToolMode, Tools] = {}
    parallel: int | None = None
    """Calls in one reply, when two were asked for."""
    hard_text: bool | None = None
    """A text with quotes, line breaks, backslashes and letters beyond ASCII came through unchanged."""
    goes_on: bool | None = None
    """A conversation with a call and its result is accepted and answered."""
    cache: Cache | None = None
    read_tps: float | None = None
    """Tokens of prompt per second."""
    write_tps: float | None = None
    problems: list[str] = []
    """What a measurement failed with."""
    complete: bool = False
    """False: the time was over before the end."""
    seconds: float = 0.0


def share(tools: Tools) -> float:
    return tools.right / tools.asked if tools.asked else 0.0


def best_mode(card: Card) -> ToolMode | None:
    """The mode with the most right calls, the server's own way where both are as good."""
    measured = [(mode, tools) for mode, tools in card.tools.items() if tools.right]
    return max(measured, key=lambda one: (share(one[1]), one[0] == "native"))[0] if measured else None


def best(card: Card) -> ModelSettings:
    """The settings that follow from the card."""
    mode = best_mode(card)
    good = mode is not None and share(card.tools[mode]) >= ENOUGH
    room = (card.context_tokens or MIN_CONTEXT) >= MIN_CONTEXT
    written = card.tools[mode].dialects if mode else {}
    return ModelSettings(
        strategy=None if good and room else "repair",
        tool_mode=mode,
        dialect=max(written, key=lambda name: written[name]) if written else None,
        context_tokens=None if card.model.startswith(EMBEDDED) else card.context_tokens,
    )


def verdict(card: Card) -> tuple[list[str], list[str]]:
    """What will work, and what will not, in sentences."""
    works: list[str] = []
    fails: list[str] = []
    for good, sentence in _sentences(card):
        (works if good else fails).append(sentence)
    return works, fails


def _sentences(card: Card) -> Iterator[tuple[bool, str]]:
    yield from _of_tools(card)
    if card.parallel is not None:
        how = ("", ": it made neither of two", ": it makes one at a time, which costs more steps")
        yield card.parallel >= 2, f"several calls in one reply{how[(card.parallel + 1) % 3]}"
    if card.hard_text is not None:
        changed = "" if card.hard_text else ": they do not come through as they are, so edits may fail"
        yield card.hard_text, f"texts with quotes, line breaks and backslashes as arguments{changed}"
    if card.goes_on is not None:
        yield card.goes_on, f"going on after a tool's result{'' if card.goes_on else ': it does not use it'}"
    if card.streams is not None:
        yield card.streams, "replies stream" if card.streams else "replies come in one piece, not as a stream"
    if said := {asked: got for asked, got in card.stops.items() if asked != got}:
        wrong = ", ".join(f"{got} where {asked} was due" for asked, got in said.items())
        yield False, f"the reasons for the end of a reply: it says {wrong}"
    if card.cache is not None:
        yield (
            card.cache.works,
            "the prompt cache: what was read once is not read again"
            if card.cache.works
            else ("the prompt cache: every step reads the whole conversation again"),
        )
    if card.context_tokens is not None and card.context_tokens < MIN_CONTEXT:
        yield False, f"long tasks: a context of {card.context_tokens} tokens is soon full"
    if card.read_tps is not None and card.read_tps < SLOW_READ:
        yield False, f"speed: at {card.read_tps:.0f} tokens a second a long file takes a while to read"


def _of_tools(card: Card) -> Iterator[tuple[bool, str]]:
    mode = best_mode(card)
    if not card.tools:
        return
    if mode is None:
        yield (
            False,
            "tools: no request ended in the right call; use it for direct repair, not for the tool loop",
        )
        return
    tools = card.tools[mode]
    score = f"{tools.right} of {tools.asked} simple requests end in the right call"
    if share(tools) < ENOUGH:
        yield False, f"the tool loop: only {score}; `fix` repairs directly instead"
    else:
        yield True, f"the tool loop: {score}"
    told = card.tools.get("native", tools)
    if told.native_right < tools.right:
        yield (
            False,
            f"clients that trust the server's own parser: they get {told.native_right} of {told.asked}; "
            "pawl finds the others in the text",
        )
