"""Anthropic Messages.

Reasoning comes in blocks that the provider signed. They must go back as they were, in their order among the
other blocks; so the blocks of such a reply are kept whole.

Sources: Anthropic API reference, "Messages" and "Streaming messages"; the guides "Extended thinking", "Prompt
caching" (a mark at the top of the body moves along with the conversation, so no message changes) and
"Structured outputs".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.messages import Assistant, Image, Message, System, ToolResult, Usage, User
from agent.models.base import (
    Delta,
    Finish,
    Quirks,
    ReasoningDelta,
    Request,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from agent.models.wire._plain import (
    NOTHING,
    Object,
    arguments_object,
    base64_of,
    call_id,
    count,
    json_text,
    number,
    object_of,
    plain,
    string,
    text_of,
    with_quirks,
)

PATH = "/messages"
VERSION = "/v1"
VERSION_ALWAYS = True
KEY_HEADER = "x-api-key"
HEADERS: Mapping[str, str] = {"anthropic-version": "2023-06-01"}

MAX_TOKENS = 32_000
"""Bound of a reply when none is asked for: the protocol demands one."""
_MARK = {"type": "ephemeral"}
_REASONS: dict[str, StopReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


def to_wire(request: Request, *, model: str, quirks: Quirks, origin: str = "") -> Object:
    """The body of `POST /v1/messages`."""
    body: Object = {"model": model, "stream": True, "max_tokens": request.max_tokens or MAX_TOKENS}
    if quirks.cache_marks:
        body["cache_control"] = _MARK
    if request.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ]
    if request.temperature is not None:
        body["temperature"] = min(request.temperature, 1.0)
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.output_schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": request.output_schema}}
    if quirks.slot_field and request.slot is not None:
        body[quirks.slot_field] = request.slot
    with_quirks(body, quirks, "output_config.effort")
    first = request.messages[0] if request.messages else None
    if isinstance(first, System) and first.text.strip():
        block: Object = {"type": "text", "text": text_of(first.text)}
        body["system"] = [block | {"cache_control": _MARK}] if quirks.cache_marks else [block]
    body["messages"] = _turns(request, quirks, origin)
    return body


def _turns(request: Request, quirks: Quirks, origin: str) -> list[Object]:
    """Messages of the two roles in turn: all results of a step and what the user adds are one message."""
    turns: list[Object] = []
    for message in plain(request.messages, quirks):
        if isinstance(message, System):
            continue
        role = "assistant" if isinstance(message, Assistant) else "user"
        blocks = list(_blocks(message, quirks, origin))
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message, quirks: Quirks, origin: str) -> Iterator[Object]:
    """The blocks of one message. An assistant's without any text or call has none, and is left out."""
    match message:
        case User(text, images):
            yield from map(_image, images)
            if text.strip() or not images:
                yield {"type": "text", "text": text_of(text) if text.strip() else NOTHING}
        case ToolResult():
            result: Object = {"type": "tool_result", "tool_use_id": call_id(message.call_id, quirks)}
            said = text_of(message.text)
            result["content"] = (
                [{"type": "text", "text": said}, *map(_image, message.images)] if message.images else said
            )
            yield result | {"is_error": True} if message.is_error else result
        case Assistant() if message.native and origin and message.origin == origin:
            yield from message.native
        case Assistant():
            if message.text.strip():
                yield {"type": "text", "text": text_of(message.text)}
            for call in message.tool_calls:
                given = {"id": call_id(call.id, quirks), "name": call.name}
                yield {"type": "tool_use", **given, "input": arguments_object(call.arguments)}
        case _:
            pass


def _image(image: Image) -> Object:
    source = {"type": "base64", "media_type": image.media_type, "data": base64_of(image)}
    return {"type": "image", "source": source}


def failure(event: Object) -> Any:
    return event.get("error")


class Decoder:
    """Events to deltas."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._usage: Object = {}
        self._timings: Object = {}
        self._blocks: dict[int, Object] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        """Block and field -> what has come of it; joined once, so a long reply costs linear time."""
        self._calls: dict[int, int] = {}
        """Block -> our index of the call."""
        self._stopped = False

    @property
    def ended(self) -> bool:
        return self._stopped or self._reason is not None

    @property
    def done(self) -> bool:
        return self._stopped

    @property
    def empty(self) -> bool:
        return not self._blocks and not self.ended

    def decode(self, event: Object) -> list[Delta]:
        self._timings = object_of(event.get("timings")) or self._timings
        match string(event.get("type")):
            case "message_start":
                self._usage |= object_of(object_of(event.get("message")).get("usage"))
            case "message_delta":
                self._usage |= {
                    name: told for name, told in object_of(event.get("usage")).items() if told is not None
                }
                if reason := event["delta"].get("stop_reason"):
                    self._reason = string(reason)
            case "message_stop":
                self._stopped = True
            case "content_block_start":
                return list(self._begin(event["index"], event["content_block"]))
            case "content_block_delta":
                return list(self._piece(event["index"], event["delta"]))
        return []

    def _begin(self, place: int, block: Object) -> Iterator[Delta]:
        kept = self._blocks[place] = dict(block)
        match kept.get("type"):
            case "tool_use":
                index = self._calls[place] = len(self._calls)
                whole = json_text(kept["input"]) if kept.get("input") else ""
                self._pieces[place, "input"] = [whole]
                yield ToolCallDelta(index, string(kept.get("id")), string(kept.get("name")), whole)
            case "text" if kept.get("text"):
                yield TextDelta(string(kept["text"]))
            case "thinking" if kept.get("thinking"):
                yield ReasoningDelta(string(kept["thinking"]))

    def _piece(self, place: int, delta: Object) -> Iterator[Delta]:
        match delta.get("type"):
            case "text_delta":
                yield TextDelta(self._more(place, "text", delta["text"]))
            case "thinking_delta":
                yield ReasoningDelta(self._more(place, "thinking", delta["thinking"]))
            case "signature_delta":
                self._more(place, "signature", delta["signature"])
            case "input_json_delta":
                piece = self._more(place, "input", delta["partial_json"])
                yield ToolCallDelta(self._calls[place], arguments=piece)

    def _more(self, place: int, field: str, piece: object) -> str:
        pieces = self._pieces.get((place, field))
        if pieces is None:
            pieces = self._pieces[place, field] = [self._blocks[place].get(field) or ""]
        pieces.append(string(piece))
        return pieces[-1]

    def finish(self) -> Finish:
        usage, timings = self._usage, self._timings
        cached = count(usage.get("cache_read_input_tokens"))
        told = count(usage.get("input_tokens")) + count(usage.get("cache_creation_input_tokens")) + cached
        return Finish(
            _REASONS.get(self._reason or "", "unknown"),
            Usage(
                input_tokens=told,
                cached_input_tokens=cached,
                output_tokens=count(usage.get("output_tokens")),
                requests=1,
            ),
            prompt_ms=number(timings.get("prompt_ms")),
            output_ms=number(timings.get("predicted_ms")),
            native=tuple(self._native()),
        )

    def _native(self) -> Iterator[Object]:
        """The blocks as they must go back, if the provider signed or sealed any of them."""
        for (place, field), pieces in self._pieces.items():
            self._blocks[place][field] = "".join(pieces)
        blocks = [block for _, block in sorted(self._blocks.items())]
        if not any(block.get("signature") or block.get("type") == "redacted_thinking" for block in blocks):
            return
        for block in blocks:
            match block.get("type"):
                case "tool_use":
                    yield block | {"input": arguments_object(block["input"])}
                case "text" if not block.get("text", "").strip():
                    pass  # the provider refuses blank text that it wrote itself
                case _:
                    yield block
