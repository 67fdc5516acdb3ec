"""OpenAI Chat Completions: requests to plain data, streamed chunks to deltas. Pure.

The messages are the last key of the body and each is a function of itself alone, so the request of a longer
conversation repeats the bytes of the shorter one and a server's prompt cache holds.

Sources: OpenAI API reference, "Chat" (`chat.completion.chunk`); llama.cpp `tools/server/README.md` for
`id_slot`, `cache_prompt` and `timings`; `reasoning_content` as DeepSeek, llama.cpp and vLLM name it,
`reasoning` as OpenRouter and newer vLLM do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from agent.messages import Assistant, Message, System, ToolResult, Usage, User
from agent.models import dialects
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
from agent.models.constrain import fields

PATH = "/chat/completions"

Object = dict[str, Any]

_REASONS: dict[str, StopReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


def to_wire(request: Request, *, model: str, quirks: Quirks) -> Object:
    """The body of `POST /chat/completions`, its keys in a fixed order and the messages last."""
    body: Object = {"model": model, "stream": True}
    if quirks.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [
            {"type": "function", "function": msgspec.to_builtins(tool)} for tool in request.tools
        ]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body[quirks.max_tokens_field] = request.max_tokens
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if quirks.reasoning_effort:
        body["reasoning_effort"] = quirks.reasoning_effort
    if quirks.llama_cpp:
        body["cache_prompt"] = True
        if request.slot is not None:
            body["id_slot"] = request.slot
    grammar = quirks.grammar or ("gbnf" if quirks.llama_cpp else "")
    body |= fields(request.constrain, grammar, must_call=request.must_call)
    body["messages"] = list(_messages(request.messages))
    return body


def _messages(messages: Iterable[Message]) -> Iterator[Object]:
    """Results of calls that a dialect found in text go back as that dialect's text in a user message.

    Such an assistant message is sent as the model wrote it, without `tool_calls`: a server's template would
    write the calls a second time, and the prompt would no longer repeat what the model's cache holds.
    """
    dialect = ""
    results: list[ToolResult] = []
    for message in messages:
        if dialect and isinstance(message, ToolResult):
            results.append(message)
            continue
        if results:
            yield _results(dialect, results)
            results = []
        if isinstance(message, Assistant):
            dialect = message.dialect
        yield _message(message)
    if results:
        yield _results(dialect, results)


def _results(dialect: str, results: list[ToolResult]) -> Object:
    return {"role": "user", "content": _text(dialects.load()[dialect].render_results(results))}


def _message(message: Message) -> Object:
    match message:
        case System(text):
            return {"role": "system", "content": _text(text)}
        case User(text):
            return {"role": "user", "content": _text(text)}
        case ToolResult():
            return {"role": "tool", "tool_call_id": message.call_id, "content": _text(message.text)}
        case Assistant():
            sent: Object = {"role": "assistant", "content": _text(message.text)}
            if message.tool_calls and not message.dialect:
                sent["tool_calls"] = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": _arguments(call.arguments)},
                    }
                    for call in message.tool_calls
                ]
            return sent


def _text(text: str) -> str:
    """Half a surrogate pair (an undecodable file name) cannot be sent; it becomes `?`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def _arguments(raw: str) -> str:
    """The arguments as written, if they are a JSON object.

    Servers parse the arguments of earlier calls too; broken ones would make every later request fail.
    """
    raw = _text(raw)
    try:
        if isinstance(msgspec.json.decode(raw or "{}"), dict):
            return raw or "{}"
    except msgspec.DecodeError:
        pass
    return msgspec.json.encode({"unparsed": raw}).decode()


class Decoder:
    """Turns the decoded JSON of one stream's events into deltas; lenient where servers differ."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._usage: Object = {}
        self._timings: Object = {}
        self._call_ids: list[str] = []
        self._call_of: dict[int, int] = {}
        """The server's index of a call -> ours; some servers give several calls the same index."""
        self._seen = False

    @property
    def ended(self) -> bool:
        """The server said why it stopped; only token counts can follow."""
        return self._reason is not None

    @property
    def empty(self) -> bool:
        """Nothing of a reply has come, not even its end."""
        return not self._seen and self._reason is None

    def decode(self, event: Object) -> list[Delta]:
        """Deltas of one event. Raises TypeError, AttributeError or ValueError when it is malformed."""
        self._usage = _object(event.get("usage")) or self._usage
        self._timings = _object(event.get("timings")) or self._timings
        deltas: list[Delta] = []
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            if text := delta.get("reasoning_content") or delta.get("reasoning"):
                deltas.append(ReasoningDelta(_string(text)))
            if text := delta.get("content"):
                deltas.append(TextDelta(_string(text)))
            for piece in delta.get("tool_calls") or ():
                deltas.append(self._tool_call(piece))
            if reason := choice.get("finish_reason"):
                self._reason = _string(reason)
        self._seen = self._seen or bool(deltas)
        return deltas

    def _tool_call(self, piece: Object) -> ToolCallDelta:
        function = piece.get("function") or {}
        call_id = _string(piece.get("id") or "")
        theirs = piece.get("index")
        if theirs is None:
            theirs = len(self._call_ids) if call_id or not self._call_ids else len(self._call_ids) - 1
        index = self._call_of.get(theirs)
        if index is None or (call_id and self._call_ids[index] and call_id != self._call_ids[index]):
            index = self._call_of[theirs] = len(self._call_ids)
            self._call_ids.append(call_id)
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        return ToolCallDelta(index, call_id, _string(function.get("name") or ""), arguments)

    def finish(self) -> Finish:
        """The end of the reply, with the counts as far as the server told them."""
        usage, timings = self._usage, self._timings
        details = _object(usage.get("prompt_tokens_details"))
        cached = (
            details.get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),  # DeepSeek
            timings.get("cache_n"),
        )
        read = (usage.get("prompt_tokens"), _count(timings.get("cache_n")) + _count(timings.get("prompt_n")))
        written = (usage.get("completion_tokens"), timings.get("predicted_n"))
        return Finish(
            _REASONS.get(self._reason or "", "unknown"),
            Usage(
                input_tokens=_count(*read),
                cached_input_tokens=_count(*cached),
                output_tokens=_count(*written),
                requests=1,
            ),
            prompt_ms=_milliseconds(timings.get("prompt_ms")),
            output_ms=_milliseconds(timings.get("predicted_ms")),
        )


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


def _object(value: object) -> Object:
    """Counts that are no object are passed over: a whole reply is not given up for them."""
    return value if isinstance(value, dict) else {}


def _count(*values: object) -> int:
    """The first that is a number and not 0."""
    return next((value for value in values if isinstance(value, int) and value > 0), 0)


def _milliseconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
