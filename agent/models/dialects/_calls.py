"""JSON that is nothing but calls: `{"name": ..., "arguments": {...}}`, one, several, or a list of them.

The arguments' text is kept as the model wrote it wherever it is JSON. Put right is only what small models do
to it: raw line breaks in strings, arguments as a string of JSON, braces doubled as in a template's example.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

import msgspec

from agent.messages import ToolCall
from agent.models.base import ToolSpec

Written = tuple[str, str]
"""Name and arguments of a call."""

_JSON = json.JSONDecoder(strict=False)
_DOUBLED = re.compile(r'"(?:\\.|[^"\\])*"|\{\{|\}\}', re.DOTALL)
_BEGUN = re.compile(r'\[?\s*\{+\s*"name"\s*:\s*"([^"\\]+)"\s*,\s*"arguments"\s*:\s*(?=\{)')


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


def read_calls(text: str, *, marked: bool = False) -> list[Written]:
    """The calls that the text consists of; none when it holds anything else.

    `marked` text stands in a tag that says it is a call: then arguments may be missing.
    """
    text = text.strip()
    calls = _read(text, marked)
    if not calls and text.startswith("{{"):
        calls = _read(_DOUBLED.sub(lambda m: m[0] if m[0][0] == '"' else m[0][0], text), marked)
    return calls


def read_broken_call(text: str, *, marked: bool = False) -> list[Written]:
    """The one call that the text begins, when its JSON is cut; `marked` text may be broken otherwise too.

    Closed where only brackets are missing. Otherwise the arguments are left broken, so that running the call
    tells the model, and half a file is never written.
    """
    text = text.strip()
    begun = _BEGUN.match(text)
    if not begun:
        return []
    rest = text[begun.end() :]
    end, missing = _balance(rest)
    if missing is None:
        whole, behind = rest[:end], rest[end:]
        if _is_object(whole) and not behind.strip("}] \t\r\n"):
            return [(begun[1], whole)]
        return [(begun[1], rest)] if marked else []
    return [(begun[1], rest + missing if _is_object(rest + missing) else rest)]


def offered(calls: Iterable[Written], tools: Sequence[ToolSpec], prefix: str) -> tuple[ToolCall, ...]:
    """Those calls whose tool was offered, numbered from 1."""
    names = {tool.name for tool in tools}
    known = [call for call in calls if call[0] in names]
    return tuple(ToolCall(f"{prefix}{n}", name, arguments) for n, (name, arguments) in enumerate(known, 1))


def _read(text: str, marked: bool) -> list[Written]:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    calls: list[Written] = []
    position = 0
    while (position := _skip(text, position)) < len(text):
        try:
            value, end = _JSON.raw_decode(text, position)
            written = text[position:end]
            call = _call(written) or _call(json.dumps(value, ensure_ascii=False))
        except (ValueError, RecursionError):
            return []
        if call is None or not (marked or '"arguments"' in written):
            return []
        calls.append(call)
        position = end
    return calls


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position


def _call(written: str) -> Written | None:
    try:
        call = msgspec.json.decode(written, type=_Call)
        arguments = bytes(call.arguments).decode()
        if arguments.startswith('"'):
            arguments = msgspec.json.decode(arguments, type=str)
    except (ValueError, RecursionError):
        return None
    return (call.name, arguments) if _is_object(arguments) else None


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _balance(text: str) -> tuple[int, str | None]:
    """Where the object that the text begins ends, and None; or the text's end and the brackets it lacks."""
    brackets: list[str] = []
    in_string = escaped = False
    for position, char in enumerate(text):
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            brackets.append("}" if char == "{" else "]")
        elif char in "}]" and (brackets.pop() != char or not brackets):
            return position + 1, None
    return len(text), "".join(reversed(brackets))
