"""OpenAI Chat Completions, which most providers and all local servers speak.

Sources: OpenAI API reference, "Chat" (`chat.completion.chunk`); llama.cpp `tools/server/README.md` for
`id_slot`, `cache_prompt`, `timings` and `prompt_progress`; `reasoning_content` as DeepSeek, llama.cpp and
SGLang name it, `reasoning` and `reasoning_details` as OpenRouter does; Mistral's API reference for content in
parts.
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
from agent.models.constrain import fields
from agent.models.wire._plain import (
    Object,
    arguments_text,
    beside,
    call_id,
    count,
    data_url,
    json_text,
    number,
    object_of,
    plain,
    string,
    text_of,
    with_quirks,
)
from agent.models.wire._tokens import TokenTaker

PATH = "/chat/completions"
VERSION = "/v1"
VERSION_ALWAYS = False
KEY_HEADER = "authorization"
HEADERS: Mapping[str, str] = {}

_REASONS: dict[str, StopReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
}


def to_wire(request: Request, *, model: str, quirks: Quirks, origin: str = "") -> Object:
    """The body of `POST /chat/completions`."""
    body: Object = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    if request.tools:
        body["tools"] = [
            {"type": "function", "function": msgspec.to_builtins(tool)} for tool in request.tools
        ]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body[quirks.max_tokens_field or "max_tokens"] = request.max_tokens
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if request.output_schema is not None and (request.answer_only or not request.tools):
        schema = {"name": "reply", "schema": request.output_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if quirks.slot_field and request.slot is not None:
        body[quirks.slot_field] = request.slot
    body |= fields(request.constrain, quirks.grammar, must_call=request.must_call)
    with_quirks(body, quirks, "reasoning_effort")
    body["messages"] = list(_messages(request.messages, quirks, origin))
    return body


def _messages(messages: Iterable[Message], quirks: Quirks, origin: str) -> Iterator[Object]:
    behind: Message | None = None
    for message in _joined(beside(plain(messages, quirks))):
        if quirks.bridge and isinstance(behind, ToolResult) and isinstance(message, User):
            yield {"role": "assistant", "content": quirks.bridge}
        behind = message
        match message:
            case System(text):
                yield {"role": "system", "content": text_of(text)}
            case User(text, images):
                yield {"role": "user", "content": _content(message) if images else text_of(text)}
            case ToolResult():
                answered = call_id(message.call_id, quirks)
                yield {"role": "tool", "tool_call_id": answered, "content": text_of(message.text)}
            case Assistant():
                yield _assistant(message, quirks, origin)


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages, those of the user that follow each other made one: many templates demand that roles take
    turns. What comes later is only appended to the text, so a request still repeats the one before it. A
    message with images stays by itself, for its content is a list.
    """
    said: list[str] = []
    for message in messages:
        if isinstance(message, User) and not message.images:
            said.append(message.text)
            continue
        if said:
            yield User("\n\n".join(said))
            said = []
        yield message
    if said:
        yield User("\n\n".join(said))


def _content(message: User) -> list[Object]:
    parts: list[Object] = [
        {"type": "image_url", "image_url": {"url": data_url(image)}} for image in message.images
    ]
    return [*parts, {"type": "text", "text": text_of(message.text)}] if message.text else parts


def _assistant(message: Assistant, quirks: Quirks, origin: str) -> Object:
    sent: Object = {"role": "assistant", "content": text_of(message.text)}
    if origin and message.origin == origin:
        for fields in message.native:
            sent |= fields
        if quirks.reasoning_field and not message.native and message.reasoning:
            sent[quirks.reasoning_field] = text_of(message.reasoning)
    if message.tool_calls:
        if quirks.reasoning_always:
            sent.setdefault(quirks.reasoning_field, "")
        sent["tool_calls"] = [
            {
                "id": call_id(call.id, quirks),
                "type": "function",
                "function": {"name": call.name, "arguments": arguments_text(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return sent


def failure(event: Object) -> Any:
    """Some servers that give up in the middle (SGLang, vLLM, OpenRouter) say so as a reason to stop alone."""
    if error := event.get("error"):
        return error
    for choice in event.get("choices") or ():
        if (reason := choice.get("finish_reason")) in ("abort", "error"):
            return f"the reply ended with finish_reason {reason!r}"
    return None


class Decoder:
    """Chunks to deltas. The stream ends with `[DONE]`, which the transport knows. A reply that comes at once
    is one chunk whose delta is called `message`.
    """

    done = False

    def __init__(self) -> None:
        self._reason: str | None = None
        self._usage: Object = {}
        self._timings: Object = {}
        self._details: list[Object] = []
        self._call_ids: list[str] = []
        self._call_of: dict[int, int] = {}
        """The server's index of a call -> ours; some servers give several calls the same index."""
        self._seen = False
        self._tokens = TokenTaker()

    @property
    def ended(self) -> bool:
        return self._reason is not None

    @property
    def empty(self) -> bool:
        return not self._seen and self._reason is None

    def decode(self, event: Object) -> list[Delta]:
        self._usage = object_of(event.get("usage")) or self._usage
        self._timings = object_of(event.get("timings")) or self._timings
        self._tokens.take(event)
        deltas: list[Delta] = []
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or choice.get("message") or {}
            if text := delta.get("reasoning_content") or delta.get("reasoning"):
                deltas.append(ReasoningDelta(string(text)))
            if details := delta.get("reasoning_details"):
                self._keep(details)
            if content := delta.get("content"):
                deltas += _content_deltas(content)
            for piece in delta.get("tool_calls") or ():
                deltas.append(self._tool_call(piece))
            if reason := choice.get("finish_reason"):
                self._reason = string(reason)
        self._seen = self._seen or bool(deltas)
        if progress := object_of(event.get("prompt_progress")):
            deltas.append(PromptProgress(count(progress.get("processed")), count(progress.get("total"))))
        return deltas

    def _keep(self, details: list[Object]) -> None:
        """Pieces of one detail share type and index and follow each other; their texts add up."""
        for piece in details:
            last = self._details[-1] if self._details else {}
            if last and all(last.get(name) == piece.get(name) for name in ("type", "index")):
                for name, value in piece.items():
                    grows = name in ("text", "summary", "data") and isinstance(last.get(name), str)
                    if value is not None:
                        last[name] = last[name] + string(value) if grows else value
            else:
                self._details.append(dict(piece))

    def _tool_call(self, piece: Object) -> ToolCallDelta:
        function = piece.get("function") or {}
        given = string(piece.get("id") or "")
        theirs = piece.get("index")
        if theirs is None:
            theirs = len(self._call_ids) if given or not self._call_ids else len(self._call_ids) - 1
        index = self._call_of.get(theirs)
        if index is None or (given and self._call_ids[index] and given != self._call_ids[index]):
            index = self._call_of[theirs] = len(self._call_ids)
            self._call_ids.append(given)
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = json_text(arguments)
        return ToolCallDelta(index, given, string(function.get("name") or ""), arguments)

    def finish(self) -> Finish:
        usage, timings = self._usage, self._timings
        details = object_of(usage.get("prompt_tokens_details"))
        cached = (
            details.get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),  # DeepSeek
            usage.get("cached_tokens"),  # Moonshot
            timings.get("cache_n"),
        )
        read = (usage.get("prompt_tokens"), count(timings.get("cache_n")) + count(timings.get("prompt_n")))
        written = (usage.get("completion_tokens"), timings.get("predicted_n"))
        return Finish(
            _REASONS.get(self._reason or "", "unknown"),
            Usage(
                input_tokens=count(*read),
                cached_input_tokens=count(*cached),
                output_tokens=count(*written),
                requests=1,
                cost_usd=number(usage.get("cost")),  # OpenRouter
            ),
            prompt_ms=number(timings.get("prompt_ms")),
            output_ms=number(timings.get("predicted_ms")),
            native=({"reasoning_details": self._details},) if self._details else (),
            tokens=self._tokens.tokens(count(*written)),
        )


def _content_deltas(content: object) -> Iterator[Delta]:
    """Text, or parts as Mistral's reasoning models write them."""
    for part in content if isinstance(content, list) else ():
        if part.get("type") == "thinking":
            yield from (ReasoningDelta(string(piece.get("text"))) for piece in part.get("thinking") or ())
        elif part.get("text"):
            yield TextDelta(string(part["text"]))
    if not isinstance(content, list):
        yield TextDelta(string(content))
