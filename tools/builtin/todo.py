from __future__ import annotations

from typing import Annotated

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.checklist import TodoItem, progress

MAX_ITEMS = 40
MAX_CHARS = 200
"""Of one item: the whole list is told again after a compaction."""


@tool(Effect.READ)
async def todo(ctx: ToolContext, items: Annotated[list[TodoItem], "the whole list"]) -> ToolOutput:
    """Keep the steps of a long task; each call replaces the list.

    Nothing outside of the session changes, so it needs no permission and runs beside others.
    """
    kept = tuple(TodoItem(" ".join(item.text.split()), item.status) for item in items)
    if len(kept) > MAX_ITEMS:
        raise ToolError(f"{len(kept)} items are too many, at most {MAX_ITEMS}. Put small steps together.")
    for number, item in enumerate(kept, 1):
        if not item.text:
            raise ToolError(f"Item {number} is empty. Say what is to be done.")
        if len(item.text) > MAX_CHARS:
            raise ToolError(f"Item {number} has {len(item.text)} characters, at most {MAX_CHARS}. Say less.")
    if ctx.on_todo is not None:
        ctx.on_todo(kept)
    return ToolOutput(f"[{progress(kept)}]")
