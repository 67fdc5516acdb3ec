from __future__ import annotations

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import missing, read_file, shown_target, workspace_path
from tools.grammars import LANGUAGES, language_of
from tools.tags import MAX_BYTES, tags

MAX_LINES = 400


@tool(Effect.READ)
async def outline(ctx: ToolContext, path: str) -> ToolOutput:
    """List the definitions of a source file with their lines."""
    path = await workspace_path(ctx, path)
    language = language_of(path)
    if language is None:
        await _refuse_other(ctx, path)
        raise ToolError(f"{path} is in no language that can be outlined ({', '.join(LANGUAGES)}). Use read.")
    data = (await read_file(ctx, path)).data
    if len(data) > MAX_BYTES:
        raise ToolError(f"{path} has {len(data)} bytes, too many to outline. Use grep.")
    found = tags(data, language).definitions
    if not found:
        return ToolOutput(f"{path} defines nothing. Use read.")
    lines = [f"{definition.line}\t{definition.text}" for definition in found[:MAX_LINES]]
    if len(found) > MAX_LINES:
        lines.append(f"[{len(found)} definitions in all; use symbols or grep for the others]")
    return ToolOutput("\n".join(lines))


async def _refuse_other(ctx: ToolContext, path: str) -> None:
    """Raises ToolError for what is no file that may be shown."""
    match (await shown_target(ctx, path)).kind:
        case "dir":
            raise ToolError(
                f"{path} is a folder. Give a file; use glob to list files, symbols to find definitions."
            )
        case "missing":
            raise await missing(ctx, path)
