"""A call as plain JSON: in a code fence, in `<tools>` tags, or as the whole reply.

Qwen2.5-Coder writes this whatever its template asks for (vLLM #32926), so no server's parser finds it.
A fence counts when its whole body is calls of offered tools; JSON that is anything else is data.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.messages import ToolCall
from agent.models.base import ToolSpec
from agent.models.dialects._blocks import Block, blocks
from agent.models.dialects._calls import Written, offered, read_broken_call, read_calls
from agent.models.dialects.hermes import render_results as render_results

name = "fenced_json"
rank = 90

INFO = frozenset(("", "json", "jsonc", "json5", "tool", "tools", "tool_call", "tool_calls"))
"""Languages of a fence that may hold calls."""


def find(text: str, tools: Sequence[ToolSpec], prefix: str = "call_") -> tuple[ToolCall, ...]:
    """The calls of the reply. One that the reply's end cut off comes back broken."""
    if '"name"' not in text:
        return ()
    calls = read_calls(text) or read_broken_call(text)
    if not calls:
        calls = [call for block in blocks(text, "tools") for call in _read(block)]
    return offered(calls, tools, prefix)


def _read(block: Block) -> list[Written]:
    if block.info not in INFO:
        return []
    return read_calls(block.body) or ([] if block.closed else read_broken_call(block.body))
