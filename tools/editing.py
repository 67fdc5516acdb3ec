"""Edits of one file of the workspace: against what it is now, told in words for the model."""

from __future__ import annotations

from collections.abc import Sequence

from tools.base import ToolContext, ToolError, ToolOutput
from tools.files import new_syntax_error, read_file, workspace_path, write_file
from tools.matching import Edit, MatchError, Replacement, apply_edits
from tools.patch import unified
from tools.textfile import decode, plain

AROUND = 3
SHOWN = 10
"""Places that are named one by one."""
_LOOSELY = {"elision": "what `...` leaves out", "similarity": "slips in lines that stay as they are"}


async def edit_file(ctx: ToolContext, path: str, edits: Sequence[Replacement]) -> ToolOutput:
    """Make all edits of one file, or none.

    An exact match proves that the model knows the text, so a file that it has not read, or that changed
    since, may be edited by one. A looser match there is refused, once, with the lines as they are now.
    """
    path = await workspace_path(ctx, path)
    found = await read_file(ctx, path)
    stale = "" if ctx.seen.get(path) == found.hash else _state(ctx, path)
    try:
        done = apply_edits(found.data, edits)
    except MatchError as error:
        raise MatchError(f"{path} {stale}. {error}" if path in ctx.seen and stale else str(error)) from error
    if done.how != "exact" and stale:
        ctx.seen[path] = found.hash
        raise ToolError(f"{path} {stale} and has no exact match. It now reads:\n{_region(found.data, done)}")
    note = new_syntax_error(ctx, path, found.data, done.data)
    await write_file(ctx, path, done.data, found.hash)
    places = ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in done.lines[:SHOWN])
    if len(done.lines) > SHOWN:
        places += f", ... ({len(done.lines)} places)"
    loosely = "" if done.how == "exact" else f" (matched but for {_LOOSELY.get(done.how, done.how)})"
    text = f"Edited {path}, line{'s' if '-' in places or ',' in places else ''} {places}{loosely}.{note}"
    before, after = (plain(decode(data).text) for data in (found.data, done.data))
    return ToolOutput(text, view=unified(before, after, path, 2) + note)


def _state(ctx: ToolContext, path: str) -> str:
    return "changed since you read it" if path in ctx.seen else "was not read yet"


def _region(before: bytes, done: Edit) -> str:
    """The lines of the file around the first place, numbered as `read` does."""
    first, last = done.lines[0]
    lines = plain(decode(before).text).split("\n")
    start = max(first - AROUND, 1)
    return "\n".join(f"{n}\t{line}" for n, line in enumerate(lines[start - 1 : last + AROUND], start))
