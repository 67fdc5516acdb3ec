"""The session of an invocation: a new one, or the one that the person goes on with."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from rich.console import Console

from agent import __version__
from agent.cli.approve import Lines, can_ask
from agent.cli.options import Options
from agent.cli.render import visible
from agent.config import ConfigError
from agent.context import conversation
from agent.paths import state_dir
from agent.resume import find, latest, leaf, line_of, listed, talks
from agent.session import SessionError, SessionInUse, SessionLog, known_secrets, new_session, scrubber

_SHOWN = 20


async def chosen(options: Options) -> Path | None:
    """The log to go on with; None to begin a new one. Raises ConfigError."""
    if options.go_on is None:
        return None
    if options.go_on.prefix is None:
        return latest(options.cwd, state_dir())
    return find(options.cwd, state_dir(), options.go_on.prefix or await _picked(options))


def opened(options: Options, command: str, path: Path | None) -> SessionLog:
    """A new session, or the one at `path`, which is then ours alone. Raises SessionError or OSError."""
    scrub = scrubber(known_secrets(os.environ))
    old = SessionLog.load(path, scrub=scrub) if path else None
    if old is not None and not leaf(old):
        raise SessionError(old.path, "it holds no conversation to go on with")
    if old is not None and options.go_on is not None and not options.go_on.fork:
        try:
            old.claim()
        except SessionInUse as error:
            advice = "the session is in use by another pawl: end it there, or go on with a copy by --fork"
            raise SessionInUse(error.path, advice) from error
        return old
    return new_session(
        options.cwd, state_dir(), command=command, version=__version__, forked=old, scrub=scrub
    )


def with_its_model(options: Options, log: SessionLog) -> Options:
    """The options with the model that the session has talked to, unless the command line names one."""
    opening = conversation([record.event for record in log.line_to(leaf(log))])
    if opening is None or options.names_model:
        return options
    settings = msgspec.structs.replace(options.settings, model=opening.model, base_url=None)
    return msgspec.structs.replace(options, settings=settings)


async def _picked(options: Options) -> str:
    """The id that the person picks from a list."""
    found = list(talks(options.cwd, state_dir()))
    if not found or not can_ask(options.output_format):
        raise ConfigError(f"--resume needs the id of a session; {listed(found)}")
    console = Console(stderr=True)
    for number, talk in enumerate(found[:_SHOWN], 1):
        console.print(visible(f"{number:>3}. {line_of(talk)}"), markup=False, highlight=False, soft_wrap=True)
    answer = (await Lines(console).read("Go on with (a number, or how an id begins): ") or "").strip()
    if not answer:
        raise ConfigError("no session was chosen")
    if answer.isdecimal() and 1 <= int(answer) <= len(found[:_SHOWN]):
        return found[int(answer) - 1].header.id
    return answer
