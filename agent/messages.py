"""What is said: the messages of a conversation, as the model sees them.

One Struct per role, so that no illegal combination can be built. Tool arguments stay the raw text that
the model wrote: replay is then byte-identical, the server's prompt cache stays warm, and broken JSON can
be shown.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tools.picture import Image as Image


class ToolCall(msgspec.Struct, frozen=True):
    """A model's wish to call a tool, as it wrote it."""

    id: str
    name: str
    arguments: str
    """Raw JSON text of the arguments, byte for byte; may be broken."""


class System(msgspec.Struct, frozen=True, tag="system"):
    text: str


class User(msgspec.Struct, frozen=True, tag="user", omit_defaults=True):
    text: str
    images: tuple[Image, ...] = ()


class Assistant(msgspec.Struct, frozen=True, tag="assistant"):
    text: str
    """The model's text exactly as it was written, calls written as text included."""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    dialect: str = ""
    """Name of the dialect in which `tool_calls` stand in `text`; empty for native or thought ones."""
    origin: str = ""
    """Name of the model that wrote it. Its reasoning and `native` are sent back to that model only."""
    native: tuple[dict[str, Any], ...] = ()
    """What the provider demands back unchanged: replies with signed reasoning, in its wire's form."""


class ToolResult(msgspec.Struct, frozen=True, tag="tool"):
    call_id: str
    name: str
    text: str
    is_error: bool = False
    images: tuple[Image, ...] = ()
    """`text` says what they are, for models that cannot see."""


Message = System | User | Assistant | ToolResult


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one or several requests. None means the server did not tell."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0
    cost_usd: float | None = None

    def __add__(self, other: Usage) -> Usage:
        costs = [c for c in (self.cost_usd, other.cost_usd) if c is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.output_tokens + other.output_tokens,
            self.requests + other.requests,
            sum(costs) if costs else None,
        )

    def __sub__(self, other: Usage) -> Usage:
        """What was spent since `other`; the cost stays unknown unless both are known."""
        known = self.cost_usd is not None and other.cost_usd is not None
        return Usage(
            self.input_tokens - other.input_tokens,
            self.cached_input_tokens - other.cached_input_tokens,
            self.output_tokens - other.output_tokens,
            self.requests - other.requests,
            (self.cost_usd or 0.0) - (other.cost_usd or 0.0) if known else self.cost_usd,
        )
