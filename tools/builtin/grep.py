from __future__ import annotations

import asyncio
import re
import warnings
from typing import Annotated

from sandbox.base import FileError, FileTooLarge, Matches, SandboxDied, SandboxError
from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.files import explained, missing, relative, shown_target, workspace_path
from tools.globs import translate
from tools.ignored import is_ignored, worth_showing

MAX_MATCHES = 100
MAX_LINE = 200
MAX_SEARCH_S = 30.0
"""For pawl's own search, whose engine can take very long over one line."""
MAX_FOUND = 2000
"""Matches that are looked at before ignored files are left out."""
MAX_BYTES = 4 * 1024 * 1024
"""Of ripgrep's output."""

_READ_DIFFERENTLY = re.compile(r"\(\?[^:]|\\[AZzB<>1-9]|\[\[|&&|--|~~|\{,")
"""What Python and ripgrep do not mean the same by, or only one of them knows."""
_SPANS_LINES = re.compile(r"\n|(?<!\\)(?:\\\\)*\\n")
_ONE_LINE = " A pattern is looked for within one line: search for one of its lines alone."


@tool(Effect.READ)
async def grep(
    ctx: ToolContext,
    pattern: Annotated[str, "regular expression"],
    path: str = ".",
    glob: Annotated[str, "such as *.py"] = "",
) -> ToolOutput:
    """Search file contents.

    Files that the project ignores are left out unless `path` is one of them; what is hidden always is.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ToolError(
            f"Not a regular expression: {error}. Escape special characters with a backslash."
        ) from None
    path = await _start(ctx, await workspace_path(ctx, path))
    glob = _plainer(relative(ctx, glob.strip()) if glob.strip() else "")
    asked = path != "." and await is_ignored(ctx.sandbox, path)
    found = None if "/" in glob else await _ripgrep(ctx, pattern, path, glob, asked)
    if found is None:
        found = await _search(ctx, pattern, path, glob)
    names = list(dict.fromkeys(name for name, _, _ in found))
    shown = set(await worth_showing(ctx.sandbox, names, asked=asked))
    found = [match for match in found if match[0] in shown]
    if not found:
        return ToolOutput(f"No matches.{_ONE_LINE if _SPANS_LINES.search(pattern) else ''}")
    lines = [f"{name}:{number}: {line.strip()[:MAX_LINE]}" for name, number, line in found[:MAX_MATCHES]]
    if len(found) > MAX_MATCHES:
        lines.append(f"[more than {MAX_MATCHES} matches; narrow the pattern or the path]")
    return ToolOutput("\n".join(lines))


def _plainer(glob: str) -> str:
    """`*.py` for `**/*.py`, which means the same and is one for ripgrep."""
    rest = glob.removeprefix("**/")
    return glob if "/" in rest else rest


async def _start(ctx: ToolContext, path: str) -> str:
    """Where a path leads, if it is one that may be shown: ripgrep itself would look anywhere."""
    if path == ".":
        return path
    target = await shown_target(ctx, path)
    if target.kind == "missing":
        raise await missing(ctx, path)
    if target.kind == "other":
        raise ToolError(f"{path} is neither a file nor a folder, so it cannot be searched.")
    return target.path


async def _search(ctx: ToolContext, pattern: str, path: str, glob: str) -> Matches:
    limit = min(ctx.timeout_s, MAX_SEARCH_S)
    try:
        async with asyncio.timeout(limit):
            return await ctx.sandbox.search(pattern, path, match=_rule(path, glob), limit=MAX_FOUND)
    except TimeoutError:
        raise _too_long(f"it took over {limit:g} s") from None
    except FileTooLarge as error:
        raise ToolError(f"{path} is too large ({error}). Use bash with grep, head or tail.") from error
    except FileError as error:
        raise await explained(ctx, path, error) from error
    except SandboxDied:
        raise
    except SandboxError as error:
        raise _too_long(str(error)) from None


def _rule(path: str, glob: str) -> str | None:
    """A regular expression for the paths that a glob means, from the workspace or from the folder `path`."""
    if not glob:
        return None
    start = "" if path == "." else f"(?:{re.escape(path)}/)?"
    return start + translate(glob)


def _too_long(why: str) -> ToolError:
    return ToolError(
        f"The search was stopped ({why}). Use a simpler pattern, without repetition inside repetition, "
        "or a smaller path."
    )


async def _ripgrep(ctx: ToolContext, pattern: str, path: str, glob: str, asked: bool) -> Matches | None:
    """What ripgrep finds; None when it is not there, cannot do it, or knows the pattern in another way."""
    if _READ_DIFFERENTLY.search(pattern) or "\n" in path:
        return None  # what ripgrep shows is told apart by its lines
    command = ["rg", "--no-config", "--no-messages", "--line-number", "--no-heading", "--with-filename"]
    command += ["--null", "--color=never", "--hidden", "--no-require-git", "--glob=!.git"]
    command += ["--crlf"]
    command += ["--no-ignore"] if asked else []
    # unlike --glob, a type of our own does not bring back what is ignored
    command += [f"--type-add=pawl:{glob}", "--type=pawl"] if glob else []
    command += [f"--max-count={MAX_FOUND}", f"--regexp={pattern}", "--", path]
    complete, found = await _matches(ctx, command)
    if not complete:  # in its own order it uses one core only, but what is cut off is the same every time
        complete, found = await _matches(ctx, [command[0], "--sort=path", *command[1:]])
    return found if found is None else sorted(found, key=_place)[:MAX_FOUND]


async def _matches(ctx: ToolContext, command: list[str]) -> tuple[bool, Matches | None]:
    """Whether all that ripgrep found was heard, and the matches; None when it failed."""
    kept: list[bytes] = []
    room = MAX_BYTES

    def hear(data: bytes) -> None:
        nonlocal room
        kept.append(data[: max(room, 0)])
        room -= len(data)

    done = await ctx.sandbox.run(command, on_output=hear)
    output = b"".join(kept)
    if done.exit_code not in (0, 1) or (done.exit_code and output):
        return True, None
    found: Matches = []
    for line in output.decode("utf-8", "replace").split("\n"):
        name, _, rest = line.partition("\0")
        number, _, text = rest.partition(":")
        if number.isdecimal():
            found.append((name.removeprefix("./"), int(number), text))
    return room >= 0, found


def _place(match: tuple[str, int, str]) -> tuple[list[str], int]:
    """By folders, as a walk meets the files."""
    return match[0].split("/"), match[1]
