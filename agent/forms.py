"""What a model is told of calls that it wrote as text: the right form of a wrong one, and that one was not
run because nobody can tell whether it was meant. Each once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from agent.events import AnyEvent, Reminded, ToolFinished
from agent.models import dialects
from agent.models.base import ToolSpec
from agent.models.toolmode import right_form
from tools.base import Effect, Tool


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


def ask_if_meant(text: str, tools: Mapping[str, Tool], events: Iterable[AnyEvent]) -> str:
    """What to say to a reply without calls that ends in one that may be meant; empty when there is none.

    Only of tools that read: a small model takes such a question for an order, and what it was quoting may be
    anybody's.
    """
    specs = tuple(ToolSpec(tool.name, tool.description, tool.parameters) for tool in tools.values())
    tool = tools.get(dialects.doubted(text, specs))
    if tool is None or tool.effect is not Effect.READ:
        return ""
    asked = any(isinstance(event, Reminded) and event.text.startswith(_NOT_RUN) for event in events)
    return "" if asked else f"{_NOT_RUN} {tool.name}. {_IF_MEANT}"


_NOT_RUN = "Your reply ends with what may be a call, which was not run:"
_IF_MEANT = "If you meant it, write the call and nothing else. If not, give your answer again without it."
