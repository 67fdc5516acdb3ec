"""Gemini `generateContent`.

Parts of a reply can carry a `thoughtSignature` that must go back on the very same part; the parts of such a
reply are kept whole. Older models give calls no ids: their results are then told apart by their order.

Sources: Gemini API reference, "Generating content"; the guides "Thought signatures", "Function calling" and
"Structured outputs".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.messages import Assistant, Message, System, ToolCall, ToolResult, Usage, User
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
    beside,
    count,
    json_text,
    object_of,
    plain,
    string,
    text_of,
    with_quirks,
)

PATH = "/models/{model}:streamGenerateContent?alt=sse"
VERSION = "/v1beta"
VERSION_ALWAYS = True
KEY_HEADER = "x-goog-api-key"
HEADERS: Mapping[str, str] = {}

_REASONS: dict[str, StopReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
}


def to_wire(request: Request, *, model: str, quirks: Quirks, origin: str = "") -> Object:
    """The body of `POST /models/{model}:streamGenerateContent`; the model's name is in the path alone."""
    body: Object = {}
    first = request.messages[0] if request.messages else None
    if isinstance(first, System) and first.text:
        body["systemInstruction"] = {"parts": [{"text": text_of(first.text)}]}
    if request.tools:
        declared = [
            {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters}
            for tool in request.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
    settings: Object = {
        "temperature": request.temperature,
        "maxOutputTokens": request.max_tokens,
        "seed": request.seed,
        "stopSequences": list(request.stop) or None,
    }
    if request.output_schema is not None and (request.answer_only or not request.tools):
        settings |= {"responseMimeType": "application/json", "responseJsonSchema": request.output_schema}
    body["generationConfig"] = {name: value for name, value in settings.items() if value is not None}
    with_quirks(body, quirks, "generationConfig.thinkingConfig.thinkingLevel")
    body["contents"] = _contents(request, quirks, origin)
    return body


def _contents(request: Request, quirks: Quirks, origin: str) -> list[Object]:
    """Contents of the two roles in turn: all results of a step and what the user adds are one content."""
    contents: list[Object] = []
    ids: set[str] = set()
    """Calls whose id the provider gave: their results carry it too."""
    for message in beside(plain(request.messages, quirks)):
        if isinstance(message, System):
            continue
        role = "model" if isinstance(message, Assistant) else "user"
        parts = list(_parts(message, quirks, origin, ids))
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    return contents


def _parts(message: Message, quirks: Quirks, origin: str, ids: set[str]) -> Iterator[Object]:
    """The parts of one message. A model's without any text or call has none, and is left out."""
    match message:
        case User(text, images):
            for image in images:
                yield {"inlineData": {"mimeType": image.media_type, "data": base64_of(image)}}
            if text.strip() or not images:
                yield {"text": text_of(text) if text.strip() else NOTHING}
        case ToolResult():
            said = {"error" if message.is_error else "output": text_of(message.text)}
            answered = {"id": message.call_id} if message.call_id in ids else {}
            yield {"functionResponse": {**answered, "name": message.name, "response": said}}
        case Assistant() if message.native and origin and message.origin == origin:
            ids |= {part["functionCall"].get("id", "") for part in message.native if "functionCall" in part}
            yield from message.native
        case Assistant():
            if message.text.strip():
                yield {"text": text_of(message.text)}
            for number, call in enumerate(message.tool_calls):
                yield _call(call) | ({} if number else _unsigned(quirks))
        case _:
            pass


def _call(call: ToolCall) -> Object:
    return {"functionCall": {"name": call.name, "args": arguments_object(call.arguments)}}


def _unsigned(quirks: Quirks) -> Object:
    """Of calls that are made together the first one carries the signature."""
    return {"thoughtSignature": quirks.unsigned_call} if quirks.unsigned_call else {}


def failure(event: Object) -> Any:
    return event.get("error")


class Decoder:
    """Chunks to deltas. Nothing marks the stream's end; it is over when the server closes it."""

    done = False

    def __init__(self) -> None:
        self._reason: str | None = None
        self._usage: Object = {}
        self._parts: list[Object] = []
        self._text: list[str] = []
        """Pieces of the text that the last part holds; joined once, so a long reply costs linear time."""
        self._calls = 0

    @property
    def ended(self) -> bool:
        return self._reason is not None

    @property
    def empty(self) -> bool:
        return not self._parts and self._reason is None

    def decode(self, event: Object) -> list[Delta]:
        self._usage = object_of(event.get("usageMetadata")) or self._usage
        if blocked := object_of(event.get("promptFeedback")).get("blockReason"):
            self._reason = string(blocked)
        deltas: list[Delta] = []
        for candidate in event.get("candidates") or ():
            for part in object_of(candidate.get("content")).get("parts") or ():
                deltas += self._part(part)
            if reason := candidate.get("finishReason"):
                self._reason = string(reason)
        return deltas

    def _part(self, part: Object) -> Iterator[Delta]:
        self._keep(part)
        if "functionCall" in part:
            call = part["functionCall"]
            arguments = json_text(call.get("args") or {})
            yield ToolCallDelta(self._calls, string(call.get("id") or ""), string(call["name"]), arguments)
            self._calls += 1
        elif part.get("text"):
            text = string(part["text"])
            yield ReasoningDelta(text) if part.get("thought") else TextDelta(text)

    def _keep(self, part: Object) -> None:
        """Pieces of one text are one part again; a signature belongs to the part that it came with."""
        last = self._parts[-1] if self._parts else None
        if last is None or not (
            _is_text(last) and _is_text(part) and last.get("thought") == part.get("thought")
        ):
            self._close()
            self._parts.append(dict(part))
        if _is_text(part):
            self._text.append(string(part["text"]))

    def _close(self) -> None:
        if self._text:
            self._parts[-1]["text"] = "".join(self._text)
            self._text = []

    def finish(self) -> Finish:
        self._close()
        usage = self._usage
        reason = _REASONS.get(self._reason or "", "unknown")
        kept = [part for part in self._parts if not part.get("thought") and part != {"text": ""}]
        signed = any(part.get("thoughtSignature") for part in kept)
        return Finish(
            "tool_calls" if reason == "stop" and self._calls else reason,
            Usage(
                input_tokens=count(usage.get("promptTokenCount")),
                cached_input_tokens=count(usage.get("cachedContentTokenCount")),
                output_tokens=count(usage.get("candidatesTokenCount"))
                + count(usage.get("thoughtsTokenCount")),
                requests=1,
            ),
            native=tuple(kept) if signed else (),
        )


def _is_text(part: Object) -> bool:
    """Nothing but text, so that another piece can be added to it."""
    return "text" in part and part.keys() <= {"text", "thought"}
