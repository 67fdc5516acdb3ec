from __future__ import annotations

import ast
import shlex
from pathlib import PurePosixPath
from typing import Annotated

import msgspec

from tools.base import Effect, ToolContext, ToolError, ToolOutput, tool
from tools.debugging import Breakpoint, Debugged, parse_breakpoint, run_debugged
from tools.debugview import describe, places
from tools.ending import ending
from tools.files import read_file, workspace_path
from tools.grammars import language_of
from tools.output import clip, save_whole
from tools.probe import selected
from tools.runners.pytest import PYTEST
from tools.testplan import own_command
from tools.testreport import could_not_start, is_test_path

MAX_TIMEOUT = 600
MAX_BREAKPOINTS, MAX_EXPRESSIONS, MAX_LENGTH = 8, 8, 500
ONLY_PYTHON = "debug knows only Python; use run_tests or bash with print statements."
OTHERS = (
    "bun", "bundle", "cargo", "deno", "dotnet", "elixir", "go", "gradle", "gradlew", "java", "jest", "mix",
    "mvn", "mvnw", "node", "npm", "npx", "php", "pnpm", "rspec", "ruby", "rustc", "tsx", "vitest", "yarn",
)  # fmt: skip
"""Programs of other languages: what they run need not be run to know that no Python is in it."""


@tool(Effect.EXECUTE)
async def debug(
    ctx: ToolContext,
    target: Annotated[str, "test id or command; empty: all tests"] = "",
    breakpoints: Annotated[list[str], "path:line or path:line if condition"] = [],  # noqa: B006
    expressions: Annotated[list[str], "shown at each breakpoint; empty: local variables"] = [],  # noqa: B006
    caught: Annotated[bool, "show caught exceptions too"] = False,
    timeout: Annotated[int, "seconds"] = 0,  # noqa: ASYNC109 - the name that `bash` has
) -> ToolOutput:
    """Run Python; show values at breakpoints, why it fails, where it hangs.

    Post-mortem of what fails with the locals of each frame of the workspace; a program that does not end is
    shown as it stands when the time is over.
    """
    command = await _command(ctx, target)
    if len(breakpoints) > MAX_BREAKPOINTS or len(expressions) > MAX_EXPRESSIONS:
        raise ToolError(f"At most {MAX_BREAKPOINTS} breakpoints and {MAX_EXPRESSIONS} expressions.")
    points = [await _breakpoint(ctx, text) for text in breakpoints]
    wanted = [_expression(text) for text in expressions if text.strip()]
    limit = float(min(timeout, MAX_TIMEOUT)) if timeout > 0 else ctx.timeout_s
    found = await run_debugged(
        ctx.sandbox,
        command,
        points,
        wanted,
        caught=caught,
        timeout_s=limit,
        env=ctx.check_env,
        on_output=ctx.on_output,
    )
    _refuse_useless(found)
    whole = save_whole(ctx.artifacts, "debug", found.check.exec.output)
    text = clip(describe(found, points, await _sources(ctx, found, points)), limit=12_000)
    how = ending(found.check.exec, limit, ctx.sandbox.limits)
    view = f"{text}\n\nOutput:\n{found.check.output}" if found.check.output else text
    return ToolOutput(f"{text}\n[{how}]", view=view, artifact=str(whole))


async def _command(ctx: ToolContext, target: str) -> str | tuple[str, ...]:
    """Ids and files of tests are run by pytest, a lone script by Python; anything else is a command."""
    target = target.strip()
    if not target:
        return ctx.check or await _all_tests(ctx)
    try:
        words = [target] if "::" in target and "[" in target else shlex.split(target)
    except ValueError as error:
        raise ToolError(f"Not a command: {error}.") from None
    first = words[0].partition("::")[0]
    if PurePosixPath(first).name in OTHERS:
        raise ToolError(f"{first} runs no Python: {ONLY_PYTHON}")
    if "::" in words[0] or (len(words) == 1 and first.endswith(".py") and is_test_path(first)):
        if not first.endswith(".py"):
            raise ToolError(f"{first} is no Python test: {ONLY_PYTHON}")
        return (*PYTEST, *selected(target))
    if len(words) == 1 and language_of(first) not in (None, "python", "bash"):
        raise ToolError(f"{first} is no Python file: {ONLY_PYTHON}")
    return ("python", *words) if first.endswith(".py") else target


async def _all_tests(ctx: ToolContext) -> tuple[str, ...]:
    """What `run_tests` runs without a selection."""
    words = await own_command(ctx.sandbox)
    if not words:
        raise ToolError("No way to run tests is found here. Give a test id, a script or a command as target.")
    if words[0] in OTHERS:
        raise ToolError(f"The tests are run by {shlex.join(words)}: {ONLY_PYTHON}")
    return words


async def _breakpoint(ctx: ToolContext, text: str) -> Breakpoint:
    point = parse_breakpoint(text)
    if point is None:
        raise ToolError(f"Not a breakpoint: {text!r}. Write path:line or path:line if condition.")
    path = await workspace_path(ctx, point.path)
    if PurePosixPath(path).suffix not in (".py", ".pyw"):
        raise ToolError(f"{path} is no Python file: {ONLY_PYTHON}")
    lines = (await read_file(ctx, path)).data.count(b"\n") + 1
    if not 1 <= point.line <= lines:
        raise ToolError(f"{path} has {lines} lines; there is no line {point.line}.")
    condition = _expression(point.condition) if point.condition else ""
    return msgspec.structs.replace(point, path=path, condition=condition)


def _expression(text: str) -> str:
    if len(text) > MAX_LENGTH:
        raise ToolError(f"An expression has at most {MAX_LENGTH} characters.")
    try:
        ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ToolError(f"Not a Python expression: {text!r} ({error}).") from None
    return text.strip()


def _refuse_useless(found: Debugged) -> None:
    output = clip(found.check.output, limit=1500)
    if reason := could_not_start(found.check):
        raise ToolError(f"It could not be run: {reason}\n{output}")
    if found.pythons:
        return
    raise ToolError(
        f"No Python was traced: {ONLY_PYTHON} A command that sets PYTHONPATH or uses python -I, -E or -S"
        f" hides the tracer.\n{output}"
    )


async def _sources(ctx: ToolContext, found: Debugged, points: list[Breakpoint]) -> dict[str, list[str]]:
    """The lines of the files that are spoken of, those left out that no tool shows."""
    sources = {}
    for path in places(found, points):
        try:
            data = (await read_file(ctx, path)).data
        except ToolError:
            continue
        sources[path] = data.decode(errors="replace").splitlines()
    return sources
