"""Token ids and logprobs in what a Chat Completions server answers. Pure.

vLLM: `return_token_ids` puts `prompt_token_ids` beside the first piece's choices and `token_ids` into each
choice, `logprobs` one entry a token behind `logprobs.content`.

llama.cpp (tools/server/server-task.cpp): pieces of a stream have the logprobs of the last token that changed
the text alone, so tokens of a call, of half a character or of the end are missing. A reply that comes at once
(`stream: false`) has all ids in `__verbose.tokens`; entries of `logprobs.content` name their `id`, and only
tokens of half a character have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.models.base import Tokens
from agent.models.wire._plain import Object, number, object_of

_NONE = -1e30
"""llama.cpp writes the lowest number there is for the logarithm of 0."""


class TokenTaker:
    """Takes a reply's events in order."""

    def __init__(self) -> None:
        self._prompt: list[int] = []
        self._ids: list[int] = []
        self._said: list[Object] = []

    def take(self, event: Object) -> None:
        self._prompt = self._prompt or _ids(event.get("prompt_token_ids"))
        for choice in event.get("choices") or ():
            self._ids += _ids(choice.get("token_ids"))
            self._said += object_of(choice.get("logprobs")).get("content") or ()
        self._ids += _ids(object_of(event.get("__verbose")).get("tokens"))

    def tokens(self, written: int) -> Tokens | None:
        """All of the reply, which by the server's count has `written` tokens; None when any is missing."""
        if not self._ids or len(self._ids) != written:
            return None
        return Tokens(tuple(self._prompt), tuple(self._ids), _aligned(self._ids, self._said))


def _ids(value: Any) -> list[int]:
    return [one for one in value if isinstance(one, int)] if isinstance(value, list) else []


def _aligned(ids: Sequence[int], said: Sequence[Object]) -> tuple[float | None, ...]:
    """The logprobs of the ids, in order; entries that name their id may leave some out."""
    found: list[float | None] = []
    left = list(reversed(said))
    for one in ids:
        fits = left and left[-1].get("id", one) == one
        value = number(left.pop().get("logprob")) if fits else None
        found.append(value if value is not None and value > _NONE else None)
    return tuple([None] * len(ids) if left else found)
