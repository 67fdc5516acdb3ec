"""Files of the workspace as tools name, read and write them; every refusal is worded for the model."""

from __future__ import annotations

import difflib
import posixpath
from pathlib import PurePosixPath

from sandbox.base import (
    FileConflict,
    FileData,
    FileError,
    FileMissing,
    FileTooLarge,
    NotRegular,
    PathEscape,
    Target,
)
from tools.base import ToolContext, ToolError
from tools.ignored import HIDING, is_secret, worth_showing
from tools.placeholder import placeholder
from tools.wellformed import syntax_fault


async def workspace_path(ctx: ToolContext, path: str) -> str:
    """A path as the sandbox takes it: relative to the workspace, also when the model gave it in full.

    Blanks and newlines around it belong to the name only if there is such a file: models add stray ones.
    """
    exact, usual = relative(ctx, path), relative(ctx, path.strip())
    return exact if exact != usual and await _is_there(ctx, exact) else usual


async def _is_there(ctx: ToolContext, path: str) -> bool:
    try:
        return (await ctx.sandbox.resolve(path)).kind != "missing"
    except FileError:
        return True


def relative(ctx: ToolContext, path: str) -> str:
    """A path relative to the workspace if it lies in it."""
    pure = PurePosixPath(path)
    if pure.is_absolute() and pure.is_relative_to(ctx.sandbox.root):
        pure = pure.relative_to(ctx.sandbox.root)
    return str(pure)


async def shown_target(ctx: ToolContext, path: str) -> Target:
    """Where a path leads; what is missing leads somewhere too.

    Raises ToolError for what no tool shows or changes, by its own name or by what its symlinks lead to, and
    for a path that leads out of the workspace.
    """
    wrong = None
    try:
        target = await ctx.sandbox.resolve(path)
    except FileError as error:
        target, wrong = Target(path, "missing"), error
    names = [name for name in dict.fromkeys((posixpath.normpath(path), target.path)) if name != "."]
    inside = [name if target.kind != "dir" else posixpath.join(name, ".") for name in names]
    shown = await worth_showing(ctx.sandbox, inside, asked=True)
    for name, inner in zip(names, inside, strict=True):
        if inner not in shown:
            raise ToolError(hidden(name, path))
    if wrong is not None:
        raise await explained(ctx, path, wrong) from wrong
    return target


def hidden(name: str, path: str = "") -> str:
    """Why `name` is not shown and who can change that; `path` is what was asked for, if that leads to it."""
    if is_secret(name):
        why, how = "may hold secrets", "If you need something of it, ask the person to paste that part."
    else:
        why, how = f"is named in {HIDING}", f"The person can paste a part, or take it out of {HIDING}."
    is_link = path and posixpath.normpath(path) != name
    what = f"{path} leads to {name}, which" if is_link else name
    return f"{what} {why}, so tools neither show nor change it. {how}"


async def read_file(ctx: ToolContext, path: str) -> FileData:
    """The whole of a file, noted as seen by the model only by whoever shows it."""
    await shown_target(ctx, path)
    try:
        return await ctx.sandbox.read(path)
    except FileError as error:
        raise await explained(ctx, path, error) from error


async def write_file(ctx: ToolContext, path: str, data: bytes, expect_hash: str) -> None:
    """Write if the file is still what `expect_hash` says ("" for: not there); the model has then seen it."""
    try:
        fresh = await ctx.sandbox.write(path, data, expect_hash=expect_hash)
    except FileTooLarge as error:
        raise ToolError(f"{path} was not written ({error}). Let a command write it, in parts.") from error
    except FileError as error:
        raise await explained(ctx, path, error) from error
    ctx.seen[path] = ctx.written[path] = fresh


async def explained(ctx: ToolContext, path: str, error: FileError) -> ToolError:
    """What is wrong with a path and what to do next."""
    if isinstance(error, FileMissing):
        return await missing(ctx, path)
    if isinstance(error, PathEscape):
        return ToolError(f"{path} is outside of the workspace {ctx.sandbox.root}. Use a path inside it.")
    if isinstance(error, FileConflict):
        return ToolError(f"{path} changed meanwhile. Read it again.")
    if isinstance(error, FileTooLarge):
        return ToolError(f"{path} is too large ({error}). Use grep, or bash with head, tail or sed.")
    if isinstance(error, NotRegular):
        if "dir" in str(error):
            return ToolError(
                f"{path} is no regular file but a folder. List it with glob {path.rstrip('/')}/*."
            )
        return ToolError(f"{path} is no regular file ({error}); it cannot be read or written.")
    what = str(error).removeprefix(f"{path}: ")
    if what.endswith("is read-only"):
        what += ", so nothing was changed. If it is meant to change, `chmod u+w` lets it"
    return ToolError(f"{path}: {what}.")


async def missing(ctx: ToolContext, path: str) -> ToolError:
    """Says that a path is not there, and which one may be meant."""
    known = [entry.path for entry in await ctx.sandbox.list(depth=-1) if entry.kind == "file"]
    name = PurePosixPath(path).name
    near = [p for p in known if PurePosixPath(p).name == name] or difflib.get_close_matches(path, known, n=3)
    hint = f"Did you mean {', '.join(near[:3])}?" if near else "Use glob to find it."
    return ToolError(f"There is no file {path}. {hint}")


def new_syntax_error(ctx: ToolContext, path: str, before: bytes, after: bytes) -> str:
    """A sentence on the first syntax error that a change brings into a file; empty when there is none.

    Raises ToolError where such a change is refused.
    """
    wrong = syntax_fault(path, after)
    if wrong is None or (before and syntax_fault(path, before)):
        return ""
    place = f"a syntax error in line {wrong.line}: {wrong.what}."
    if ctx.refuse_syntax_errors and (before or wrong.certain):
        raise ToolError(f"{path} would have {place} Nothing was changed.")
    return f" It now has {place}"


def refuse_placeholder(content: str, before: str) -> None:
    """Raises ToolError when a whole new text stands for more than it says."""
    if left := placeholder(content, before):
        raise ToolError(f"The content leaves code out ({left!r}). Write it in full, or use edit.")
