"""Mistral: `[TOOL_CALLS][{"name": ..., "arguments": {...}}]`, since 2025 `[TOOL_CALLS]name[ARGS]{...}`.

Sources: the tokenizers v3 to v13 of `mistral-common`; v11 puts `[CALL_ID]` between name and `[ARGS]`, and
servers that drop the control tokens leave `name{...}` or `name[ARGS]{...}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import ToolResult
from agent.models.dialects._calls import arguments_call, read_calls
from agent.models.dialects._dialect import MAX_CALLS, Dialect, Reading, json_of
from agent.models.dialects._json import object_at
from agent.models.dialects._offer import Offer, Written

_MARK = re.compile(r"\s*\[/?TOOL_CALLS\]\s*")
_CALL = re.compile(r"\s*(?P<name>[\w.:/-]+)\s*(?:\[CALL_ID\]\s*[\w-]*\s*)?(?:\[ARGS\]\s*|(?=\{))")
_NEXT = re.compile(r"\[TOOL_CALLS\]|</s>|\[/TOOL_CALLS\]")


class Mistral(Dialect):
    name = "mistral"
    rank = 20
    mark = r"\[TOOL_CALLS\]|(?:(?<=\n)|\A)[\w.-]+\[ARGS\](?=\s*\{)"

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        calls: list[Written] = []
        position = start
        while len(calls) < MAX_CALLS:
            mark = _MARK.match(text, position)
            position = mark.end() if mark else position
            if text[position : position + 1] in ("[", "{"):
                listed, position = object_at(text, position, _NEXT)
                calls += read_calls(listed, offer, marked=True)
                continue
            call = _CALL.match(text, position)
            known = call is not None and ("[ARGS]" in call[0] or offer.name(call["name"]) in offer)
            if call is None or (calls and not mark and not known):
                return Reading(calls, position)
            arguments, position = object_at(text, call.end(), _NEXT)
            calls.append(arguments_call(call["name"], arguments, offer))
        return Reading(calls, position)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return f"[TOOL_CALLS]{name}[ARGS]{json_of(arguments)}"

    def render_results(self, results: Sequence[ToolResult]) -> str:
        return "".join(f"[TOOL_RESULTS]{one.text}[/TOOL_RESULTS]" for one in results)


dialect = Mistral()
