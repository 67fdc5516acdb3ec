"""OpenAI Responses, without any state at the server: each request carries the whole conversation.

Reasoning comes as items whose content only OpenAI can read (`encrypted_content`); they go back unchanged in
front of the calls that they led to.

Sources: OpenAI API reference, "Responses" and its streaming events; the guide "Reasoning models", section
"Encrypted reasoning items"; llama.cpp `tools/server/README.md` for what its `/v1/responses` adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from agent.messages import Assistant, Message, System, ToolResult, Usage, User
from agent.models.base import (
    Delta,
    Finish,
    PromptProgress,
    Quirks,
    ReasoningDelta,
    Request,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from agent.models.wire._plain import (
    Object,
    arguments_text,
    beside,
    call_id,
    count,
    data_url,
    number,
    object_of,
    plain,
    string,
    text_of,
    with_quirks,
)

PATH = "/responses"
VERSION = "/v1"
VERSION_ALWAYS = False
KEY_HEADER = "authorization"
HEADERS: Mapping[str, str] = {}

_CUT: dict[str, StopReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_TEXT = ("response.output_text.delta", "response.refusal.delta")
_REASONING = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_END = ("response.completed", "response.incomplete", "response.failed")
_SENT_BACK = (
    "type",
    "role",
    "phase",
    "content",
    "summary",
    "encrypted_content",
    "call_id",
    "name",
    "arguments",
)
"""Fields of an item that go back. Its id does not: the server keeps nothing that it could name."""


def to_wire(request: Request, *, model: str, quirks: Quirks, origin: str = "") -> Object:
    """The body of `POST /responses`. The system message becomes `instructions`."""
    body: Object = {"model": model, "stream": True, "store": False}
    first = request.messages[0] if request.messages else None
    if isinstance(first, System):
        body["instructions"] = text_of(first.text)
    if request.tools:
        body["tools"] = [
            {"type": "function", **msgspec.to_builtins(tool), "strict": False} for tool in request.tools
        ]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body[quirks.max_tokens_field or "max_output_tokens"] = request.max_tokens
    if request.output_schema is not None:
        schema = {"type": "json_schema", "name": "reply", "schema": request.output_schema, "strict": True}
        body["text"] = {"format": schema}
    if quirks.slot_field and request.slot is not None:
        body[quirks.slot_field] = request.slot
    with_quirks(body, quirks, "reasoning.effort")
    messages = beside(plain(request.messages, quirks))
    body["input"] = [item for message in messages for item in _items(message, quirks, origin)]
    return body


def _items(message: Message, quirks: Quirks, origin: str) -> Iterator[Object]:
    match message:
        case User():
            yield {"role": "user", "content": _content(message)}
        case ToolResult():
            answered = call_id(message.call_id, quirks)
            yield {"type": "function_call_output", "call_id": answered, "output": text_of(message.text)}
        case Assistant() if message.native and origin and message.origin == origin:
            yield from message.native
        case Assistant():
            if message.text or not message.tool_calls:
                content = [{"type": "output_text", "text": text_of(message.text)}]
                yield {"type": "message", "role": "assistant", "content": content}
            for call in message.tool_calls:
                yield {
                    "type": "function_call",
                    "call_id": call_id(call.id, quirks),
                    "name": call.name,
                    "arguments": arguments_text(call.arguments),
                }
        case System():
            pass


def _content(message: User) -> list[Object]:
    parts: list[Object] = [{"type": "input_image", "image_url": data_url(image)} for image in message.images]
    if message.text or not parts:
        parts.append({"type": "input_text", "text": text_of(message.text)})
    return parts


def failure(event: Object) -> Any:
    if event.get("type") == "error":
        return event.get("error") or event
    if event.get("type") == "response.failed":
        return object_of(event.get("response")).get("error") or event
    return event.get("error") if "type" not in event else None


class Decoder:
    """Events to deltas. Calls are counted as their items begin."""

    def __init__(self) -> None:
        self._end: Object | None = None
        self._timings: Object = {}
        self._calls: dict[object, int] = {}
        """The item's place in the output -> our index of the call."""
        self._written: dict[int, int] = {}
        """Characters that have come of each call's arguments."""
        self._items: list[Object] = []
        self._seen = False

    @property
    def ended(self) -> bool:
        return self._end is not None

    done = ended

    @property
    def empty(self) -> bool:
        return not self._seen and self._end is None

    def decode(self, event: Object) -> list[Delta]:
        deltas = list(self._deltas(event))
        self._seen = self._seen or bool(deltas)
        self._timings = object_of(event.get("timings")) or self._timings
        if progress := object_of(event.get("prompt_progress")):
            deltas.append(PromptProgress(count(progress.get("processed")), count(progress.get("total"))))
        return deltas

    def _deltas(self, event: Object) -> Iterable[Delta]:
        kind = string(event.get("type"))
        if kind in _TEXT:
            yield TextDelta(string(event.get("delta")))
        elif kind in _REASONING:
            yield ReasoningDelta(string(event.get("delta")))
        elif kind == "response.reasoning_summary_part.added" and event.get("summary_index"):
            yield ReasoningDelta("\n\n")
        elif kind == "response.function_call_arguments.delta":
            yield self._arguments(event, string(event.get("delta")))
        elif kind == "response.output_item.added":
            yield from self._begin(event)
        elif kind == "response.output_item.done":
            yield from self._finish_item(event)
        elif kind in _END:
            self._end = object_of(event.get("response"))

    def _begin(self, event: Object) -> Iterable[Delta]:
        item = event["item"]
        if item.get("type") == "function_call":
            index = self._calls[_place(event)] = len(self._calls)
            self._written[index] = 0
            yield ToolCallDelta(index, string(item.get("call_id")), string(item.get("name")))

    def _arguments(self, event: Object, piece: str) -> ToolCallDelta:
        index = self._calls.get(_place(event), len(self._calls) - 1)
        if index < 0:
            raise ValueError("arguments without a call")
        self._written[index] += len(piece)
        return ToolCallDelta(index, arguments=piece)

    def _finish_item(self, event: Object) -> Iterable[Delta]:
        """The item is whole: what was not streamed of a call is given out, and the item kept."""
        item = event["item"]
        self._items.append({name: item[name] for name in _SENT_BACK if name in item})
        if item.get("type") != "function_call":
            return
        if _place(event) not in self._calls:
            yield from self._begin(event)
        arguments = string(item.get("arguments") or "")
        written = self._written[self._calls[_place(event)]]
        if written < len(arguments):
            yield self._arguments(event, arguments[written:])

    def finish(self) -> Finish:
        end = self._end or {}
        usage = object_of(end.get("usage"))
        timings = self._timings or object_of(end.get("timings"))
        return Finish(
            self._reason(end) if self.ended else "unknown",
            Usage(
                input_tokens=count(usage.get("input_tokens"), timings.get("prompt_n")),
                cached_input_tokens=count(
                    object_of(usage.get("input_tokens_details")).get("cached_tokens"), timings.get("cache_n")
                ),
                output_tokens=count(usage.get("output_tokens"), timings.get("predicted_n")),
                requests=1,
            ),
            prompt_ms=number(timings.get("prompt_ms")),
            output_ms=number(timings.get("predicted_ms")),
            native=tuple(self._items) if any(item.get("encrypted_content") for item in self._items) else (),
        )

    def _reason(self, end: Object) -> StopReason:
        if end.get("status") == "incomplete":
            return _CUT.get(str(object_of(end.get("incomplete_details")).get("reason")), "unknown")
        return "tool_calls" if self._calls else "stop"


def _place(event: Object) -> object:
    return event.get("output_index", event.get("item_id"))
