"""The options that chat, fix and demo share, declared once.

    @app.command()
    @with_options
    def fix(options: Options, command: Annotated[list[str], typer.Argument()]) -> None: ...

`with_options` replaces the parameter `options` by all the shared options, so that typer offers them, and
calls the function with the merged result. A wrong value raises ConfigError (exit code 2).
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import msgspec
import typer
from typer.core import TyperCommand

from agent import config
from agent.config import ConfigError, Settings
from agent.models.catalog import ModelSettings
from agent.permissions import Mode
from sandbox.base import SandboxUnavailable
from sandbox.programs import distrust

OutputFormat = Literal["text", "json", "stream-json"]
RESUME = ("-r", "--resume")


class GoOn(msgspec.Struct, frozen=True):
    """Which session to go on with."""

    prefix: str | None = None
    """How its id begins; empty: the person is to choose; None: the one that was used last."""
    fork: bool = False
    """Go on under a new id; the old log stays as it is."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation: the settings, and what only concerns this run."""

    settings: Settings
    models: Mapping[str, ModelSettings] = {}
    """What the person says of models, by name or pattern."""
    cwd: Path
    """Absolute path of the directory to work in."""
    yes: bool = False
    """Accept the verified patch without a question."""
    apply: bool = True
    """False: leave the tree as it is and print the patch."""
    patch: Path | None = None
    """Write the patch to this file and leave the tree as it is."""
    output_format: OutputFormat = "text"
    names_model: bool = False
    """The command line says which model; else a session that is gone on with keeps its own."""
    permission_mode: Mode | None = None
    """How freely it works; None: as the command does by itself."""
    output_schema: dict[str, Any] | None = None
    """JSON Schema that the answer of `run` is to fit."""
    go_on: GoOn | None = None
    """The session to go on with; None: begin a new one."""
    verbosity: int = 0
    """-1 quiet, 0 normal, 1 and more verbose."""


def _option(*names: str, panel: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, help=help, show_default=False, **more)


_MODEL, _SANDBOX, _EFFORT, _RESULT, _OUTPUT = "Model", "Sandbox", "Effort", "Result", "Output"
_SESSION = "Session"


def _shared(
    *,
    model: Annotated[
        str | None,
        _option("-m", "--model", panel=_MODEL, metavar="NAME", help="Such as local/qwen2.5-coder-1.5b."),
    ] = None,
    base_url: Annotated[
        str | None, _option("--base-url", panel=_MODEL, metavar="URL", help="An OpenAI-compatible server.")
    ] = None,
    temperature: Annotated[
        float | None,
        _option("--temperature", panel=_MODEL, metavar="T", help="Sampling temperature, 0 to 2."),
    ] = None,
    seed: Annotated[
        int | None, _option("--seed", panel=_MODEL, metavar="N", help="Seed of the sampling.")
    ] = None,
    tools: Annotated[
        str | None,
        _option(
            "--tools",
            panel=_MODEL,
            metavar="+NAME,-NAME",
            help="Tools to add to the usual ones (+todo, +ask_user, +terminal, ...) or to take away (-grep).",
        ),
    ] = None,
    sandbox: Annotated[
        str | None,
        _option(
            "--sandbox",
            panel=_SANDBOX,
            metavar="NAME",
            help="auto, docker, bubblewrap or local (none at all).",
        ),
    ] = None,
    copy: Annotated[
        str | None,
        _option(
            "--copy",
            panel=_SANDBOX,
            metavar="WHAT",
            help="What the sandbox has: all, or git (not what git ignores; for very large folders).",
        ),
    ] = None,
    image: Annotated[
        str | None,
        _option("--image", panel=_SANDBOX, metavar="NAME", help="Docker image instead of this host's tools."),
    ] = None,
    network: Annotated[
        str | None,
        _option(
            "--network",
            panel=_SANDBOX,
            metavar="HOST,...",
            help="What the sandbox may reach: none, allow (any public host), or HOST[:PORT],... (443).",
        ),
    ] = None,
    setup: Annotated[
        str | None,
        _option(
            "--setup",
            panel=_SANDBOX,
            metavar="CMD",
            help="Install dependencies with CMD first: registries only, once, the result is kept.",
        ),
    ] = None,
    setup_network: Annotated[
        str | None,
        _option(
            "--setup-network",
            panel=_SANDBOX,
            metavar="HOST,...",
            help="What --setup may reach instead of the package registries that CMD needs.",
        ),
    ] = None,
    cwd: Annotated[
        Path | None, _option("-C", "--cwd", panel=_SANDBOX, metavar="DIR", help="Directory to work in.")
    ] = None,
    attempts: Annotated[
        int | None, _option("--attempts", panel=_EFFORT, metavar="N", help="Tries before giving up.")
    ] = None,
    strategy: Annotated[
        str | None,
        _option(
            "--strategy", panel=_EFFORT, metavar="NAME", help="How fix and run work: auto, loop or repair."
        ),
    ] = None,
    test_cmd: Annotated[
        str | None,
        _option(
            "--test-cmd", panel=_EFFORT, metavar="CMD", help="What must pass in the end; pawl runs it itself."
        ),
    ] = None,
    max_steps: Annotated[
        int | None, _option("--max-steps", panel=_EFFORT, metavar="N", help="Model calls in one try.")
    ] = None,
    max_tokens: Annotated[
        int | None, _option("--max-tokens", panel=_EFFORT, metavar="N", help="Tokens of the whole run.")
    ] = None,
    max_cost: Annotated[
        float | None, _option("--max-cost", panel=_EFFORT, metavar="USD", help="Cost of the whole run.")
    ] = None,
    timeout: Annotated[
        float | None,
        _option("--timeout", panel=_EFFORT, metavar="SECONDS", help="Wall time of the whole run."),
    ] = None,
    yes: Annotated[
        bool, _option("-y", "--yes", panel=_RESULT, help="Apply the verified patch without asking.")
    ] = False,
    no_apply: Annotated[
        bool, _option("--no-apply", panel=_RESULT, help="Leave the tree as it is; print the patch.")
    ] = False,
    patch: Annotated[
        Path | None,
        _option(
            "--patch",
            panel=_RESULT,
            metavar="FILE",
            help="Write the patch to FILE (from the current directory) instead.",
        ),
    ] = None,
    output_format: Annotated[
        str, _option("--output-format", panel=_OUTPUT, metavar="FORMAT", help="text, json or stream-json.")
    ] = "text",
    bare: Annotated[bool, _option("--bare", panel=_OUTPUT, help="Ignore configuration files.")] = False,
    quiet: Annotated[bool, _option("-q", "--quiet", panel=_OUTPUT, help="Say only the result.")] = False,
    verbose: Annotated[
        int, _option("-v", "--verbose", panel=_OUTPUT, count=True, help="Say more; twice for even more.")
    ] = 0,
) -> Options:
    """Merge what was given with the other layers and check it. Notes of the configuration go to stderr."""
    if output_format not in get_args(OutputFormat):
        expected = ", ".join(get_args(OutputFormat))
        raise ConfigError(f"--output-format: expected one of {expected}, got {output_format!r}")
    where = working_folder(cwd)
    if patch is not None and (patch.is_dir() or not patch.absolute().parent.is_dir()):
        raise ConfigError(f"--patch: expected a file in a folder that is there, got {str(patch)!r}")
    flags = {
        "model": model,
        "base_url": base_url,
        "temperature": temperature,
        "seed": seed,
        "tools": tools,
        "sandbox": sandbox,
        "copy": copy,
        "image": image,
        "network": network,
        "setup": setup,
        "setup_network": setup_network,
        "attempts": attempts,
        "strategy": strategy,
        "test_cmd": test_cmd,
        "max_steps": max_steps,
        "max_tokens": max_tokens,
        "max_cost": max_cost,
        "timeout": timeout,
    }
    merged = config.load(flags, cwd=where, bare=bare)
    if not quiet:
        for note in merged.notes:
            print(f"pawl: {note}", file=sys.stderr)
    return Options(
        settings=merged.settings,
        models=merged.models,
        cwd=where,
        yes=yes,
        apply=not no_apply and patch is None,
        patch=patch,
        output_format=cast(OutputFormat, output_format),
        names_model=model is not None or base_url is not None,
        verbosity=-1 if quiet else verbose,
    )


def _conversing(
    options: Options,
    *,
    latest: Annotated[
        bool,
        _option("-c", "--continue", panel=_SESSION, help="Go on with the session that was used last here."),
    ] = False,
    resume: Annotated[
        str | None,
        _option(
            *RESUME,
            panel=_SESSION,
            metavar="[ID]",
            help="Go on with a session; without ID choose one.",
        ),
    ] = None,
    fork: Annotated[
        bool, _option("--fork", panel=_SESSION, help="Go on under a new id; leave the session as it is.")
    ] = False,
    permission_mode: Annotated[
        str | None,
        _option(
            "--permission-mode",
            panel=_RESULT,
            metavar="MODE",
            help="plan (change nothing), ask, auto-edit (edits go through) or yolo (all does).",
        ),
    ] = None,
    yolo: Annotated[
        bool, _option("--yolo", panel=_RESULT, help="Ask nothing; the sandbox stays on.")
    ] = False,
) -> Options:
    """Add what only commands with a conversation take."""
    if latest and resume is not None:
        raise ConfigError("--continue and --resume say different sessions; give one of them")
    if fork and not latest and resume is None:
        raise ConfigError("--fork needs a session to go on from: --continue or --resume ID")
    if permission_mode not in (None, *get_args(Mode)):
        expected = ", ".join(get_args(Mode))
        raise ConfigError(f"--permission-mode: expected one of {expected}, got {permission_mode!r}")
    if yolo and permission_mode not in (None, "yolo"):
        raise ConfigError(f"--yolo and --permission-mode {permission_mode} contradict; give one of them")
    mode = cast(Mode | None, "yolo" if yolo else permission_mode)
    going = latest or resume is not None
    return msgspec.structs.replace(
        options,
        go_on=GoOn(resume, fork) if going else None,
        permission_mode=mode,
    )


class Conversing(TyperCommand):
    """A command whose `--resume` may stand without a value, which click alone does not know."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_values(args))


def with_values(args: list[str]) -> list[str]:
    """The arguments with an empty value behind each `--resume` that has none."""
    end = args.index("--") if "--" in args else len(args)
    given: list[str] = []
    for arg, after in zip_longest(args[:end], args[1:end], fillvalue="-"):
        given.append(arg)
        if arg in RESUME and after.startswith("-"):
            given.append("")
    return given + args[end:]


def working_folder(cwd: Path | None) -> Path:
    """The absolute path of the directory to work in: what --cwd says, else the current one."""
    try:
        where = (cwd or Path.cwd()).resolve()
        if not where.is_dir():
            raise ConfigError(f"--cwd: expected a directory, got {str(cwd)!r}")
        os.scandir(where).close()
        distrust(where)
    except OSError as error:
        raise SandboxUnavailable(
            f"{cwd or 'the current directory'} cannot be read: {error.strerror}",
            "mount it again if it is on a network mount or a disk that has gone, or start in another folder",
        ) from error
    return where


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give `function` its parameter `options` filled from the shared options of the command line."""
    return _filled(function, {})


def with_conversation(function: Callable[..., None]) -> Callable[..., None]:
    """The same, with the options of a conversation too. The command's class is `Conversing`."""
    return _filled(function, _parameters(_conversing))


def _filled(function: Callable[..., None], talking: Mapping[str, inspect.Parameter]) -> Callable[..., None]:
    shared, own = _parameters(_shared), _parameters(function)

    @functools.wraps(function)
    def command(**given: Any) -> None:
        options = _shared(**{name: given.pop(name) for name in shared})
        if talking:
            options = _conversing(options, **{name: given.pop(name) for name in talking})
        function(options=options, **given)

    command.__annotations__ = {}
    parameters = [*_keyword_only([*own.values()]), *talking.values(), *shared.values()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """All but `options`."""
    found = inspect.signature(function, eval_str=True).parameters
    return {name: parameter for name, parameter in found.items() if name != "options"}


def _keyword_only(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
