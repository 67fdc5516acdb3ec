"""A call as JSON in a code fence or in `<tools>` tags.

Qwen2.5-Coder writes this whatever its template asks for (vLLM #32926), so no server's parser finds it. A
fence counts when its whole body is calls of offered tools; JSON that is anything else is data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._calls import read_calls, read_cut_call, read_lone_call
from agent.models.dialects._dialect import Dialect, Fence, Reading, json_of
from agent.models.dialects._offer import Offer, Written

INFO = frozenset(
    (
        "",
        "json",
        "jsonc",
        "json5",
        "jsonl",
        "tool",
        "tools",
        "tool_call",
        "tool_calls",
        "tool-call",
        "javascript",
        "js",
    )
)
"""Languages of a fence that may hold calls."""
_TAGS = re.compile(r"<tools?>(.*?)(?:</tools?>|\Z|(?=<tools?>))", re.DOTALL)


class FencedJson(Dialect):
    name = "fenced_json"
    rank = 52
    names_tools = True
    line_mark = r"<tools?>"

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        block = _TAGS.match(text, start)
        if block is None:
            return None
        calls = _read(block[1], offer, block[0].count("<") > 1)
        alone = not text[:start].strip() and not text[block.end() :].strip()
        return Reading(read_lone_call(block[1], offer) if alone and not calls else calls, block.end())

    def read_fence(self, fence: Fence, offer: Offer) -> list[Written]:
        if fence.info not in INFO:
            return []
        calls = _read(fence.body, offer, fence.closed)
        alone = not fence.above.strip() and not fence.behind.strip()
        return read_lone_call(fence.body, offer) if alone and not calls else calls

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return f"```json\n{json_of({'name': name, 'arguments': arguments})}\n```"


def _read(body: str, offer: Offer, closed: bool) -> list[Written]:
    return read_calls(body, offer) or ([] if closed else read_cut_call(body, offer))


dialect = FencedJson()
