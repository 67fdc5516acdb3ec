from __future__ import annotations

from typing import Annotated

from tools.base import Effect, ToolContext, ToolOutput, tool
from tools.editing import edit_file
from tools.matching import Replacement


@tool(Effect.WRITE)
async def edit(
    ctx: ToolContext,
    path: str,
    old_string: Annotated[str, "exact text, unique in the file"],
    new_string: str,
    replace_all: bool = False,
) -> ToolOutput:
    """Replace old_string by new_string in a file."""
    return await edit_file(ctx, path, [Replacement(old_string, new_string, replace_all)])
