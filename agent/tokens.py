"""The tokens of a session's replies: `artifacts/tokens.jsonl`, a line a reply, beside the session log.

    {"event":12,"base":7,"keep":2041,"prompt":[...],"completion":[...],"logprobs":[...],"temperature":0.8}

`event` is the number of the reply in the log. Prompts repeat what was said before, so a line holds only what
is new: the prompt begins with the first `keep` tokens of the prompt and completion of event `base`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from agent.models.base import Tokens

MAX_BYTES = 64 * 2**20
"""Of one session; what comes after that is not recorded."""
_COMPARED = 4
"""So many earlier replies are tried as a base: attempts that run by turns each go on with their own."""


class TokenLine(msgspec.Struct, frozen=True, omit_defaults=True):
    event: int
    base: int = 0
    keep: int = 0
    prompt: tuple[int, ...] = ()
    completion: tuple[int, ...] = ()
    logprobs: tuple[float | None, ...] = ()
    temperature: float | None = None
    """As it was asked for; None: the server's own."""


class TokenLog:
    """Appends to the file, which only its owner can read and which begins with the first reply."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: list[tuple[int, tuple[int, ...]]] = []
        """The newest events, each with its prompt and completion."""

    def add(self, event: int, tokens: Tokens, temperature: float | None) -> bool:
        """Keep the tokens of reply number `event`; False when the file is full. Raises OSError."""
        base, keep = 0, 0
        for number, known in self._last:
            shared = _shared(known, tokens.prompt)
            if shared and shared >= keep:
                base, keep = number, shared
        line = TokenLine(
            event, base, keep, tokens.prompt[keep:], tokens.completion, tokens.logprobs, temperature
        )
        data = msgspec.json.encode(line) + b"\n"
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            if file.tell() + len(data) > MAX_BYTES:
                return False
            file.write(data)
        self._last = [*self._last[1 - _COMPARED :], (event, tokens.prompt + tokens.completion)]
        return True


def read_tokens(lines: Iterable[bytes]) -> dict[int, TokenLine]:
    """The replies by event number, each with its whole prompt. Raises ValueError for a broken line."""
    found: dict[int, TokenLine] = {}
    for line in lines:
        told = msgspec.json.decode(line, type=TokenLine)
        if told.base:
            if told.base not in found:
                raise ValueError(
                    f"the tokens of event {told.event} go on with those of {told.base}, not here"
                )
            base = found[told.base]
            prompt = (base.prompt + base.completion)[: told.keep] + told.prompt
            told = msgspec.structs.replace(told, base=0, keep=0, prompt=prompt)
        found[told.event] = told
    return found


def _shared(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Length of the common beginning."""
    short = min(len(a), len(b))
    return next((place for place in range(short) if a[place] != b[place]), short)
