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

from collections.abc import AsyncGenerator, Mapping
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
    """`needed` and `limit` are tokens, when the server told them."""

    def __init__(self, message: str, needed: int | None = None, limit: int | None = None) -> None:
        super().__init__(message)
        self.needed = needed
        self.limit = limit


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
    output_schema: dict[str, Any] | None = None
    """JSON Schema that the text of the reply must follow, where the server can hold the model to one."""
    answer_only: bool = False
    """No more calls are wanted: a server that cannot hold text to a schema beside calls can do so now."""
    constrain: tuple[ToolSpec, ...] = ()
    """Tools whose schema a grammar holds calls in the text to, on servers that have grammars."""
    must_call: bool = False
    """The grammar of `constrain` allows nothing but calls."""


class Quirks(msgspec.Struct, frozen=True):
    """What a server wants done differently. Data, so that a new provider needs no new branch."""

    extra: Mapping[str, Any] = {}
    """Merged into the body, nested objects too; None takes a field out that the server refuses."""
    effort: str = ""
    """How much the model is to reason, such as `high`; empty: what the server takes by itself."""
    effort_field: str = ""
    """Where in the body the effort goes, dots between nested names; empty: where its wire has it."""
    efforts: Mapping[str, Mapping[str, Any]] = {}
    """Effort -> what it adds to the body, like `extra`, in place of the effort's name."""
    max_tokens_field: str = ""
    """Name of the bound of a reply; empty: the wire's own."""
    slot_field: str = ""
    """Name under which `Request.slot` is sent; empty: not at all."""
    reasoning_field: str = ""
    """Field of an assistant message that reasoning goes back in; empty: it is not sent back as text."""
    reasoning_always: bool = False
    """Send that field with every call, also empty: without it the server refuses the request."""
    call_id_length: int = 0
    """Ids of calls must be so many letters and digits; others are replaced. 0: any id will do."""
    bridge: str = ""
    """Reply to put between results and what the user says, where the server demands one; empty: none."""
    unsigned_call: str = ""
    """Signature of a call that another model made; empty: such a call needs none."""
    cache_marks: bool = False
    """Mark where the provider may cache the prompt."""
    key_header: str = ""
    """Header that carries the key; empty: the wire's own."""
    images: bool | None = None
    """Whether the model sees images; None: not known."""
    prefill: bool = False
    """Goes on with a last message of the assistant's: a reply that was cut off can be resumed."""
    tokens: Mapping[str, Any] = {}
    """What asks for token ids and logprobs, merged like `extra` to record them; empty: it has none."""
    prompt_route: bool = False
    """The ids of the prompt come from llama.cpp's `/apply-template` and `/tokenize`, not with the reply."""
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


class PromptProgress(msgspec.Struct, frozen=True, tag="prompt_progress"):
    """How far a local server has read the prompt, in tokens, those of its cache included."""

    done: int
    total: int


class Restart(msgspec.Struct, frozen=True, tag="restart"):
    """The connection broke in the middle of the reply: all deltas before this one are void."""


class Tokens(msgspec.Struct, frozen=True):
    """One request and its reply in the model's own tokens, as the server told them."""

    prompt: tuple[int, ...]
    """Empty when it is not known."""
    completion: tuple[int, ...]
    """All that was sampled, with what ended the reply where the server counts it."""
    logprobs: tuple[float | None, ...]
    """One for each of `completion`; None where the server told none."""


StopReason = Literal["stop", "tool_calls", "length", "content_filter", "unknown"]


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """The end of a reply; always the last delta, exactly once."""

    reason: StopReason
    usage: Usage
    prompt_ms: float | None = None
    """Time the server spent on reading the prompt, when it tells."""
    output_ms: float | None = None
    origin: str = ""
    """Name of the model that wrote the reply."""
    native: tuple[dict[str, Any], ...] = ()
    """See `Assistant.native`."""
    tokens: Tokens | None = None
    """Where they were asked for, and the server told all of them."""


Delta = TextDelta | ReasoningDelta | ToolCallDelta | PromptProgress | Restart | Finish


class Model(Protocol):
    """Something that continues a conversation."""

    name: str
    """As the user configured it, such as `local/qwen2.5-coder-1.5b`."""
    context_tokens: int | None

    def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Stream one reply. Raises ModelError; closing the generator cancels the request."""
        ...

    async def aclose(self) -> None: ...
