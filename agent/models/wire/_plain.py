"""What wires share: messages before they take a wire's form, and values of a server's JSON. Pure."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from agent.messages import Assistant, Image, Message, ToolResult, User
from agent.models import dialects
from agent.models.base import Quirks

Object = dict[str, Any]

NOTHING = "(nothing)"
"""Stands for text that is empty, where a provider refuses empty text."""


UNSEEN = "[This model cannot see images.]"
ABOVE = "[The images of the results above, in their order.]"


def plain(messages: Iterable[Message], quirks: Quirks) -> Iterator[Message]:
    """The messages, those of a dialect turned into plain text, and without images in results for the blind.

    Results of calls that a dialect found in text go back as that dialect's text in a user message. The
    assistant's message is sent as the model wrote it, without `tool_calls`: a server's template would write
    the calls a second time, and the prompt would no longer repeat what the model's cache holds.
    """
    dialect = ""
    results: list[ToolResult] = []
    for message in messages:
        if isinstance(message, ToolResult) and message.images and quirks.images is False:
            message = msgspec.structs.replace(message, text=f"{message.text}\n{UNSEEN}", images=())
        if dialect and isinstance(message, ToolResult):
            results.append(message)
            continue
        if results:
            yield _rendered(dialect, results)
            results = []
        if isinstance(message, Assistant):
            dialect = message.dialect
            if dialect:
                message = msgspec.structs.replace(message, tool_calls=(), dialect="")
        yield message
    if results:
        yield _rendered(dialect, results)


def _rendered(dialect: str, results: list[ToolResult]) -> User:
    return User(dialects.load()[dialect].render_results(results), tuple(_images(results)))


def _images(results: Iterable[ToolResult]) -> Iterator[Image]:
    return (image for result in results for image in result.images)


def beside(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages, images of results in a message of the user's behind all results of the step.

    For wires whose results are text alone. A request is only sent once a step has all its results, so what
    comes later does not change it.
    """
    results: list[ToolResult] = []
    for message in (*messages, None):
        if isinstance(message, ToolResult):
            results.append(message)
            yield msgspec.structs.replace(message, images=())
            continue
        if shown := tuple(_images(results)):
            yield User(ABOVE, shown)
        results = []
        if message is not None:
            yield message


def text_of(text: str) -> str:
    """Half a surrogate pair (an undecodable file name) cannot be sent; it becomes `?`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def arguments_object(raw: str) -> Object:
    """The arguments as a JSON object; those that are none under the name `unparsed`."""
    raw = text_of(raw)
    try:
        decoded = msgspec.json.decode(raw or "{}")
    except msgspec.DecodeError:
        decoded = None
    return decoded if isinstance(decoded, dict) else {"unparsed": raw}


def arguments_text(raw: str) -> str:
    """The arguments as written, if they are a JSON object.

    Servers parse the arguments of earlier calls too; broken ones would make every later request fail.
    """
    decoded = arguments_object(raw)
    if "unparsed" in decoded and decoded["unparsed"] == text_of(raw):
        return json_text(decoded)
    return text_of(raw) or "{}"


def json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def base64_of(image: Image) -> str:
    return b64encode(image.data).decode()


def data_url(image: Image) -> str:
    return f"data:{image.media_type};base64,{base64_of(image)}"


def call_id(given: str, quirks: Quirks) -> str:
    """The id as given, or one of the length that the provider demands, always the same for the same id."""
    length = quirks.call_id_length
    if not length or (len(given) == length and given.isascii() and given.isalnum()):
        return given
    return hashlib.sha256(given.encode(errors="replace")).hexdigest()[:length]


def with_quirks(body: Object, quirks: Quirks, effort_field: str) -> Object:
    """The body with the extra fields and the effort, which come before the messages' key."""
    merge(body, quirks.extra)
    if quirks.effort:
        if quirks.effort in quirks.efforts:
            merge(body, quirks.efforts[quirks.effort])
        else:
            merge(body, _nested(quirks.effort_field or effort_field, quirks.effort))
    return body


def merge(into: Object, more: Mapping[str, Any]) -> None:
    """Put `more` into the object, nested objects too; None takes a field out."""
    for name, value in more.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(into.get(name, {}), dict):
            into[name] = dict(into.get(name, {}))
            merge(into[name], value)
        else:
            into[name] = value


def _nested(path: str, value: str) -> Object:
    name, _, rest = path.partition(".")
    return {name: _nested(rest, value) if rest else value}


def string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


def object_of(value: object) -> Object:
    """Counts that are no object are passed over: a whole reply is not given up for them."""
    return value if isinstance(value, dict) else {}


def count(*values: object) -> int:
    """The first that is a number and not 0."""
    return next((value for value in values if isinstance(value, int) and value > 0), 0)


def number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
