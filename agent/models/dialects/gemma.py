"""Gemma 4 and FunctionGemma: `<|tool_call>call:read{path:<|"|>a.py<|"|>}<tool_call|>`.

Keys are bare, and texts stand between marks of their own, without escapes. FunctionGemma has
`<start_function_call>`, `<end_function_call>` and `<escape>` in their place. Sources: Google's pages "Gemma 4
prompt formatting" and "FunctionGemma formatting". Gemma 3 has no form of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import ToolResult
from agent.models.dialects._calls import arguments_call
from agent.models.dialects._dialect import MAX_CALLS, Dialect, Reading, json_of
from agent.models.dialects._offer import Offer, Written

_CALL = re.compile(r"\s*(?:<\|tool_call>|<start_function_call>)\s*call\s*:\s*(?P<name>[\w.:/-]+?)\s*(?=\{)")
_END = re.compile(
    r"\s*(?:<tool_call\|>|<end_function_call>)(?:\s*(?:<\|tool_response>|<start_function_response>))?"
)
_TEXT = r'<\|"\|>(?P<new>.*?)<\|"\|>|<escape>(?P<old>.*?)<escape>'
_TOKEN = re.compile(
    rf'{_TEXT}|(?P<json>"(?:[^"\\]|\\.)*")|(?P<mark>[{{}}\[\]:,])|(?P<bare>[^{{}}\[\]:,"<]+|.)', re.DOTALL
)
_LITERAL = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_QUOTE = '<|"|>'


class Gemma(Dialect):
    name = "gemma"
    rank = 18
    mark = r"(?:<\|tool_call>|<start_function_call>)\s*call\s*:\s*[\w.:/-]+\s*\{"

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        calls: list[Written] = []
        position = start
        while len(calls) < MAX_CALLS and (call := _CALL.match(text, position)):
            arguments, position = _object(text, call.end())
            calls.append(arguments_call(call["name"], arguments, offer))
            if end := _END.match(text, position):
                position = end.end()
        return Reading(calls, position)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return f"<|tool_call>call:{name}{_written(arguments)}<tool_call|>"

    def render_results(self, results: Sequence[ToolResult]) -> str:
        return "".join(
            f"<|tool_response>response:{one.name}{_written({'value': one.text})}<tool_response|>"
            for one in results
        )


def _object(text: str, start: int) -> tuple[str, int]:
    """The object at `start` as JSON, and where it ends; left open when the text ends in it."""
    pieces: list[str] = []
    depth = 0
    position = start
    while token := _TOKEN.match(text, position):
        if token["bare"] == "<" and (_QUOTE.startswith(text[position:]) or _opens_text(text, position)):
            break
        position = token.end()
        mark = token["mark"] or ""
        pieces.append(_as_json(token))
        depth += (mark in "{[") - (mark in "}]") if mark else 0
        if mark and depth == 0:
            return "".join(pieces), position
    return "".join(pieces), len(text)


def _opens_text(text: str, at: int) -> bool:
    return text.startswith((_QUOTE, "<escape>"), at)


def _as_json(token: re.Match[str]) -> str:
    given = token["new"] if token["new"] is not None else token["old"]
    if given is not None:
        return json.dumps(given, ensure_ascii=False)
    word = (token["bare"] or "").strip()
    if word and not _LITERAL.fullmatch(word):
        return json.dumps(word, ensure_ascii=False)
    return token[0]


def _written(value: Any) -> str:
    if isinstance(value, str):
        return f"{_QUOTE}{value}{_QUOTE}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return json_of(value)


dialect = Gemma()
