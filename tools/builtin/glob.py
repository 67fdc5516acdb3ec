from __future__ import annotations

import asyncio
import itertools
import re
from typing import Annotated

from sandbox.base import FileError
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import hidden, relative
from tools.globs import translate
from tools.ignored import NOISE, is_ignored, worth_showing

MAX_FILES = 200
EARLY = 1000
"""Entries that are asked for first: in a large tree most patterns need no more."""
MAX_FOUND = 10_000
MAX_S = 30.0
"""For one listing."""


@tool(Effect.READ)
async def glob(ctx: ToolContext, pattern: Annotated[str, "such as src/**/*.py"]) -> ToolOutput:
    """List files by name.

    A pattern without a slash is looked for in every folder. Files that the project ignores, caches, installed
    packages are left out unless the pattern names them or their folder. What is hidden is left out always.
    """
    if not pattern.strip():
        raise ToolError("There is no pattern. Give one, such as *.py or src/**/*.py; * lists all files.")
    wanted = relative(ctx, pattern.strip())
    if wanted.startswith("/") or ".." in wanted.split("/"):
        raise ToolError(f"{pattern} is outside of the workspace {ctx.sandbox.root}. Use a pattern inside it.")
    rule = translate(wanted)
    try:
        re.compile(rule)
    except re.error as error:
        raise ToolError(f"Not a glob pattern: {error}.") from None
    asked = await _asks_for_ignored(ctx, wanted)
    for most in (EARLY, MAX_FOUND):
        found, whole = await _found(ctx, rule, most)
        shown = await _shown(ctx, found, asked)
        if whole or len(shown) > MAX_FILES:
            break
    if not found:
        return ToolOutput(await _no_file(ctx, wanted))
    if not shown and (asked or not await worth_showing(ctx.sandbox, found, asked=True)):
        raise ToolError(hidden(found[0]))
    lines = shown[:MAX_FILES]
    if len(shown) > MAX_FILES:
        lines.append(f"[more than {MAX_FILES} files; narrow the pattern]")
    elif not whole:
        lines.append(f"[of more than {MAX_FOUND} matches the first were looked at; narrow the pattern]")
    if not shown:
        lines.append(
            f"No files match but {len(found)} that the project ignores; name their folder to list them."
        )
    return ToolOutput("\n".join(lines))


async def _no_file(ctx: ToolContext, pattern: str) -> str:
    try:
        is_folder = (await ctx.sandbox.resolve(pattern)).kind == "dir"
    except FileError:
        is_folder = False
    whole = "*" if pattern == "." else f"{pattern}/**"
    return f"{pattern} is a folder. List its files with {whole}." if is_folder else "No files match."


async def _found(ctx: ToolContext, rule: str, most: int) -> tuple[list[str], bool]:
    """(files whose paths a regular expression fits, whether they are all), of up to `most` entries.

    An expression can take very long over one name, so it is tried in the sandbox.
    """
    limit = min(ctx.timeout_s, MAX_S)
    try:
        async with asyncio.timeout(limit):
            entries = await ctx.sandbox.list(depth=-1, match=rule, limit=most)
    except TimeoutError:
        raise ToolError(f"Listing was stopped after {limit:g} s. Use a pattern with fewer stars.") from None
    return [entry.path for entry in entries if entry.kind != "dir"], len(entries) < most


async def _shown(ctx: ToolContext, found: list[str], asked: bool) -> list[str]:
    """Those of the files that may be shown, not many more than are needed."""
    shown: list[str] = []
    step = MAX_FILES + 1
    for start in range(0, len(found), step):
        shown += await worth_showing(ctx.sandbox, found[start : start + step], asked=asked)
        if len(shown) > MAX_FILES:
            break
    return shown


async def _asks_for_ignored(ctx: ToolContext, pattern: str) -> bool:
    """Whether the pattern says plainly that it is about something ignored."""
    parts = pattern.split("/")
    literal = list(itertools.takewhile(lambda part: not set("*?[{") & set(part), parts))
    if NOISE & set(parts):
        return True
    return bool(literal) and await is_ignored(ctx.sandbox, "/".join(literal))
