from __future__ import annotations

from typing import Annotated

from tools import syntax
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import read_file, workspace_path, write_file
from tools.graft import replace_function as graft
from tools.patch import unified
from tools.textfile import decode


@tool(Effect.WRITE)
async def replace_function(
    ctx: ToolContext, path: str, name: Annotated[str, "such as f or Class.f"], code: str
) -> ToolOutput:
    """Replace a whole Python function; give it in full."""
    path = await workspace_path(ctx, path)
    found = await read_file(ctx, path)
    if syntax.language_of(path) != "python":
        raise ToolError(f"{path} is no Python file. Use edit.")
    after = graft(found.data, name, code, keep_docstring=False)
    if after == found.data:
        raise ToolError(f"{name} is written like this already; nothing to change.")
    await write_file(ctx, path, after, found.hash)
    before = decode(found.data).text
    return ToolOutput(f"Replaced {name} in {path}.", view=unified(before, decode(after).text, path, 2))
