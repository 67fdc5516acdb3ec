"""What gives way when a conversation no longer fits into the model's context. Pure.

Old results of tools are shortened first. Only when that is not enough, the older part is replaced by a
summary that the model itself writes; system prompt, tools and the newest steps stay. Either is done in one go
and down to well below the bound: the server's cache loses its place once, not at every step that follows.

What the person said in the turn that is running is never summarised: it comes again behind the summary. So
does the model's list of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from agent.events import Compacted
from agent.messages import Assistant, Message, System, ToolResult, User
from tools.checklist import TodoItem, checklist
from tools.output import clip

SUMMARISE = """\
This conversation gets too long for your context. Sum it up in plain text, without calling a tool. You will \
go on from your summary alone, so keep what is needed for that: what the user wants, the files and functions \
that matter, what was changed, what was found out, what failed, and what is left to do."""
"""Asked at the end of the conversation, so that the server has all but these words in its cache."""

SUMMED_UP = "[The older part of this conversation was replaced by this summary:]"
TODO = "[Your todo list as it stands:]"

CLIP_BYTES = 400
"""What is left of an old result when results are shortened."""
LOW = 0.6
"""Shortening results is enough when the request then fills no more than this share of its room."""
KEEP = 0.25
"""Share of the room that the newest steps may fill beside a summary."""
MIN_GAIN = 0.1
"""A summary that makes less than this share of the room free is not worth its price."""
SUMMARY_TOKENS = 1000
IMAGE_BYTES = 5000
"""What an image counts as; services count 1,000 to 1,600 tokens for one of a usual size."""
IMAGE_GONE = "[The image is not shown any more.]"
BYTES_PER_TOKEN = 3.0
"""Until a reply tells how many tokens a request had; code has 3 to 4, so this errs on the safe side."""


class View(NamedTuple):
    """What the model is shown."""

    messages: tuple[Message, ...]
    asked: tuple[int, ...] = ()
    """Places of what the person said in the turn that is running."""
    todo: tuple[TodoItem, ...] = ()


class Room(NamedTuple):
    """How much fits, in tokens, and how tokens are counted."""

    context: int
    reply: int
    """What the model may answer."""
    per_token: float = BYTES_PER_TOKEN
    head: int = 0
    """Bytes of the tools, which stand before all messages."""

    @property
    def limit(self) -> int:
        """A request up to this size leaves room for the answer, but never less than a quarter for it."""
        return self.context - min(self.reply, self.context // 4)

    @property
    def summary(self) -> int:
        return max(min(SUMMARY_TOKENS, self.context // 8), 32)

    def tokens(self, messages: Iterable[Message]) -> int:
        return int(weight(messages) / self.per_token)

    def request(self, messages: Iterable[Message]) -> int:
        """Tokens of a request with these messages."""
        return int((self.head + weight(messages)) / self.per_token)


class Plan(NamedTuple):
    """What to do. With `summarise` the event still lacks its summary: the answer to these messages."""

    event: Compacted
    summarise: tuple[Message, ...] = ()
    left_out: int = 0
    """Messages that neither the summary covers, for want of room, nor the request has any more."""


def weight(messages: Iterable[Message]) -> int:
    """Bytes of all text in the messages; tokens of a conversation grow with it."""
    total = 0
    for message in messages:
        total += len(message.text.encode(errors="replace"))
        if isinstance(message, User | ToolResult):
            total += IMAGE_BYTES * len(message.images)
        elif isinstance(message, Assistant):
            total += len(message.reasoning) + sum(len(c.name) + len(c.arguments) for c in message.tool_calls)
    return total


def compacted(view: View, event: Compacted) -> View:
    """What the model is shown from this event on."""
    first = _first(view.messages)
    cut = max(event.cut, first)
    messages = tuple(
        _clipped(message, event.clip_bytes) if place < event.clip_before else message
        for place, message in enumerate(view.messages)
    )
    if not event.cut:
        return view._replace(messages=messages)
    again = [place for place in view.asked if place < cut]
    summary = f"{SUMMED_UP}\n\n{event.summary}"
    if view.todo:
        summary += f"\n\n{TODO}\n{checklist(view.todo)}"
    begin = (*messages[:first], User(summary), *(messages[p] for p in again))
    moved = [place - cut + len(begin) for place in view.asked if place >= cut]
    return View((*begin, *messages[cut:]), (*range(first + 1, len(begin)), *moved), view.todo)


def plan(view: View, room: Room, *, forced: bool = False) -> Plan | None:
    """How to make room; None when nothing can give way. `forced`: sum up whether it is needed or not."""
    newest = _newest(view.messages)
    before = room.request(view.messages)
    if not forced:
        short = Compacted(clip_before=newest, clip_bytes=CLIP_BYTES)
        after = room.request(compacted(view, short).messages)
        if after < before and after <= LOW * room.limit:
            return Plan(msgspec.structs.replace(short, tokens_before=before, tokens_after=after))
    first = _first(view.messages)
    talk = room.tokens(view.messages[first:])
    bound = int(KEEP * (min(talk, room.limit) if forced else room.limit))
    cut = _cut(view.messages, newest, room, bound)
    gone = room.tokens(m for p, m in enumerate(view.messages[:cut]) if p >= first and p not in view.asked)
    if cut - first < 2 or (not forced and gone - room.summary < MIN_GAIN * room.limit):
        return None
    summarise = _summarised(view.messages, cut, room)
    if not summarise:
        return None
    event = Compacted(cut=cut, tokens_before=before)
    results = sum(isinstance(message, ToolResult) for message in view.messages[cut:])
    if results and room.tokens(view.messages[cut:]) > 2 * KEEP * room.limit:
        share = int(KEEP * room.limit * room.per_token / results)
        event = msgspec.structs.replace(event, clip_before=len(view.messages), clip_bytes=share)
    after = room.request(compacted(view, event).messages) + room.summary
    left_out = max(cut - (len(summarise) - 1), 0)
    return Plan(msgspec.structs.replace(event, tokens_after=after), summarise, left_out)


def without_summary(messages: Sequence[Message]) -> str:
    """In place of a summary that the model did not write: the beginnings of what it was told."""
    told = [" ".join(message.text.split())[:300] for message in messages if isinstance(message, User)]
    return "The user said:\n" + "\n".join(f"- {text}" for text in told)


def _clipped(message: Message, size: int) -> Message:
    if not isinstance(message, ToolResult):
        return message
    gone = f"\n{IMAGE_GONE}" if message.images else ""
    return msgspec.structs.replace(message, text=clip(message.text, limit=size) + gone, images=())


def _first(messages: Sequence[Message]) -> int:
    """Behind the system prompt, if there is one."""
    return int(bool(messages) and isinstance(messages[0], System))


def _newest(messages: Sequence[Message]) -> int:
    """Where the newest step begins: its reply, with its results and all that was said behind it.

    A message that waits for its first reply counts as one.
    """
    places = [p for p, message in enumerate(messages) if isinstance(message, Assistant)]
    newest = places[-1] if places else 0
    if newest == len(messages) - 1 or not any(isinstance(m, ToolResult) for m in messages[newest:]):
        return max(len(messages) - 1, 0)
    return newest


def _cut(messages: Sequence[Message], newest: int, room: Room, bound: int) -> int:
    """The earliest place from which on all fits into `bound` tokens; the newest step stays in any case.

    Calls and their results stay together.
    """
    cut = newest
    size = weight(messages[newest:])
    for place in range(newest - 1, 0, -1):
        size += weight(messages[place : place + 1])
        if size > bound * room.per_token:
            break
        if not isinstance(messages[place], ToolResult):
            cut = place
    return cut


def _summarised(messages: tuple[Message, ...], cut: int, room: Room) -> tuple[Message, ...]:
    """What the model is asked to sum up: all if there is room, else a beginning that was sent before."""
    question = User(SUMMARISE)
    ends = [p for p in range(cut, 1, -1) if not isinstance(messages[p], ToolResult)]
    for end in (len(messages), *ends):
        asked = (*messages[:end], question)
        if room.request(asked) + room.summary <= room.context:
            return asked
    return ()
