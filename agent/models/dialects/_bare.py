"""JSON that stands in a reply by itself, from the beginning of a line to the end of one. Pure."""

from __future__ import annotations

import re

from agent.models.dialects._calls import begins_call, read_calls, read_cut_call, read_lone_call
from agent.models.dialects._dialect import Reading
from agent.models.dialects._json import extent
from agent.models.dialects._offer import Offer


def read_bare(text: str, start: int, offer: Offer) -> Reading | None:
    """The calls of the JSON values that begin at `start`; none if a sentence goes on behind them on the line.

    Data that is no call is passed over as a whole, so that nothing in it is taken for one.
    """
    end = start
    position = start
    while text[position : position + 1] in ("{", "["):
        reach = extent(text, position)
        if reach.missing or reach.in_string:
            if not begins_call(text, start, offer):
                return None
            calls = read_calls(text[start:], offer) or read_cut_call(text[start:], offer)
            return Reading(calls, len(text)) if calls else None
        end = reach.end
        gap = _GAP.match(text, end)
        position = gap.end() if gap else end
    rest = _REST.match(text, end)
    if rest is None and not _SENTENCE.match(text, end):
        return Reading([], end)
    calls = read_calls(text[start:end], offer)
    if not calls and not text[:start].strip():
        calls = read_lone_call(text, offer)
    return Reading(calls, rest.end() if rest else end)


_GAP = re.compile(r"[ \t]*[,;]?\s*")
_SENTENCE = re.compile(r"[ \t]+(?:I'll|I will|Let me (?!know\b)|Let's|Then I)\b")
"""A new one, of what the model does next."""
_REST = re.compile(r"[ \t}\],;]*(?:<\|[\w]+\|>|</s>|</?tools?>)?[ \t]*(?=\n|\Z)")
