"""The contract of a model, and what can go wrong with one.

Errors::

    ModelError
    ├── ModelUnreachable      nothing answers at the address, or it broke off         -> exit 75, local 1
    ├── ModelOverloaded       429, 500, 503, 529; `.retry_after` in seconds when told -> exit 75
    │   └── ModelQuota        the account's quota or credit is used up; it stays so   -> exit 75
    ├── ModelAuth             401, 403, no key                                        -> exit 41
    ├── ModelBadReply         garbage where a reply was due                           -> exit 1
    ├── ModelRefusedRequest   400, 404, 422: our request or the model's name is wrong -> exit 1
    └── ContextOverflow       the prompt does not fit into the model's context        -> exit 1
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Literal, Protocol

import msgspec

from agent.messages import Message, Usage


class ModelError(Exception):
    """Base. `retryable` tells the transport whether asking again can help."""

    retryable = False
    exit_code = 1


class ModelUnreachable(ModelError, ConnectionError):
    retryable = True
    exit_code = 75


class ModelOverloaded(ModelError):
    retryable = True
    exit_code = 75

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelQuota(ModelOverloaded):
    retryable = False


class ModelAuth(ModelError):
    exit_code = 41


class ModelBadReply(ModelError):
    pass


class ModelRefusedRequest(ModelError):
    pass


class ContextOverflow(ModelError):
    pass


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as the model is told of it. `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


class Request(msgspec.Struct, frozen=True):
    """One call of a model. The same `messages` prefix always gives the same bytes on the wire."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    slot: int | None = None
    """Slot of a llama.cpp server to pin this conversation to; ignored by other servers."""
    constrain: tuple[ToolSpec, ...] = ()
    """Tools whose schema a grammar holds calls in the text to, on servers that have grammars."""
    must_call: bool = False
    """The grammar of `constrain` allows nothing but calls."""


class Quirks(msgspec.Struct, frozen=True):
    """What a server wants done differently. Data, so that a new provider needs no new branch."""

    llama_cpp: bool = False
    """Send `cache_prompt` and `id_slot`, which only llama.cpp knows."""
    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` for OpenAI's reasoning models."""
    stream_usage: bool = True
    """Ask for token counts at the end of the stream; off for servers that reject `stream_options`."""
    reasoning_effort: str = ""
    """Sent as `reasoning_effort`, such as `high`; empty: what the server takes by itself."""
    grammar: Literal["", "gbnf", "structural_tag"] = ""
    """What the server takes for `Request.constrain` (agent.models.constrain); llama.cpp takes GBNF."""


NO_QUIRKS = Quirks()


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning"):
    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, tag="tool_call"):
    """A piece of a native tool call; pieces of one call share `index`, later ones append to `arguments`."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


StopReason = Literal["stop", "tool_calls", "length", "content_filter", "unknown"]


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """The end of a reply; always the last delta, exactly once."""

    reason: StopReason
    usage: Usage
    prompt_ms: float | None = None
    """Time the server spent on reading the prompt, when it tells."""
    output_ms: float | None = None


Delta = TextDelta | ReasoningDelta | ToolCallDelta | Finish


class Model(Protocol):
    """Something that continues a conversation."""

    name: str
    """As the user configured it, such as `local/qwen2.5-coder-1.5b`."""
    context_tokens: int | None

    def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Stream one reply. Raises ModelError; closing the generator cancels the request."""
        ...

    async def aclose(self) -> None: ...
