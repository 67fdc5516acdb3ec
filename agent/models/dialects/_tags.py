"""Calls whose arguments stand between tags of their own, as in XML but without its escapes. Pure.

A value is everything up to the closing tag behind which the call goes on or ends, so that code with the same
tag in it stays whole; where closing tags are missing, up to the next tag of the call.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.models.dialects._dialect import MAX_CALLS, Reading
from agent.models.dialects._offer import Offer, Written

LEAST = 4
"""A closing tag that is cut is known by more letters than these; `</p` may be the file's own."""


class Tags(NamedTuple):
    """Regular expressions of one form."""

    call: re.Pattern[str]
    """Opens a call; its group `name` is the tool's."""
    call_end: re.Pattern[str]
    argument: re.Pattern[str]
    """Opens an argument; its group `name` is the argument's."""
    argument_end: re.Pattern[str]
    wrapper: re.Pattern[str]
    """Tags around calls."""
    closing: str
    """What closes an argument, as the model was trained to write it."""


def read_tagged(text: str, start: int, tags: Tags, offer: Offer) -> Reading:
    """The calls from `start` on that follow one another with nothing but wrappers between them."""
    calls: list[Written] = []
    position = start
    while len(calls) < MAX_CALLS:
        position = _skip(text, position, tags)
        call = tags.call.match(text, position)
        if call is None:
            return Reading(calls, position)
        found, position = _read_call(text, call, tags, offer)
        calls.append(found)
    return Reading(calls, position)


def trimmed(value: str) -> str:
    """Without the line breaks next to the tags, and without the blanks around a value of one line.

    Text that begins right behind its tag and has several lines keeps the break that ends its last one.
    """
    if "\n" not in value:
        return value.strip() if value[:1] == value[-1:] == " " else value
    inner = re.sub(r"\A[ \t]*\n", "", value)
    if inner == value and "\n" in value.rstrip():
        return value
    return re.sub(r"\n[ \t]*\Z", "", inner)


def _skip(text: str, position: int, tags: Tags) -> int:
    """Behind blanks and wrappers; blanks alone are left."""
    while True:
        blank = _BLANK.match(text, position)
        wrapper = tags.wrapper.match(text, blank.end() if blank else position)
        if wrapper is None:
            return blank.end() if blank and tags.call.match(text, blank.end()) else position
        position = wrapper.end()


def _read_call(text: str, call: re.Match[str], tags: Tags, offer: Offer) -> tuple[Written, int]:
    name = offer.name(call["name"])
    known = set(offer.properties(name))
    texts: dict[str, str] = {}
    position = call.end()
    while True:
        at = position = _to_argument(text, position, tags)
        argument = tags.argument.match(text, at) or _plain_argument(text, at, known)
        if argument is None:
            break
        key = argument["name"].strip()
        if argument.re is _PLAIN:
            closing = re.compile(rf"</{key}>").search(text, argument.end())
            end, position = closing.span() if closing else (None, len(text))
        else:
            end, position = _value_end(text, argument.end(), tags, known - {*texts, key})
        if end is None:
            value = re.sub(r"\A[ \t]*\n", "", text[argument.end() :])
            return offer.call_of_texts(name, texts, (key, value)), len(text)
        texts[key] = trimmed(text[argument.end() : end])
    ending = tags.call_end.match(text, at)
    return offer.call_of_texts(name, texts, None), ending.end() if ending else position


def _to_argument(text: str, position: int, tags: Tags) -> int:
    """Behind blanks, and behind wrappers in the wrong place when an argument follows."""
    at = _end_of_blank(text, position)
    while wrapper := tags.wrapper.match(text, at):
        behind = _end_of_blank(text, wrapper.end())
        if not tags.argument.match(text, behind):
            break
        at = behind
    return at


def _plain_argument(text: str, at: int, known: set[str]) -> re.Match[str] | None:
    """`<path>` in place of `<parameter=path>`."""
    found = _PLAIN.match(text, at)
    return found if found and found["name"] in known else None


def _end_of_blank(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position


def _value_end(text: str, start: int, tags: Tags, coming: set[str]) -> tuple[int | None, int]:
    """Where a value ends and where the text goes on; None when the text is cut in it."""
    first: re.Match[str] | None = None
    end: re.Match[str] | None = None
    for closing in tags.argument_end.finditer(text, start):
        first = first or closing
        at = _end_of_blank(text, closing.end())
        if at == len(text) or any(
            p.match(text, at) for p in (tags.argument, tags.call_end, tags.wrapper, tags.call)
        ):
            end = closing
            break
    end = end or first
    for opening in tags.argument.finditer(text, start, end.start() if end else len(text)):
        line_start = text.rfind("\n", 0, opening.start()) + 1
        if opening["name"].strip() in coming and not text[line_start : opening.start()].strip():
            return opening.start(), opening.start()
    if end:
        return end.start(), end.end()
    for pattern in (tags.call_end, tags.wrapper):
        for over in pattern.finditer(text, start):
            at = _end_of_blank(text, over.end())
            if at == len(text) or tags.wrapper.match(text, at) or tags.call.match(text, at):
                return over.start(), over.start()
    begun = next((n for n in range(len(tags.closing), LEAST, -1) if text.endswith(tags.closing[:n])), 0)
    return (len(text) - begun, len(text)) if begun else (None, len(text))


_BLANK = re.compile(r"\s*")
_PLAIN = re.compile(r"<(?P<name>\w+)>")
