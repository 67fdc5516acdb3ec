"""Hermes, Qwen2.5 and all who put JSON into tags: `<tool_call>{"name": ..., "arguments": ...}</tool_call>`.

Sources: the chat templates of Qwen2.5-Coder-1.5B-Instruct and Hermes-2-Pro; Granite and Phi-4-mini
(`<|tool_call|>[...]`), Jamba and MiniMax-M1 (`<tool_calls>`), Command-R
(`<|START_ACTION|>[...]<|END_ACTION|>`), Nemotron (`<TOOLCALL>[...]`), LFM2 (`<|tool_call_start|>`), InternLM
(`<|action_start|><|plugin|>`) put the same into tags of their own; Phi-4-mini also writes `functools[...]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._calls import arguments_call, read_calls
from agent.models.dialects._dialect import Dialect, Reading, json_of
from agent.models.dialects._json import extent, value_at
from agent.models.dialects._offer import Offer, Written
from agent.models.dialects._pythonic import read_python_calls

_TAGS = "(?i:tool_calls?|toolcalls?|tool-calls?|function_calls?|functioncall|tool_code|tool_use)"
_OPEN = re.compile(
    rf"<(?P<tag>{_TAGS})(?:\s[^<>]*)?>|<\|(?P<bar>tool_calls?|function_call|START_ACTION|tool_call_start)\|>"
    r"|<\|action_start\|>\s*<\|plugin\|>|(?<!\w)functools(?=\[\s*\{)"
)
_CLOSE = re.compile(
    rf"</(?:{_TAGS})\s*>|<\|?/(?:tool_calls?|function_call)\|?>|<\|END_ACTION\|>|<\|tool_call_end\|>|<\|action_end\|>"
    r"|<\|im_end\|>|<\|eot_id\|>|<\|end_of_text\|>|<\|end\|>|</s>",
    re.IGNORECASE,
)
_BEGUN_TAG = re.compile(r"<[/|]{0,2}\w*\Z")
_NAME_ATTRIBUTE = re.compile(r"\bname\s*=\s*[\"']([\w.:/-]+)[\"']")
_NAMED = re.compile(r"\s*(?:<name>\s*)?(?P<name>[\w./-]+(?::\d+)?)(?:\s*</name>\s*<arguments>)?\s*(?=\{|```)")


class Hermes(Dialect):
    name = "hermes"
    rank = 30
    mark = _OPEN.pattern.replace("?P<tag>", "?:").replace("?P<bar>", "?:")

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        opening = _OPEN.match(text, start)
        if opening is None:
            return None
        begin = opening.end()
        position = _body_end(text, begin)
        closing = _CLOSE.search(text, position)
        following = _OPEN.search(text, position)
        if following and (closing is None or following.start() < closing.start()):
            end = behind = following.start()
        else:
            end, behind = closing.span() if closing else (len(text), len(text))
        body = text[begin:end] if end < len(text) else _BEGUN_TAG.sub("", text[begin:])
        calls = _read_body(body, offer)
        if (
            position > begin
            and not _are_whole(calls)
            and (first := read_calls(text[begin:position], offer, marked=True))
        ):
            return Reading(first, behind if closing or following else position)
        if (attribute := _NAME_ATTRIBUTE.search(opening[0])) and not calls:
            calls = [arguments_call(attribute[1], body, offer)]
        return Reading(calls, behind) if calls else None

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return f"<tool_call>\n{json_of({'name': name, 'arguments': arguments})}\n</tool_call>"


def _body_end(text: str, begin: int) -> int:
    """Behind the JSON values that the body begins with, so that a tag in their strings does not close it."""
    position = begin
    while gap := re.compile(r"[\s,]*").match(text, position):
        found = value_at(text, gap.end()) if text[gap.end() : gap.end() + 1] in ("{", "[") else None
        if found is None:
            break
        position = found[1]
    at = re.compile(r"\s*(?:```\w*\s*)?").match(text, begin)
    if position == begin and at and text[at.end() : at.end() + 1] in ("{", "["):
        reach = extent(text, at.end())
        return reach.end if not reach.missing and not reach.in_string else begin
    return position


def _are_whole(calls: list[Written]) -> bool:
    return bool(calls) and all(value_at(call.arguments, 0) and call.arguments.endswith("}") for call in calls)


def _read_body(body: str, offer: Offer) -> list[Written]:
    if calls := read_calls(body, offer, marked=True):
        return calls
    if (named := _NAMED.match(body)) and not body.strip().startswith("```"):
        rest = re.sub(r"</arguments>\s*\Z", "", body[named.end() :].strip())
        return [arguments_call(named["name"], rest, offer)]
    if calls := read_python_calls(body, offer):
        return calls
    brace = body.find("{")
    return read_calls(body[brace:].rstrip("` \n"), offer, marked=True) if brace > 0 else []


dialect = Hermes()
