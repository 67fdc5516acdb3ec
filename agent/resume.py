"""Going on with a session: which one, where in it, and what is new since it was left.

Sessions of `chat` and `run` hold a conversation that can be gone on with, each in its own folder and by one
process at a time. What was sent before is sent again byte for byte: prompt and tools come from the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.config import ConfigError
from agent.context import conversation
from agent.dispatch import decode_arguments
from agent.events import (
    ConversationStarted,
    Durable,
    PatchApplied,
    Resumed,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from agent.session import Header, Record, SessionLog, project_sessions, read_header, sessions_folder
from sandbox.workspace import Workspace
from tools.base import Effect, Tool, ToolError
from tools.toolset import UnknownTool, load

COMMANDS = ("chat", "run")
"""The commands whose sessions hold a conversation."""
_TURN, _OPENING, _NO_TOOLS = b'"type":"turn_started"', b'"type":"conversation_started"', b'"tools":[]'
_NAMED, _LISTED = 10, 20
_BY_PATH = ("read", "edit", "multi_edit", "write")
"""Tools whose argument `path` is one file."""


class Talk(NamedTuple):
    """A session that can be gone on with."""

    header: Header
    path: Path
    said: str
    """The first message."""


def talks(project: Path, state: Path) -> Iterator[Talk]:
    """Those of the project, the one that was used last first. Of each its first message is read."""
    folder = sessions_folder(project, state)
    found = [(folder / f"{header.id}.jsonl", header) for header in project_sessions(project, state)]
    found.sort(key=lambda one: (one[0].stat().st_mtime_ns, one[0].name), reverse=True)
    for path, header in found:
        if header.command in COMMANDS and (said := _first_message(path)) is not None:
            yield Talk(header, path, said)


def find(project: Path, state: Path, prefix: str) -> Path:
    """The log of the session to go on with whose id begins so. Raises ConfigError."""
    header = named(project, state, prefix)
    path = sessions_folder(project, state) / f"{header.id}.jsonl"
    if header.command not in COMMANDS:
        raise ConfigError(
            f"session {header.id} is of `pawl {header.command}` and holds no conversation to go on with"
        )
    if _first_message(path) is None:
        raise ConfigError(f"session {header.id} holds no conversation to go on with; begin a new one")
    return path


def named(project: Path, state: Path, prefix: str) -> Header:
    """The session whose id begins so. Raises ConfigError, which says what there is instead."""
    here = [header for header in project_sessions(project, state) if header.id.startswith(prefix)]
    exact = [header for header in here if header.id == prefix] or here
    if len(exact) > 1:
        raise ConfigError(f"{prefix!r} begins several ids: {', '.join(header.id for header in exact)}")
    if not exact:
        raise ConfigError(_elsewhere(state, prefix) or _none_begins(project, state, prefix))
    return exact[0]


def latest(project: Path, state: Path) -> Path:
    """The log of the session that was used last. Raises ConfigError when there is none."""
    for talk in talks(project, state):
        return talk.path
    raise ConfigError(f"there is no session of {project} to go on with; without --continue one begins")


def leaf(log: SessionLog) -> int:
    """The event behind which the conversation goes on: the newest of the line that its last turn is on.

    0 when there is none. Where functions are rewritten directly, the model is asked without tools, and each
    time anew: that is no conversation.
    """
    for turn in reversed(log.records):
        if isinstance(turn.event, TurnStarted):
            opening = conversation([record.event for record in log.line_to(turn.envelope.seq)])
            if opening is not None and opening.tools:
                return newest_behind(turn.envelope.seq, log.records)
    return 0


def newest_behind(seq: int, records: Sequence[Record]) -> int:
    """The newest event of the lines on which event `seq` is."""
    line = {seq}
    for record in records[seq:]:
        if record.envelope.parent in line:
            line.add(record.envelope.seq)
    return max(line)


def same_tools(opening: ConversationStarted) -> dict[str, Tool]:
    """The tools that the model was told of, as far as there still are such."""
    tools: dict[str, Tool] = {}
    for spec in opening.tools:
        try:
            tools[spec.name] = load(spec.name)
        except UnknownTool:
            continue
    return tools


def tools_for(events: Sequence[Durable], fresh: Mapping[str, Tool]) -> Mapping[str, Tool]:
    """The tools of the conversation that is there, else `fresh`."""
    opening = conversation(events)
    return fresh if opening is None else same_tools(opening)


async def what_is_new(log: SessionLog, line: Sequence[Record], workspace: Workspace) -> Resumed:
    """Compare the files with what the model knows of them; `line` leads to where the session goes on."""
    turn = next(record for record in reversed(line) if isinstance(record.event, TurnStarted))
    later = log.records[turn.envelope.seq :]  # a patch is applied on the main line, whose attempt made it
    applied = [(record, record.event) for record in later if isinstance(record.event, PatchApplied)]
    changed = set(await workspace.changed_since(_seconds(turn)))
    if applied:
        # what we put into the files is news only when it was changed once more
        again = set(await workspace.changed_since(_seconds(applied[-1][0])))
        changed -= {path for _, event in applied for path in event.paths} - again
    before = {path for r in line if isinstance(r.event, Resumed) for path in r.event.paths}
    gone = await asyncio.to_thread(_gone, line, workspace.tree)
    paths = sorted([*changed, *(gone - before)])
    told = (PatchApplied, Resumed)
    last = max((r.envelope.seq for r in log.records if isinstance(r.event, told)), default=0)
    dropped = any(
        isinstance(r.event, ToolStarted) and r.event.effect != Effect.READ.value and r.envelope.seq > last
        for r in line
    )
    return Resumed(tuple(paths[:_NAMED]), len(paths), dropped)


def _seconds(record: Record) -> float:
    """When it was; a millisecond more, as the log cuts what is below it."""
    return datetime.fromisoformat(record.envelope.at).timestamp() + 0.001


def _gone(line: Sequence[Record], tree: Path) -> set[str]:
    """What a tool has read or written for the model by its path, and is not in the tree now; so marked."""
    events = [record.event for record in line]
    failed = {e.result.call_id for e in events if isinstance(e, ToolFinished) and e.result.is_error}
    called = (e.call for e in events if isinstance(e, ToolStarted) and e.call.name in _BY_PATH)
    paths: set[str] = set()
    for call in called:
        with contextlib.suppress(ToolError):
            path = decode_arguments(load(call.name), call.arguments)["path"]
            if call.id not in failed and not path.startswith("/") and ".." not in path.split("/"):
                paths.add(path.removeprefix("./"))
    return {f"{path} (gone)" for path in paths if not os.path.lexists(tree / path)}


def _first_message(path: Path) -> str | None:
    """None when there is no conversation. What is no event is found out when the whole log is read."""
    opened = False
    with path.open("rb") as file:
        for line in file:
            opened = opened or (_OPENING in line and _NO_TOOLS not in line)
            if opened and _TURN in line and line.endswith(b"\n"):
                try:
                    return msgspec.json.decode(line, type=TurnStarted).text
                except (msgspec.DecodeError, UnicodeDecodeError):
                    return ""
    return None


def _elsewhere(state: Path, prefix: str) -> str:
    """What to say of a session of another folder; empty when there is none of the id."""
    for path in sorted(state.glob("sessions/*/*.jsonl")):
        if path.stem.startswith(prefix) and (header := read_header(path)) is not None:
            return f"session {header.id} is of {header.project}; go there, or say it: --cwd {header.project}"
    return ""


def _none_begins(project: Path, state: Path, prefix: str) -> str:
    return f"no session of {project} has an id that begins with {prefix!r}; {listed(talks(project, state))}"


def listed(found: Iterable[Talk]) -> str:
    """The sessions in words, a line each."""
    lines = [line_of(talk) for talk in islice(found, _LISTED)]
    return "\n".join(["there are:", *lines]) if lines else "there is none to go on with"


def line_of(talk: Talk) -> str:
    """Such as `20260102-030405-678-9f3a  2026-01-02 03:04  chat  mend the parser`."""
    said = re.sub(r"\s+", " ", talk.said).strip()
    header = talk.header
    return f"{header.id}  {header.at[:16].replace('T', ' ')}  {header.command:<4}  {said[:60]}".rstrip()
