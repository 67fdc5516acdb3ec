"""Files of the workspace as tools name, read and write them; every refusal is worded for the model."""

from __future__ import annotations

import difflib
from pathlib import PurePosixPath

from sandbox.base import FileConflict, FileData, FileError, FileMissing, FileTooLarge, NotRegular, PathEscape
from tools import syntax
from tools.base import ToolContext, ToolError
from tools.ignored import HIDING, is_hidden, is_secret
from tools.placeholder import placeholder


async def workspace_path(ctx: ToolContext, path: str) -> str:
    """A path as the sandbox takes it: relative to the workspace, also when the model gave it in full.

    Blanks and newlines around it belong to the name only if there is such a file: models add stray ones.
    """
    exact, usual = relative(ctx, path), relative(ctx, path.strip())
    return exact if exact != usual and await _is_there(ctx, exact) else usual


async def _is_there(ctx: ToolContext, path: str) -> bool:
    try:
        await ctx.sandbox.list(path, limit=1)
    except FileMissing:
        return False
    except FileError:
        return True
    return True


def relative(ctx: ToolContext, path: str) -> str:
    """A path relative to the workspace if it lies in it."""
    pure = PurePosixPath(path)
    if pure.is_absolute() and pure.is_relative_to(ctx.sandbox.root):
        pure = pure.relative_to(ctx.sandbox.root)
    return str(pure)


async def refuse_hidden(ctx: ToolContext, path: str, *, is_folder: bool = False) -> None:
    """Raises ToolError for what no tool shows or changes, whether it is there or not."""
    if await is_hidden(ctx.sandbox, path, is_folder=is_folder):
        raise ToolError(hidden(path))


def hidden(path: str) -> str:
    """Why a path is not shown and who can change that."""
    if is_secret(path):
        why, how = "may hold secrets", "If you need something of it, ask the person to paste that part."
    else:
        why, how = f"is named in {HIDING}", f"The person can paste a part, or take it out of {HIDING}."
    return f"{path} {why}, so tools neither show nor change it. {how}"


async def read_file(ctx: ToolContext, path: str) -> FileData:
    """The whole of a file, noted as seen by the model only by whoever shows it."""
    await refuse_hidden(ctx, path)
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
        return ToolError(f"There is no file {path}.{await _similar(ctx, path)}")
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
    return ToolError(f"{path}: {error}")


async def _similar(ctx: ToolContext, path: str) -> str:
    known = [entry.path for entry in await ctx.sandbox.list(depth=-1) if entry.kind == "file"]
    name = PurePosixPath(path).name
    near = [p for p in known if PurePosixPath(p).name == name] or difflib.get_close_matches(path, known, n=3)
    return f" Did you mean {', '.join(near[:3])}?" if near else " Use glob to find it."


def new_syntax_error(ctx: ToolContext, path: str, before: bytes, after: bytes) -> str:
    """A sentence on the first syntax error that a change brings into a file; empty when there is none.

    Raises ToolError where such a change is refused.
    """
    language = syntax.language_of(path)
    if language is None or not (wrong := syntax.errors(after, language)) or syntax.errors(before, language):
        return ""
    line, what = wrong[0]
    if ctx.refuse_syntax_errors:
        raise ToolError(f"{path} would have a syntax error in line {line}: {what}. Nothing was changed.")
    return f" It now has a syntax error in line {line}: {what}."


def refuse_placeholder(content: str, before: str) -> None:
    """Raises ToolError when a whole new text stands for more than it says."""
    if left := placeholder(content, before):
        raise ToolError(f"The content leaves code out ({left!r}). Write it in full, or use edit.")
