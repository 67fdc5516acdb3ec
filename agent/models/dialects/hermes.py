"""Hermes and Qwen2.5: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

Source: the chat template of Qwen2.5-Coder-1.5B-Instruct, which also puts results into `<tool_response>`.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.messages import ToolCall, ToolResult
from agent.models.base import ToolSpec
from agent.models.dialects._blocks import blocks
from agent.models.dialects._calls import offered, read_broken_call, read_calls

name = "hermes"
rank = 10


def find(text: str, tools: Sequence[ToolSpec], prefix: str = "call_") -> tuple[ToolCall, ...]:
    """The calls in `<tool_call>` tags, the last of which may lack its end; also all of them in one fence."""
    if "<tool_call>" not in text:
        return ()
    found = list(blocks(text, "tool_call"))
    if len(found) == 1 and found[0].kind == "fence" and _is_whole(text):
        found = list(blocks(found[0].body, "tool_call"))
    calls = [
        call
        for block in found
        if block.kind == "tag"
        for call in read_calls(block.body, marked=True) or read_broken_call(block.body, marked=True)
    ]
    return offered(calls, tools, prefix)


def render_results(results: Sequence[ToolResult]) -> str:
    return "\n".join(f"<tool_response>\n{result.text}\n</tool_response>" for result in results)


def _is_whole(text: str) -> bool:
    """The reply is one fence and nothing else."""
    text = text.strip()
    return text.startswith("```") and (text.endswith("```") or text.count("```") == 1)
