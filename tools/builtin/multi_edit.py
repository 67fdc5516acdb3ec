from __future__ import annotations

from tools.base import Effect, ToolContext, ToolOutput, tool
from tools.editing import edit_file
from tools.matching import Replacement


@tool(Effect.WRITE)
async def multi_edit(ctx: ToolContext, path: str, edits: list[Replacement]) -> ToolOutput:
    """Make several edits of one file, one after the other: all or none."""
    return await edit_file(ctx, path, edits)
