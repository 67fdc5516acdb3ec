from __future__ import annotations

from sandbox.base import FileError, FileMissing
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import (
    explained,
    new_syntax_error,
    refuse_placeholder,
    shown_target,
    workspace_path,
    write_file,
)
from tools.textfile import decode, encode_like


@tool(Effect.WRITE)
async def write(ctx: ToolContext, path: str, content: str) -> ToolOutput:
    """Create a file, or overwrite one that was read.

    The encoding and the line ends of a file that is overwritten are kept.
    """
    path = await workspace_path(ctx, path)
    await shown_target(ctx, path)
    try:
        found = await ctx.sandbox.read(path)
    except FileMissing:
        refuse_placeholder(content, "")
        data = content.encode("utf-8", "replace")
        note = new_syntax_error(ctx, path, b"", data)
        await write_file(ctx, path, data, "")
        return ToolOutput(f"Created {path}, {len(content.splitlines())} lines.{note}")
    except FileError as error:
        raise await explained(ctx, path, error) from error
    if ctx.seen.get(path) != found.hash:
        state = "has changed since you read it" if path in ctx.seen else "exists and you have not read it"
        raise ToolError(f"{path} {state}. Read it first, or use edit.")
    refuse_placeholder(content, decode(found.data).text)
    data = encode_like(found.data, content)
    note = new_syntax_error(ctx, path, found.data, data)
    await write_file(ctx, path, data, found.hash)
    return ToolOutput(f"Wrote {path}, {len(content.splitlines())} lines.{note}")
