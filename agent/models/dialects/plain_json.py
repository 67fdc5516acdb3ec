"""A call as a plain JSON object in the reply: OLMo 2, small models, and all whose prompt asks for it.

OLMo 3 puts Python calls into `<function_calls>`, which `hermes` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import ToolResult
from agent.models.dialects._bare import read_bare
from agent.models.dialects._dialect import Dialect, Reading, json_of
from agent.models.dialects._offer import Offer


class PlainJson(Dialect):
    name = "plain_json"
    rank = 50
    names_tools = True
    line_mark = r"(?:\[\s*)?\{+\s*[\"'“]"

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        return read_bare(text, start, offer)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return json_of({"name": name, "arguments": arguments})

    def render_results(self, results: Sequence[ToolResult]) -> str:
        return "\n".join(json_of({"name": one.name, "result": one.text}) for one in results)


dialect = PlainJson()
