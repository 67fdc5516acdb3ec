"""The right form of a call, for a model that wrote one wrongly as text: told once in a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from agent.events import AnyEvent, ToolFinished
from agent.models.base import ToolSpec
from agent.models.toolmode import right_form
from tools.base import Tool


class Forms:
    """What to add to the results of calls that could not be understood.

    Nothing for calls that came natively: their form is the server's matter.
    """

    def __init__(self, dialect: str, tools: Mapping[str, Tool], events: Iterable[AnyEvent]) -> None:
        self._dialect = dialect
        self._tools = tools
        self._told = [event.result.text for event in events if isinstance(event, ToolFinished)]

    def of(self, name: str) -> str:
        """An example for the tool, or the one most like it by name; empty when it was shown before."""
        near = get_close_matches(name, self._tools, n=1, cutoff=0.0)
        tool = self._tools.get(name) or (self._tools[near[0]] if near else None)
        if not self._dialect or tool is None:
            return ""
        spec = ToolSpec(tool.name, tool.description, tool.parameters)
        form = f"\nA call is written like this:\n{right_form(self._dialect, (spec,))}"
        if any(form in text for text in self._told):
            return ""
        self._told.append(form)
        return form
