"""`pawl sessions`: what was done in this folder, and taking back what was applied to it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.bus import Bus
from agent.cli.approve import Lines, can_ask
from agent.cli.render import visible
from agent.cli.transcript import transcript
from agent.config import ConfigError
from agent.context import conversation, project
from agent.events import ConversationStarted, FilesRestored
from agent.models.base import NO_QUIRKS, Request
from agent.models.wire.openai_chat import to_wire
from agent.paths import state_dir
from agent.resume import named, newest_behind
from agent.session import Header, SessionLog, known_secrets, project_sessions, scrubber, sessions_folder
from sandbox.naming import a_few
from sandbox.undo import split, undoable
from sandbox.workspace import Workspace

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List, show and export sessions; take back what one changed.",
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Of `pawl sessions list`, or how it begins.")]
Cwd = Annotated[Path | None, typer.Option("-C", "--cwd", metavar="DIR", help="The project's directory.")]

_SHOWN = 2000


@app.command("list")
def list_sessions(cwd: Cwd = None) -> None:
    """Show the sessions of this directory, newest first, and how many files each changed here."""
    for session in project_sessions(_project(cwd), state_dir()):
        paths = undoable(_workspace(session))
        applied = f"  {len(paths)} files applied" if paths else ""
        print(f"{session.id}  {session.at[:16].replace('T', ' ')}  {session.command:<6}{applied}".rstrip())


@app.command()
def undo(
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="Of `pawl sessions list`; default: the newest that applies.")
    ] = "",
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do it without a question.")] = False,
    cwd: Cwd = None,
) -> None:
    """Put your files back as they were before the last patch that a session applied, all of them or none.

    Nothing is changed when you have edited one of them since.
    """
    raise typer.Exit(asyncio.run(_undo(_project(cwd), identity, yes)))


@app.command()
def show(identity: Id, cwd: Cwd = None) -> None:
    """Show what was said and done in a session; long results are cut."""
    print(visible(transcript(_load(_project(cwd), identity), most=_SHOWN)), end="")


@app.command()
def export(
    identity: Id,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="markdown, or messages: a line of JSON.")
    ] = "markdown",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Instead of stdout; not over a file."),
    ] = None,
    cwd: Cwd = None,
) -> None:
    """Write a session for people (Markdown), or its conversation for programs (chat messages with tools)."""
    if form not in _FORMATS:
        raise ConfigError(f"--format: expected one of {', '.join(_FORMATS)}, got {form!r}")
    data = _FORMATS[form](_load(_project(cwd), identity)).encode()
    if output is None:
        sys.stdout.buffer.write(data)
        return
    try:
        with output.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise ConfigError(f"--output: cannot write {output}: {error.strerror}") from error


def _messages(log: SessionLog) -> str:
    """The newest conversation as Chat Completions has it."""
    openings = [r.envelope.seq for r in log.records if isinstance(r.event, ConversationStarted)]
    if not openings:
        raise ConfigError(f"session {log.header.id} holds no conversation")
    events = [record.event for record in log.line_to(newest_behind(openings[-1], log.records))]
    opening = conversation(events)
    assert opening is not None
    body = to_wire(Request(project(events), opening.tools), model=opening.model, quirks=NO_QUIRKS)
    kept = {name: body[name] for name in ("model", "tools", "messages") if name in body}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n"


_FORMATS = {"markdown": transcript, "messages": _messages}


def _load(project: Path, prefix: str) -> SessionLog:
    header = named(project, state_dir(), prefix)
    return SessionLog.load(sessions_folder(project, state_dir()) / f"{header.id}.jsonl")


async def _undo(folder: Path, identity: str, yes: bool) -> int:
    swept = await Workspace.sweep(state_dir() / "workspaces")
    for note in swept.told:
        print(visible(note))
    for warning in swept.stuck:
        print(f"pawl: {visible(warning)}", file=sys.stderr)
    session = _find(folder, identity)
    paths = undoable(_workspace(session)) if session else ()
    if session is None or not paths:
        whose = f"{identity} has no" if identity else "no session here has a"
        print(f"there is nothing to undo: {whose} patch in your files")
        return 1
    event = FilesRestored.of("undo_accept", paths)
    print(visible(f"session {session.id} changed {event.named}"))
    if apart := split(_workspace(session)):
        print(f"hard links that stay split, their other names as they are: {a_few(apart)}")
    if not yes:
        if not can_ask():
            raise ConfigError("nobody is here to ask; --yes undoes it")
        from rich.console import Console

        if not await Lines(Console(stderr=True)).yes("Put these back as they were before?"):
            return 6
    path = sessions_folder(folder, state_dir()) / f"{session.id}.jsonl"
    with SessionLog.load(path, scrub=scrubber(known_secrets(os.environ))) as log:
        paths = await Workspace.undo_accept(_workspace(session))
        if paths:
            event = FilesRestored.of("undo_accept", paths)
            Bus(log).branch(len(log.records)).emit(event)
    print(visible(f"put back: {event.named}" if paths else "they are so already"))
    return 0


def _find(project: Path, identity: str) -> Header | None:
    """The session of that id, else the newest with something to undo. Raises ConfigError."""
    sessions = project_sessions(project, state_dir())
    if not identity:
        return next((session for session in sessions if undoable(_workspace(session))), None)
    for session in sessions:
        if session.id == identity:
            return session
    raise ConfigError(f"there is no session {identity!r} of {project}; `pawl sessions list` shows them")


def _workspace(session: Header) -> Path:
    return state_dir() / "workspaces" / session.id


def _project(cwd: Path | None) -> Path:
    return (cwd or Path.cwd()).resolve()
