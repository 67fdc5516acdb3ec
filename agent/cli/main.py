"""The console entry `pawl`: finds the command, loads that one alone, and turns errors into exit codes.

How a command joins
    Built-in commands stand in `COMMANDS`; other packages add theirs by an entry point of the group
    `pawl.commands` (`eval = "evals.cli:app"`). Either way the target is a `typer.Typer` made with
    `typer.Typer(add_completion=False, no_args_is_help=...)` holding one command or several sub-commands.
    A target may also be a function, which is then the command, or a `Family`: commands of its own, each
    loaded alone. Arguments shared by chat, fix and demo come from `agent.cli.options`.

How a command ends
    It returns (exit code 0), raises `typer.Exit(code)`, or lets an error of ours go up: any exception with an
    integer `exit_code` (`ConfigError`, `ModelError`, ...) and any `SandboxError` is shown as one message,
    with its `remedy` when it has one. Ctrl-C may simply go up as KeyboardInterrupt; the exit code is 130.
    Whatever else escapes is a bug of pawl and shows its trace.

Nothing heavy is imported here: typer and the command's module only when a command is run, so that
`pawl --help` and `pawl --version` cost little more than Python itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from agent import __version__

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import typer

ENTRY_POINT_GROUP = "pawl.commands"
DEFAULT_COMMAND = "chat"
HEADLESS = "-p"
"""`pawl -p PROMPT` is `pawl run PROMPT`, as with other agents; options may stand before it."""


class Command(NamedTuple):
    """A built-in command: where it lives (`module:attribute`), what help says of it, under which heading."""

    target: str
    help: str
    group: str


class Family(NamedTuple):
    """A command that is nothing but commands, such as `pawl eval`; its overview costs no typer."""

    help: str
    commands: dict[str, Command]


if TYPE_CHECKING:
    App = typer.Typer | Family | Callable[..., None]

OWN_PACKAGE = "pawl-agent"
COMMANDS = {
    "chat": Command("agent.cli.chat:app", "Program together in this directory", "Work"),
    "run": Command("agent.cli.run:app", "Do one task without a person, then exit; also `pawl -p`", "Work"),
    "fix": Command(
        "agent.cli.fix:app", "Make a failing command pass; the result is a verified patch", "Work"
    ),
    "demo": Command("agent.cli.demo:app", "Repair a bundled repository that has a real bug", "Work"),
    "sessions": Command(
        "agent.cli.sessions:app", "List, show and export sessions; take back what one changed", "Work"
    ),
    "models": Command("agent.cli.models:app", "List, pull, serve and probe models", "Set-up"),
    "sandbox": Command("agent.cli.sandbox:app", "See, try and tidy up what isolates commands here", "Set-up"),
    "doctor": Command("agent.cli.doctor:app", "Check this machine and say how to mend it", "Set-up"),
    "config": Command("agent.cli.configure:app", "Show and change the settings", "Set-up"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run pawl with `argv` (default: of this process) and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    try:
        code = _dispatch(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away; without this Python complains once more at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        told = _report(error)
        if told is None:
            raise
        return told
    return code


def _open_closed_streams() -> None:
    """Lead what the caller closed to nowhere; else the first file opened would take its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _dispatch(args: list[str]) -> int:
    if args[:1] in (["--help"], ["-h"], ["help"]):
        sys.stdout.write(help_text(colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")))
        return 0
    if args[:1] == ["--version"]:
        print(f"pawl {__version__}")
        return 0
    if args and args[0].startswith("-") and HEADLESS in args:
        at = args.index(HEADLESS)
        args = ["run", *args[:at], *args[at + 1 :]]
    elif not args or args[0].startswith("-"):
        args = [DEFAULT_COMMAND, *args]
    name, rest = args[0], args[1:]
    app = _load(name)
    if app is None:
        return _unknown(f"pawl {name}", [*COMMANDS, *(point.name for point in _entry_points())])
    if isinstance(app, Family):
        return _dispatch_family(app, name, rest)
    return _run(app, f"pawl {name}", rest)


def _dispatch_family(family: Family, name: str, args: list[str]) -> int:
    if not args or args[0] in ("--help", "-h", "help"):
        sys.stdout.write(
            family_text(family, name, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
        )
        return 0 if args else 2
    command = family.commands.get(args[0])
    if command is None:
        return _unknown(f"pawl {name} {args[0]}", list(family.commands))
    return _run(_target(command), f"pawl {name} {args[0]}", args[1:])


def _load(name: str) -> App | None:
    """The command's app, or None when nobody offers the name. Built-in names cannot be taken over."""
    if name in COMMANDS:
        return _target(COMMANDS[name])
    for point in _entry_points():
        if point.name == name:
            loaded: App = point.load()
            return loaded
    return None


def _target(command: Command) -> App:
    from importlib import import_module

    module, _, attribute = command.target.partition(":")
    app: App = getattr(import_module(module), attribute)
    return app


def _entry_points() -> Iterator[EntryPoint]:
    from importlib.metadata import entry_points

    return (point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in COMMANDS)


def _run(app: App, prog_name: str, args: list[str]) -> int:
    import typer
    from typer.main import get_command

    if not isinstance(app, typer.Typer):
        assert not isinstance(app, Family), "a family has no families"
        function, app = app, typer.Typer(add_completion=False)
        app.command()(function)
    try:
        get_command(app).main(args, prog_name=prog_name, help_option_names=["-h", "--help"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _unknown(asked: str, known: list[str]) -> int:
    from difflib import get_close_matches

    above, _, name = asked.rpartition(" ")
    near = get_close_matches(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"`{above} --help` lists the commands."
    print(f"pawl: there is no command '{asked.removeprefix('pawl ')}'; {hint}", file=sys.stderr)
    return 2


def _report(error: Exception) -> int | None:
    """Show an error of ours on stderr and give its exit code; None, with nothing shown, if not ours."""
    from agent.cli.render import visible
    from sandbox.base import SandboxError

    leaves = list(_leaves(error))
    codes = [getattr(leaf, "exit_code", 1 if isinstance(leaf, SandboxError) else None) for leaf in leaves]
    if not all(isinstance(code, int) for code in codes):
        return None
    for leaf in leaves:
        print(f"pawl: {visible(str(leaf))}", file=sys.stderr)
        if remedy := getattr(leaf, "remedy", ""):
            print(f"      {remedy}", file=sys.stderr)
    return codes[0]


def _leaves(error: Exception) -> Iterator[Exception]:
    """The errors inside an exception group (a task group wraps even a single one), or the error itself."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def help_text(*, colour: bool = False) -> str:
    """The overview of all commands, those of other packages last."""
    sections = _sections(COMMANDS)
    for point in _entry_points():
        package = point.dist.name if point.dist else point.value
        own = package == OWN_PACKAGE
        heading = "Measure" if own else "From other packages"
        text = "Score agents on repository tasks" if own else f"by {package}"
        sections.setdefault(heading, []).append((point.name, text))
    sections["Options"] = [
        ("--version", "Show the version"),
        ("-h, --help", "Show this; `pawl COMMAND --help` shows the options of a command"),
    ]
    about = [
        "A coding agent for the terminal whose every change has been run.",
        "Without a command: chat in this directory.",
    ]
    return _page("pawl [COMMAND] [OPTIONS] [ARGS]...", about, sections, colour)


def family_text(family: Family, name: str, *, colour: bool = False) -> str:
    """The overview of a family's commands."""
    sections = _sections(family.commands)
    sections["Options"] = [
        ("-h, --help", f"Show this; `pawl {name} COMMAND --help` shows a command's options")
    ]
    return _page(f"pawl {name} COMMAND [OPTIONS] [ARGS]...", [family.help], sections, colour)


def _sections(commands: dict[str, Command]) -> dict[str, list[tuple[str, str]]]:
    sections: dict[str, list[tuple[str, str]]] = {}
    for name, command in commands.items():
        sections.setdefault(command.group, []).append((name, command.help))
    return sections


def _page(usage: str, about: list[str], sections: dict[str, list[tuple[str, str]]], colour: bool) -> str:
    bold, plain = ("\x1b[1m", "\x1b[0m") if colour else ("", "")
    lines = [f"{bold}Usage:{plain} {usage}", "", *about]
    width = max(len(name) for rows in sections.values() for name, _ in rows)
    for title, rows in sections.items():
        lines += ["", f"{bold}{title}:{plain}", *(f"  {name:<{width}}  {text}" for name, text in rows)]
    return "\n".join(lines) + "\n"
