from __future__ import annotations

from sandbox.base import FileError, FileMissing
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import explained, new_syntax_error, workspace_path, write_file
from tools.matching import encode_like


@tool(Effect.WRITE)
async def write(ctx: ToolContext, path: str, content: str) -> ToolOutput:
    """Create a file, or overwrite one that was read.

    The encoding and the line ends of a file that is overwritten are kept.
    """
    path = workspace_path(ctx, path)
    try:
        found = await ctx.sandbox.read(path)
    except FileMissing:
        await write_file(ctx, path, content.encode("utf-8", "replace"), "")
        lines = len(content.splitlines())
        return ToolOutput(f"Created {path}, {lines} lines.{new_syntax_error(path, b'', content.encode())}")
    except FileError as error:
        raise await explained(ctx, path, error) from error
    if ctx.seen.get(path) != found.hash:
        state = "has changed since you read it" if path in ctx.seen else "exists and you have not read it"
        raise ToolError(f"{path} {state}. Read it first, or use edit.")
    data = encode_like(found.data, content)
    await write_file(ctx, path, data, found.hash)
    return ToolOutput(
        f"Wrote {path}, {len(content.splitlines())} lines.{new_syntax_error(path, found.data, data)}"
    )
