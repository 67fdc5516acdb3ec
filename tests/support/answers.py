"""What a scripted server answers, whatever wire it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.messages import ToolCall

Body = dict[str, Any]

USAGE: Body = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 90}}


@dataclass(frozen=True)
class Answer:
    """One scripted answer. The defaults are a plain, whole, well-formed stream."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    signature: str = ""
    """Signs or seals the reasoning, where the wire has such a thing."""
    finish: str | None = None
    """In the wire's own words; `tool_calls` or `stop` by what the answer holds, when None."""
    usage: Mapping[str, Any] | None = field(default_factory=lambda: USAGE)
    """As Chat Completions names it; other wires say the same in their own words."""
    timings: Mapping[str, Any] | None = None
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: tuple[str, str] | None = None
    """Message and kind of an error, sent as the wire words errors."""
    body: bytes | None = None
    """Sent instead of the event stream."""
    write_bytes: int = 2**16
    """Bytes of the body per write, each an HTTP chunk of its own."""
    wait_for: asyncio.Event | None = None
    """Nothing is sent until this is set: a slow first byte."""
    stall_at: int | None = None
    """Bytes of the body after which nothing more comes, the connection staying open."""
    pulse: bytes = b""
    """Sent again and again after `stall_at`."""
    cut_at: int | None = None
    """Bytes of the body after which the connection is closed."""
    reset: bool = False
    """Break the connection instead of answering."""
    second_end: bool = False
    """The final events come twice."""

    @property
    def counts(self) -> tuple[int, int, int] | None:
        """Tokens read, of these from the cache, and written."""
        if self.usage is None:
            return None
        cached = (self.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        return self.usage["prompt_tokens"], cached, self.usage["completion_tokens"]


def error(status: int, message: str, kind: str = "error", **headers: str) -> Answer:
    """An error as the wire words it; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, problem=(message, kind), content_type="application/json", headers=named)


def pieces(text: str) -> list[str]:
    return [text[at : at + 4] for at in range(0, len(text), 4)]


@dataclass
class Turn:
    """A message of a request, whatever wire it came on."""

    role: str
    texts: list[str] = field(default_factory=list)
    calls: list[tuple[str, object]] = field(default_factory=list)
    """Id and decoded arguments of each call."""
    images: int = 0
    results: list[str] = field(default_factory=list)
    """Ids of the calls that are answered."""
