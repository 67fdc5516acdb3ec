from __future__ import annotations

from typing import Annotated

from sandbox.base import FileError, FileMissing
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.changes import Change, make
from tools.files import (
    explained,
    new_syntax_error,
    read_file,
    refuse_placeholder,
    shown_target,
    workspace_path,
)
from tools.patch import apply_hunks, unified
from tools.patchtext import FilePatch, parse
from tools.textfile import decode


@tool(Effect.WRITE)
async def apply_patch(
    ctx: ToolContext, patch: Annotated[str, "*** Begin Patch ... *** End Patch, or a unified diff"]
) -> ToolOutput:
    """Add, update, move and delete files by a patch: all of it or nothing."""
    changes: list[Change] = []
    lines: list[str] = []
    for one in parse(patch):
        made = await _changes(ctx, one)
        changes += made
        lines.append(_line(ctx, one, made))
    await make(ctx, changes)
    views = [_diff(change) for change in changes]
    return ToolOutput("\n".join(lines), view="\n".join([*lines, *filter(None, views)]))


async def _changes(ctx: ToolContext, one: FilePatch) -> list[Change]:
    path = await workspace_path(ctx, one.path)
    if one.kind == "add":
        await _must_be_free(ctx, path)
        refuse_placeholder(one.content, "")
        return [Change(path, None, one.content.encode("utf-8", "replace"))]
    found = await read_file(ctx, path)
    if one.kind == "delete":
        return [Change(path, found.data, None, found.hash, found.mode)]
    if not one.hunks and not one.moved_to:
        raise ToolError(f"The patch has no lines for {path}.")
    try:
        after = apply_hunks(found.data, one.hunks)
    except ToolError as error:
        gap = "\n" if "\n" in str(error) else " "
        raise ToolError(f"{path}: {error}{gap}Nothing was changed.") from error
    if not one.moved_to:
        return [Change(path, found.data, after, found.hash, found.mode)]
    target = await workspace_path(ctx, one.moved_to)
    await _must_be_free(ctx, target)
    return [
        Change(target, None, after, mode=found.mode),
        Change(path, found.data, None, found.hash, found.mode),
    ]


async def _must_be_free(ctx: ToolContext, path: str) -> None:
    await shown_target(ctx, path)
    try:
        await ctx.sandbox.read(path, limit=0)
    except FileMissing:
        return
    except FileError as error:
        raise await explained(ctx, path, error) from error
    raise ToolError(f"{path} exists already. Update it, or delete it first.")


def _line(ctx: ToolContext, one: FilePatch, made: list[Change]) -> str:
    change = made[0]
    if change.after is None:
        return f"Deleted {change.path}."
    before = made[-1].before or b""
    note = new_syntax_error(ctx, change.path, before, change.after)
    if one.kind == "add":
        return f"Created {change.path}.{note}"
    return (
        f"Moved {made[1].path} to {change.path}.{note}" if len(made) > 1 else f"Updated {change.path}.{note}"
    )


def _diff(change: Change) -> str:
    try:
        before, after = (decode(data or b"").text for data in (change.before, change.after))
    except ToolError:
        return ""
    return unified(before, after, change.path, 2)
