from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from sandbox.registries import PACKAGES
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import workspace_path

MAX_FILES = 200
NOISE = frozenset(
    {".git", "__pycache__", "node_modules", ".venv", PACKAGES, ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)


@tool(Effect.READ)
async def glob(ctx: ToolContext, pattern: Annotated[str, "such as **/*.py"]) -> ToolOutput:
    """List files by name.

    A pattern without a slash is looked for in every folder. Folders of caches and installed packages are left
    out unless the pattern names them.
    """
    wanted = workspace_path(ctx, pattern)
    try:
        rule = re.compile(translate(wanted))
    except re.error as error:
        raise ToolError(f"Not a glob pattern: {error}.") from None
    hidden = NOISE - set(wanted.split("/"))
    entries = await ctx.sandbox.list(depth=-1)
    found = [e.path for e in entries if e.kind != "dir" and not hidden & set(PurePosixPath(e.path).parts)]
    found = [path for path in found if rule.fullmatch(path)]
    if not found:
        return ToolOutput("No files match.")
    lines = found[:MAX_FILES]
    if len(found) > MAX_FILES:
        lines.append(f"[{len(found)} files in all; narrow the pattern]")
    return ToolOutput("\n".join(lines))


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
