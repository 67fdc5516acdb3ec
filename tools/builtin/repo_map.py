from __future__ import annotations

from typing import Annotated

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool

MAX_TOKENS = 8192


@tool(Effect.READ)
async def repo_map(
    ctx: ToolContext, query: Annotated[str, "the task, or names that matter"], tokens: int = 1024
) -> ToolOutput:
    """List the files and definitions that matter most for a task."""
    if ctx.map is None:
        raise ToolError("There is no map here. Use symbols or grep.")
    if not 1 <= tokens <= MAX_TOKENS:
        raise ToolError(f"tokens has to be in 1..{MAX_TOKENS}, got {tokens}.")
    return ToolOutput(await ctx.map(query, tokens) or "The map is empty. Use glob and grep.")
