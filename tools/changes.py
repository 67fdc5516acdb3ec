"""Several files changed together: all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from sandbox.base import FileError
from tools.base import ToolContext, ToolError
from tools.files import explained


class Change(msgspec.Struct, frozen=True):
    """What becomes of one path."""

    path: str
    before: bytes | None
    """None: it must not exist."""
    after: bytes | None
    """None: it is taken away."""
    hash: str = ""
    """sha256 of `before`."""
    mode: int | None = None
    """Mode of the new file; None for that of the old one, or the usual."""


async def make(ctx: ToolContext, changes: Sequence[Change]) -> None:
    """Make the changes one by one; when one is refused, those before it are taken back."""
    done: list[tuple[Change, str]] = []
    for change in changes:
        try:
            done.append((change, await _make(ctx, change)))
        except FileError as error:
            left = [one.path for one, fresh in reversed(done) if not await _taken_back(ctx, one, fresh)]
            wrong = await explained(ctx, change.path, error)
            still = f" Still changed: {', '.join(left)}." if left else " Nothing was changed."
            raise ToolError(f"{wrong}{still}") from error
    for change, fresh in done:
        ctx.written[change.path] = fresh
        if fresh:
            ctx.seen[change.path] = fresh
        else:
            ctx.seen.pop(change.path, None)


async def _make(ctx: ToolContext, change: Change) -> str:
    """The sha256 of what is there now; empty when nothing is."""
    if change.after is None:
        await ctx.sandbox.remove(change.path, expect_hash=change.hash)
        return ""
    return await ctx.sandbox.write(change.path, change.after, expect_hash=change.hash, mode=change.mode)


async def _taken_back(ctx: ToolContext, change: Change, fresh: str) -> bool:
    with suppress(FileError):
        if change.before is None:
            await ctx.sandbox.remove(change.path, expect_hash=fresh)
        else:
            await ctx.sandbox.write(change.path, change.before, expect_hash=fresh, mode=change.mode)
        return True
    return False
