"""The server's side of each wire: requests read and checked, answers worded. One module a wire."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Protocol, cast

import msgspec

from tests.support.answers import Answer, Body, Turn


class Spoken(Protocol):
    """What a module of this folder provides."""

    HISTORY: str
    """Key of the messages in the body; all else that is cached stands before it."""
    KEY_HEADER: str
    STRICT_TURNS: bool
    """Roles must alternate, and text must not be blank."""

    def matches(self, path: str) -> bool: ...

    def turns(self, body: Body) -> list[Turn]: ...

    def event_stream(self, answer: Answer) -> bytes:
        """The body of a well-formed streamed answer."""
        ...

    def error_body(self, status: int, message: str, kind: str) -> Body: ...


@cache
def all_spoken() -> dict[str, Spoken]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: cast(Spoken, import_module(f"{__name__}.{name}")) for name in names}


def spoken_at(path: str) -> Spoken | None:
    return next((spoken for spoken in all_spoken().values() if spoken.matches(path)), None)


def history(spoken: Spoken, raw: bytes) -> bytes:
    """The bytes of the messages."""
    return bytes(msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[spoken.HISTORY])


def head(spoken: Spoken, raw: bytes) -> dict[str, bytes]:
    """What the messages are read behind: tools and system prompt, as bytes."""
    parts = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    names = ("tools", "system", "instructions", "systemInstruction")
    return {name: bytes(parts[name]) for name in names if name in parts}


def extends(spoken: Spoken, shorter: bytes, longer: bytes) -> bool:
    """Whether a request repeats the one before it byte for byte, up to its closing brackets, and goes on. Its
    last text may go on too: behind it stand only the marks of the template."""
    begin = history(spoken, shorter).rstrip(b"]}").removesuffix(b'"')
    return head(spoken, shorter) == head(spoken, longer) and history(spoken, longer).startswith(begin)


def broken_rules(spoken: Spoken, body: Body, *, prefill: bool = False) -> list[str]:
    """What is wrong with a request, by the rules that all providers share."""
    turns = spoken.turns(body)
    roles = [turn.role for turn in turns]
    found: list[str] = []
    if not roles or roles[-1] not in ("user", "tool", *(["assistant"] if prefill else [])):
        found.append(f"the last message must be the user's or a tool's: {roles}")
    if "system" in roles[1:]:
        found.append("a system message may only be the first")
    if any(pair == ("assistant", "assistant") for pair in pairwise(roles)):
        found.append("two assistant messages in a row")
    if strange := set(roles) - {"system", "user", "assistant", "tool"}:
        found.append(f"unknown roles: {strange}")
    if spoken.STRICT_TURNS:
        if any(a == b for a, b in pairwise("user" if role == "tool" else role for role in roles)):
            found.append(f"two messages of one role in a row: {roles}")
        found += [f"blank text: {turn}" for turn in turns if not all(text.strip() for text in turn.texts)]
        found += [
            f"an empty message: {turn}"
            for turn in turns
            if not (turn.texts or turn.calls or turn.results or turn.images)
        ]
    return found + _broken_calls(turns)


def _broken_calls(turns: list[Turn]) -> list[str]:
    """Each call has a new id, an object as arguments, and exactly one result, right behind its message."""
    found: list[str] = []
    open_ids: list[str] = []
    seen: set[str] = set()
    for turn in turns:
        for answered in turn.results:
            if answered in open_ids:
                open_ids.remove(answered)
            else:
                found.append(f"a result without a call: {answered!r}")
        if turn.role == "tool" and not turn.texts:
            continue
        found += [f"a call without a result: {call_id!r}" for call_id in open_ids]
        open_ids = [call_id for call_id, _ in turn.calls]
        found += [f"a call's id is empty or not new: {i!r}" for i in open_ids if not i or i in seen]
        seen.update(open_ids)
        found += [
            f"arguments are no object: {given!r}" for _, given in turn.calls if not isinstance(given, dict)
        ]
    return found + [f"a call without a result: {call_id!r}" for call_id in open_ids]
