"""Llama 3 and 4: JSON with `parameters`, behind `<|python_tag|>` or bare; Python calls in a list.

`<function=name>{...}</function>` is Llama 3.1's form for tools of the user. Sources: "Llama 3.1 / 3.2 / 4
prompt formats" in Meta's documentation; the pythonic form is also that of Gemma, in fences of `tool_code`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._bare import read_bare
from agent.models.dialects._calls import arguments_call, read_calls
from agent.models.dialects._dialect import MAX_CALLS, Dialect, Fence, Reading, json_of
from agent.models.dialects._json import extent, object_at
from agent.models.dialects._offer import Offer, Written
from agent.models.dialects._pythonic import read_python_calls

_TAG = re.compile(r"<\|python_(?:tag|start)\|>\s*")
_FUNCTION = re.compile(r"<function(?:\s*=\s*|\s+name\s*=\s*)[\"']?(?P<name>[\w.:/-]+)[\"']?\s*>\s*(?=[{\[])")
_FUNCTION_END = re.compile(r"\s*</?function\s*>|<\|eo[mt]_id\|>")
_END = re.compile(r"<\|(?:eom_id|eot_id|python_end|python_tag|python_start|end_of_text)\|>")
_PYTHON = r"\[\s*[A-Za-z_][\w.]*\(\s*(?:[A-Za-z_]\w*\s*=|[\"')\d{\[])"
_JSON = (
    r"\{\s*\"(?:type\"\s*:\s*\"function\"\s*,\s*\")?(?:name|function)\"\s*:\s*\"[^\"\n]+\"\s*,"
    r"\s*\"parameters\"\s*:"
)
_BEGUN = re.compile(r"\[\s*([A-Za-z_][\w.]*)")
_REST = re.compile(r"[ \t;.]*(?:<\|eo[mt]_id\|>)?[ \t]*(?=\n|\Z)")


class Llama3(Dialect):
    name = "llama3"
    rank = 40
    names_tools = True
    mark = rf"{_TAG.pattern}|{_FUNCTION.pattern.replace('?P<name>', '?:')}"
    line_mark = rf"(?:{_PYTHON}|{_JSON}|\A[A-Za-z_]\w*\(\s*[A-Za-z_]\w*\s*=)"

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        if tag := _TAG.match(text, start):
            return _tagged(text, tag.end(), offer)
        if _FUNCTION.match(text, start):
            return _functions(text, start, offer)
        if text[start] == "{":
            return read_bare(text, start, offer)
        if text[start] != "[":
            return Reading(read_python_calls(text, offer, marked=False), len(text))
        reach = extent(text, start)
        if reach.missing or reach.in_string:
            begun = _BEGUN.match(text, start)
            known = begun is not None and offer.name(begun[1]) in offer
            return Reading(read_python_calls(text[start:], offer), len(text)) if known else None
        if not _REST.match(text, reach.end):
            return None
        return Reading(read_python_calls(text[start : reach.end], offer, marked=False), reach.end)

    def read_fence(self, fence: Fence, offer: Offer) -> list[Written]:
        if fence.info in ("tool_code", "tool_call", "tool"):
            return read_python_calls(fence.body, offer, marked=False)
        if fence.info in ("", "python", "py") and re.match(rf"\s*{_PYTHON}", fence.body):
            return read_python_calls(fence.body, offer, marked=False)
        return []

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return json_of({"name": name, "parameters": arguments})


def _tagged(text: str, begin: int, offer: Offer) -> Reading:
    """What stands behind the tag: JSON, or Python to its end."""
    position = begin
    while gap := re.compile(r"[\s;,]*").match(text, position):
        at = gap.end()
        if text[at : at + 1] not in ("{", "["):
            break
        position = object_at(text, at, _END)[1]
    if position > begin and (calls := read_calls(text[begin:position], offer, marked=True)):
        return Reading(calls, position)
    ending = _END.search(text, begin)
    end, behind = ending.span() if ending else (len(text), len(text))
    return Reading(read_python_calls(text[begin:end], offer), behind)


def _functions(text: str, position: int, offer: Offer) -> Reading:
    calls: list[Written] = []
    end = position
    while len(calls) < MAX_CALLS and (call := _FUNCTION.match(text, position)):
        arguments, end = object_at(text, call.end(), _FUNCTION_END)
        calls.append(arguments_call(call["name"], arguments, offer))
        if ending := _FUNCTION_END.match(text, end):
            end = ending.end()
        blank = re.compile(r"\s*").match(text, end)
        position = blank.end() if blank else end
    return Reading(calls, end)


dialect = Llama3()
