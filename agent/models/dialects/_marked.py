"""Calls between special tokens, each a name and a JSON object, one after the other: DeepSeek, Kimi."""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.models.dialects._calls import arguments_call
from agent.models.dialects._dialect import MAX_CALLS, Reading
from agent.models.dialects._json import object_at
from agent.models.dialects._offer import Offer, Written


class Marks(NamedTuple):
    """What stands around calls."""

    around: re.Pattern[str]
    """Begin and end of a section of calls; passed over."""
    call: re.Pattern[str]
    """The beginning of a call; the first group that took part is its name."""
    end: re.Pattern[str]
    """What may close a call."""
    stop: re.Pattern[str]
    """Where arguments that are not whole end at the latest."""


def read_marked(text: str, start: int, marks: Marks, offer: Offer) -> Reading:
    calls: list[Written] = []
    position = start
    while len(calls) < MAX_CALLS:
        while mark := marks.around.match(text, position):
            position = mark.end()
        call = marks.call.match(text, position)
        if call is None:
            break
        name = next(group for group in call.groups() if group)
        arguments, position = object_at(text, call.end(), marks.stop)
        calls.append(arguments_call(re.sub(r":\d+$", "", name), arguments, offer))
        if end := marks.end.match(text, position):
            position = end.end()
    return Reading(calls, position)
