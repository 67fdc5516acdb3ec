from __future__ import annotations

import itertools
import re
from typing import Annotated

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import hidden, relative
from tools.ignored import FILES, NOISE, is_ignored, worth_showing

MAX_FILES = 200


@tool(Effect.READ)
async def glob(ctx: ToolContext, pattern: Annotated[str, "such as src/**/*.py"]) -> ToolOutput:
    """List files by name.

    A pattern without a slash is looked for in every folder. Files that the project ignores, caches, installed
    packages are left out unless the pattern names them or their folder. What is hidden is left out always.
    """
    wanted = relative(ctx, pattern.strip())
    try:
        rule = re.compile(translate(wanted))
    except re.error as error:
        raise ToolError(f"Not a glob pattern: {error}.") from None
    entries = await ctx.sandbox.list(depth=-1)
    found = [e.path for e in entries if rule.fullmatch(e.path) and e.kind != "dir"]
    if not found:
        return ToolOutput("No files match.")
    rules = {e.path for e in entries if e.path.endswith(FILES)}
    asked = await _asks_for_ignored(ctx, wanted, rules)
    shown: list[str] = []
    for start in range(0, len(found), MAX_FILES):
        chunk = found[start : start + MAX_FILES]
        shown += await worth_showing(ctx.sandbox, chunk, asked=asked, existing=rules)
        if len(shown) > MAX_FILES:
            break
    if not shown and (asked or not await worth_showing(ctx.sandbox, found, asked=True, existing=rules)):
        raise ToolError(hidden(found[0]))
    lines = shown[:MAX_FILES]
    if len(shown) > MAX_FILES:
        lines.append(f"[more than {MAX_FILES} files; narrow the pattern]")
    if not shown:
        lines.append(
            f"No files match but {len(found)} that the project ignores; name their folder to list them."
        )
    return ToolOutput("\n".join(lines))


async def _asks_for_ignored(ctx: ToolContext, pattern: str, rules: set[str]) -> bool:
    """Whether the pattern says plainly that it is about something ignored."""
    parts = pattern.split("/")
    literal = list(itertools.takewhile(lambda part: not set("*?[{") & set(part), parts))
    if NOISE & set(parts):
        return True
    return bool(literal) and await is_ignored(ctx.sandbox, "/".join(literal), existing=rules)


def translate(pattern: str) -> str:
    """A regular expression for a glob: `*` and `?` stay within a folder, `**` does not, `{a,b}` is either."""
    if "/" not in pattern:
        pattern = f"**/{pattern}"
    braces = pattern.count("{") == pattern.count("}")
    result, depth = "", 0
    for token in re.findall(r"\*\*/|\*\*|\[[^/][^\]/]*\]|.", pattern, re.DOTALL):
        if token == "**/":
            result += "(?:[^/]+/)*"
        elif token == "**":
            result += ".*"
        elif token == "*":
            result += "[^/]*"
        elif token == "?":
            result += "[^/]"
        elif token.startswith("[") and len(token) > 2:
            negated, body = len(token) > 3 and token[1] == "!", token[1:-1]
            body = "".join(c if c == "-" else re.escape(c) for c in body[negated:])
            result += f"[{'^' if negated else ''}{body}]"
        elif token == "{" and braces:
            result, depth = result + "(?:", depth + 1
        elif token in "}," and depth:
            result, depth = result + (")" if token == "}" else "|"), depth - (token == "}")
        else:
            result += re.escape(token)
    return result + ")" * depth
