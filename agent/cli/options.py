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
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import msgspec
import typer

from agent import config
from agent.config import ConfigError, Settings
from agent.models.catalog import ModelSettings
from sandbox.base import SandboxUnavailable
from sandbox.programs import distrust

OutputFormat = Literal["text", "json", "stream-json"]


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
    verbosity: int = 0
    """-1 quiet, 0 normal, 1 and more verbose."""


def _option(*names: str, panel: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, help=help, show_default=False, **more)


_MODEL, _SANDBOX, _EFFORT, _RESULT, _OUTPUT = "Model", "Sandbox", "Effort", "Result", "Output"


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
        verbosity=-1 if quiet else verbose,
    )


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
    shared = inspect.signature(_shared, eval_str=True).parameters
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "options"]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        options = _shared(**{name: given.pop(name) for name in shared})
        function(options=options, **given)

    command.__annotations__ = {}
    command.__signature__ = inspect.Signature([*_keyword_only(own), *shared.values()])  # type: ignore[attr-defined]
    return command


def _keyword_only(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
