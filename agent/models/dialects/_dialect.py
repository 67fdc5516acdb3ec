"""What a dialect is: how it finds calls in text, and how it writes them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from agent.messages import ToolCall, ToolResult
from agent.models.base import ToolSpec
from agent.models.dialects._offer import Offer, Written

MAX_CALLS = 50
"""A reply with more calls is a model that goes in circles; the rest is not read."""


class Reading(NamedTuple):
    """What stands at a mark. Without calls it is passed over, where None lets others look into it."""

    calls: list[Written]
    end: int
    """Behind the last character that belongs to the calls."""


class Fence(NamedTuple):
    """A code fence."""

    info: str
    """What follows the opening marks, in lower case."""
    body: str
    closed: bool
    before: str
    """The text in front of it, to its beginning or to what was read last."""
    behind: str
    """The text behind it, to the end."""
    above: str
    """All text in front of it."""


class Dialect:
    """One way to write calls; each module of the folder holds one as `dialect`.

    A dialect overrides the readers of the places where its calls stand. They get the whole text with line
    ends as LF, and are asked by the one walk of `_scan`, which knows what is only quoted.
    """

    name: ClassVar[str]
    """The same as the module's."""
    rank: ClassVar[int]
    """Lower is asked first: dialects with marks of their own before those that look like ordinary text."""
    mark: ClassVar[str] = ""
    """Regular expression of what begins a call and nothing else; without groups that capture."""
    line_mark: ClassVar[str] = ""
    """The same for what may also be ordinary text; found at the beginning of a line only."""
    announced: ClassVar[bool] = False
    """Its form says of itself that it is a call, though it has no marks; words around it count less then."""

    names_tools: ClassVar[bool] = False
    """Its calls name a tool, so advice (`you can use this:`) in front of one is how small models call."""

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        """The calls at a mark that begins at `start`; None when it begins none."""
        return None

    def read_fence(self, fence: Fence, offer: Offer) -> list[Written]:
        """The calls that a code fence consists of."""
        return []

    def find(self, text: str, tools: Sequence[ToolSpec], prefix: str = "call_") -> tuple[ToolCall, ...]:
        """The calls in a whole reply as this dialect alone reads it, their ids `prefix` + 1, 2, ..."""
        from agent.models.dialects._scan import scan

        return numbered((found.call for found in scan(text, Offer(tools), (self,))), prefix)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """A call as the model was trained to write it."""
        raise NotImplementedError

    def render_calls(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        return "\n".join(self.render_call(name, arguments) for name, arguments in calls)

    def render_results(self, results: Sequence[ToolResult]) -> str:
        """The results of one step as the text of a user message."""
        return "\n".join(f"<tool_response>\n{result.text}\n</tool_response>" for result in results)

    def render_tools(self, tools: Sequence[ToolSpec]) -> str:
        """What the system prompt says of the tools when the server's template cannot."""
        shown = "\n".join(json_of({"type": "function", "function": _plain(tool)}) for tool in tools)
        form = self.render_call(*example(tools[0])) if tools else ""
        return (
            "# Tools\n\nYou have these tools, each with the JSON Schema of its arguments:\n"
            f"<tools>\n{shown}\n</tools>\n\n"
            f"A call of a tool is written like this, with nothing behind it:\n{form}"
        )


def numbered(calls: Iterable[Written], prefix: str) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(f"{prefix}{n}", call.name, call.arguments) for n, call in enumerate(calls, 1))


def example(tool: ToolSpec) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a call that shows the form: what is required, with `...` for a text."""
    properties = tool.parameters.get("properties") or {}
    names = tool.parameters.get("required") or list(properties)[:1]
    values = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    return tool.name, {name: values.get(properties.get(name, {}).get("type"), "...") for name in names}


def json_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def text_of(value: Any) -> str:
    """A value as it stands between tags: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json_of(value)


def _plain(tool: ToolSpec) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
