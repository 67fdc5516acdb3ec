"""Kimi K2: a section of calls, each an id `functions.name:0` and its arguments between marks.

Source: the chat template and `docs/tool_call_guidance.md` of Kimi-K2-Instruct.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import ToolResult
from agent.models.dialects._dialect import Dialect, Reading, json_of
from agent.models.dialects._marked import Marks, read_marked
from agent.models.dialects._offer import Offer

_MARKS = re.compile(r"\s*<\|tool_calls?_section_(?:begin|end)\|>")
_CALL = re.compile(r"\s*<\|tool_call_begin\|>\s*(?P<id>[\w.:/-]+)\s*(?:<\|tool_call_argument_begin\|>)?\s*")
_END = re.compile(r"\s*<\|tool_call_end\|>")
_MARKED = Marks(_MARKS, _CALL, _END, stop=re.compile(r"<\|tool_call"))


class Kimi(Dialect):
    name = "kimi"
    rank = 15
    mark = (
        r"<\|tool_calls?_section_begin\|>"
        r"|<\|tool_call_begin\|>\s*[\w.:/-]+\s*(?:<\|tool_call_argument_begin\|>|\{|\Z)"
    )

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        return read_marked(text, start, _MARKED, offer)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return self.render_calls([(name, arguments)])

    def render_calls(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        inner = "".join(
            f"<|tool_call_begin|>functions.{name}:{n}<|tool_call_argument_begin|>{json_of(given)}<|tool_call_end|>"
            for n, (name, given) in enumerate(calls)
        )
        return f"<|tool_calls_section_begin|>{inner}<|tool_calls_section_end|>"

    def render_results(self, results: Sequence[ToolResult]) -> str:
        return "\n\n".join(
            f"## Return of functions.{one.name}:{n}\n{one.text}" for n, one in enumerate(results)
        )


dialect = Kimi()
