from __future__ import annotations

import re
from typing import Annotated

from sandbox.base import FileError
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import explained, workspace_path

MAX_MATCHES = 100
MAX_LINE = 200


@tool(Effect.READ)
async def grep(
    ctx: ToolContext,
    pattern: Annotated[str, "regular expression"],
    path: str = ".",
    glob: str = "",
) -> ToolOutput:
    """Search file contents."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ToolError(
            f"Not a regular expression: {error}. Escape special characters with a backslash."
        ) from None
    path = workspace_path(ctx, path)
    try:
        found = await ctx.sandbox.search(pattern, path, glob=glob or None, limit=MAX_MATCHES + 1)
    except FileError as error:
        raise await explained(ctx, path, error) from error
    if not found:
        return ToolOutput("No matches.")
    lines = [f"{name}:{number}: {line.strip()[:MAX_LINE]}" for name, number, line in found[:MAX_MATCHES]]
    if len(found) > MAX_MATCHES:
        lines.append(f"[more than {MAX_MATCHES} matches; narrow the pattern or the path]")
    return ToolOutput("\n".join(lines))
