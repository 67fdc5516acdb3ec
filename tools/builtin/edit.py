from __future__ import annotations

import difflib
from typing import Annotated

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import new_syntax_error, read_file, workspace_path, write_file
from tools.matching import Edit, apply_edit, decode

AROUND = 3


@tool(Effect.WRITE)
async def edit(
    ctx: ToolContext,
    path: str,
    old_string: Annotated[str, "exact text, unique in the file"],
    new_string: str,
    replace_all: bool = False,
) -> ToolOutput:
    """Replace old_string by new_string in a file.

    An exact match proves that the model knows the text, so a file that it has not read, or that changed
    since, may be edited by one. A looser match there is refused, once, with the lines as they are now.
    """
    path = workspace_path(ctx, path)
    found = await read_file(ctx, path)
    done = apply_edit(found.data, old_string, new_string, replace_all=replace_all)
    if done.how != "exact" and ctx.seen.get(path) != found.hash:
        state = "changed since you read it" if path in ctx.seen else "was not read yet"
        ctx.seen[path] = found.hash
        raise ToolError(f"{path} {state} and has no exact match. It now reads:\n{_region(found.data, done)}")
    await write_file(ctx, path, done.data, found.hash)
    places = ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in done.lines[:10])
    loosely = "" if done.how == "exact" else f" (matched but for {done.how})"
    note = new_syntax_error(path, found.data, done.data)
    text = f"Edited {path}, line{'s' if '-' in places or ',' in places else ''} {places}{loosely}.{note}"
    return ToolOutput(text, view=_diff(path, found.data, done.data) + note)


def _region(before: bytes, done: Edit) -> str:
    """The lines of the file around the first place, numbered as `read` does."""
    first, last = done.lines[0]
    lines = decode(before).text.splitlines()
    start = max(first - AROUND, 1)
    return "\n".join(f"{n}\t{line}" for n, line in enumerate(lines[start - 1 : last + AROUND], start))


def _diff(path: str, before: bytes, after: bytes) -> str:
    old, new = decode(before).text.splitlines(), decode(after).text.splitlines()
    return "\n".join(difflib.unified_diff(old, new, path, path, lineterm="", n=2))
