"""Turns as flat sequences of tokens, as trainers take them, with a mask for what was sampled. Pure.

The prompt of a turn should begin with the whole prompt and reply of the turn before; then both are one
sequence. Where it does not, the text of the reply was tokenised otherwise when it was sent back (drift), or
the conversation was compacted: a new segment begins, and the old replies in its prompt are context.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from evals.conversations import Turn


class Segment(msgspec.Struct, frozen=True):
    """A sequence of tokens as the model saw and wrote it. The four lists are of one length."""

    token_ids: list[int]
    mask: list[bool]
    """True for a token that the model sampled and whose logprob the server told."""
    logprobs: list[float]
    """0.0 where `mask` is False."""
    temperatures: list[float | None]
    """As it was asked for, at each token; None for the server's own."""
    prompt: int
    """So many tokens are in front of the first reply."""
    turns: tuple[int, ...]
    """Event numbers of the replies."""


class Segments(msgspec.Struct, frozen=True):
    segments: tuple[Segment, ...]
    drift: int
    """Segments that began because a prompt did not repeat what was there; compactions do not count."""
    untold: int
    """Turns whose tokens the server did not tell; they are in no segment."""


def segments(turns: Sequence[Turn]) -> Segments:
    """The turns of one conversation, in order."""
    found: list[Segment] = []
    drift = untold = 0
    follows = False
    """The newest segment holds the turn before this one."""
    for turn in turns:
        told = turn.tokens
        if told is None:
            untold += 1
            follows = False
            continue
        known = found[-1].token_ids if follows else []
        if not follows or told.prompt[: len(known)] != tuple(known):
            drift += follows and not turn.renewed
            known = []
            found.append(Segment([], [], [], [], len(told.prompt), ()))
        last = found[-1]
        added = told.prompt[len(known) :]
        _extend(last, added, [None] * len(added), told.temperature)
        _extend(last, told.completion, list(told.logprobs), told.temperature)
        found[-1] = msgspec.structs.replace(last, turns=(*last.turns, turn.event))
        follows = True
    return Segments(tuple(found), drift, untold)


def _extend(
    segment: Segment, ids: Sequence[int], logprobs: Sequence[float | None], temperature: float | None
) -> None:
    segment.token_ids.extend(ids)
    segment.mask.extend(value is not None for value in logprobs)
    segment.logprobs.extend(value or 0.0 for value in logprobs)
    segment.temperatures.extend([temperature] * len(ids))
