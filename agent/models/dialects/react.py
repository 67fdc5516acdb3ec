"""ReAct: `Action: read` and `Action Input: {"path": "a.py"}` on lines of their own.

Source: Yao et al. 2022, "ReAct", in the form that LangChain's and Qwen's agents made common. What the model
writes behind an `Observation:` of its own making is no call: it has not seen any result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import ToolResult
from agent.models.dialects._calls import arguments_call, read_calls
from agent.models.dialects._dialect import Dialect, Reading, json_of
from agent.models.dialects._json import extent, object_at
from agent.models.dialects._offer import Offer, Written
from agent.models.dialects._pythonic import read_python_calls

_BOLD = r"(?:\*\*|__)?"
_COLON = rf"{_BOLD}[ \t]*\d*[ \t]*[:：]{_BOLD}[ \t]*"
_ACTION = re.compile(rf"{_BOLD}(?:Action|✿FUNCTION✿){_COLON}(?P<name>[^\n]*)", re.I)
_INPUT = re.compile(rf"\s*{_BOLD}(?:Action[ _]?Input|Input|Arguments|✿ARGS✿){_COLON}", re.IGNORECASE)
_NEXT = re.compile(
    rf"^[ \t]*{_BOLD}(?:Observation|Thought|Action|Final Answer|✿RESULT✿|✿RETURN✿|✿FUNCTION✿)\b"
    r"[^\n:]{0,12}:|^[ \t]*```[ \t]*$",
    re.MULTILINE | re.I,
)
_OBSERVED = re.compile(r"\s*(?:```\s*)?(?:\*\*|__)?(?:Observation|✿RESULT✿)", re.I)
_NO_TOOL = frozenset(("none", "finish", "final", "final answer", "n/a", "done", "answer"))


class ReAct(Dialect):
    name = "react"
    rank = 60
    line_mark = rf"{_BOLD}(?i:Action|✿FUNCTION✿){_COLON}"
    announced = True

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        action = _ACTION.match(text, start)
        if action is None:
            return None
        calls, end = _read(text, action, offer)
        return Reading(calls, len(text) if _OBSERVED.match(text, end) else end) if calls else None

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return f"Action: {name}\nAction Input: {json_of(arguments)}"

    def render_results(self, results: Sequence[ToolResult]) -> str:
        return "\n".join(f"Observation: {one.text}" for one in results)


def _read(text: str, action: re.Match[str], offer: Offer) -> tuple[list[Written], int]:
    written = action["name"].strip()
    if not written or written[0] in "{[" or written.startswith("```"):
        body, end = object_at(text, action.start("name"), _NEXT)
        return read_calls(body, offer), _behind_fence(text, end)
    name = written.strip("`*\"' ")
    given = _INPUT.match(text, action.end())
    if given is None:
        return _in_line(name, text, action, offer)
    if name.lower() in _NO_TOOL or not re.fullmatch(r"[\w.:/-]+(?:\(\))?", name):
        return [], given.end()
    arguments, end = object_at(text, given.end(), _NEXT)
    if (stop := _NEXT.search(text, given.end())) and stop.start() < end:
        arguments, end = text[given.end() : stop.start()], stop.start()
    call = arguments_call(name, _plain(arguments), offer)
    return [call], _behind_fence(text, end)


def _plain(arguments: str) -> str:
    """Without the fence or the backticks around a text."""
    arguments = re.sub(r"\A\s*```\w*\n|\n?```\s*\Z", "", arguments.strip())
    return arguments[1:-1] if re.fullmatch(r"`[^`\n]+`", arguments) else arguments


def _in_line(name: str, text: str, action: re.Match[str], offer: Offer) -> tuple[list[Written], int]:
    """`Action: read[a.py]`, `Action: read(path="a.py")`, `Action: read {"path": ...}` or a name alone."""
    start = action.start("name")
    if bracket := re.compile(r"`?([\w.-]+)[ \t]*([\[({])").match(text, start):
        if offer.name(bracket[1]) not in offer:
            return [], action.end()
        reach = extent(text, bracket.start(2))
        inner = text[bracket.start(2) : reach.end]
        if bracket[2] == "{":
            return [arguments_call(bracket[1], inner, offer)], reach.end
        if bracket[2] == "(":
            return read_python_calls(text[bracket.start(1) : reach.end], offer, marked=False), reach.end
        return [arguments_call(bracket[1], inner[1:-1], offer)], reach.end
    offered = offer.name(name) in offer and not offer.required(offer.name(name))
    return ([offer.call(name, {})] if offered else []), action.end()


def _behind_fence(text: str, end: int) -> int:
    closing = re.compile(r"\s*```[ \t]*(?=\n|\Z)").match(text, end)
    return closing.end() if closing else end


dialect = ReAct()
