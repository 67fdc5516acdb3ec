"""Which session is gone on with, where, and what the model is told of the files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.bus import Branch, Bus
from agent.cli.options import with_values
from agent.config import ConfigError
from agent.context import project as messages
from agent.events import (
    ConversationStarted,
    Noted,
    PatchApplied,
    Resumed,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from agent.messages import Image, ToolCall, ToolResult, User
from agent.models.base import ToolSpec
from agent.resume import find, latest, leaf, line_of, talks, what_is_new
from agent.session import SessionLog, new_session
from sandbox.workspace import Workspace

pytestmark = pytest.mark.anyio

TALK = ConversationStarted("", (ToolSpec("read", "Read.", {}),), "m")
ASK = ConversationStarted('{"tools":[{}', (), "m")
"""How functions are rewritten directly."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt", "d.txt", "made.o"):
        (folder / name).write_text("old\n")
    (folder / ".gitignore").write_text("*.o\n")
    return folder


@pytest.fixture
async def workspace(tree: Path, tmp_path: Path) -> AsyncIterator[Workspace]:
    opened = await Workspace.open(tree, tmp_path / "workspace", overlay=False)
    yield opened
    await opened.aclose()


def session(project: Path, state: Path, text: str = "hi", command: str = "run") -> SessionLog:
    log = new_session(project, state, command=command)
    branch = Bus(log).branch()
    branch.emit(Noted("info", '"type":"turn_started"'))
    if text:
        branch.emit(TALK)
        branch.emit(TurnStarted(text))
    log.close()
    return log


def used(log: SessionLog, at: float) -> str:
    os.utime(log.path, (at, at))
    return log.header.id


def test_a_session_is_found_by_how_its_id_begins(tmp_path: Path) -> None:
    here, there, state = tmp_path / "here", tmp_path / "there", tmp_path / "state"
    one, two = used(session(here, state, "one\n\ttwo"), 20), used(session(here, state), 10)
    fix, silent = used(session(here, state, command="fix"), 30), used(session(here, state, ""), 40)
    with SessionLog.load(session(here, state, "").path) as log:
        branch = Bus(log).branch()
        branch.emit(ASK)
        branch.emit(TurnStarted("rewrite it"))
        asked = used(log, 50)
    assert [talk.header.id for talk in talks(here, state)] == [one, two]
    assert line_of(next(talks(here, state))).endswith("  run   one two")
    assert latest(here, state).stem == find(here, state, one).stem == one
    for prefix, said in {
        "2": f"'2' begins several ids: {', '.join(sorted((one, two, fix, silent, asked), reverse=True))}",
        "*": "begins with '*'; there are:\n" + one,
        fix: "is of `pawl fix` and holds no conversation",
        silent: "holds no conversation",
        asked: "holds no conversation",
    }.items():
        with pytest.raises(ConfigError) as error:
            find(here, state, prefix)
        assert said in str(error.value)
    with pytest.raises(ConfigError, match=f"is of {here}; go there, or say it: --cwd {here}"):
        find(there, state, one)
    with pytest.raises(ConfigError, match="there is no session of"):
        latest(there, state)


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("-r", ["-r", ""]),
        ("-r -c hi", ["-r", "", "-c", "hi"]),
        ("hi --resume 2026", ["hi", "--resume", "2026"]),
        ("--resume=2026 hi", ["--resume=2026", "hi"]),
        ("-r -- -r", ["-r", "", "--", "-r"]),
    ],
)
def test_resume_may_stand_without_an_id(given: str, understood: list[str]) -> None:
    assert with_values(given.split()) == understood


def test_it_goes_on_where_the_last_turn_was(tmp_path: Path) -> None:
    with new_session(tmp_path, tmp_path / "state") as log:
        bus = Bus(log)
        branch = bus.branch()
        assert leaf(log) == 0
        branch.emit(Noted("info", "begin"))
        first, second = branch.fork("attempt-1"), branch.fork("attempt-2")
        for attempt in (first, second):
            attempt.emit(TALK)
            attempt.emit(TurnStarted("mend it"))
        end = second.emit(TurnEnded("done"))
        first.emit(Noted("info", "late"))
        asked = branch.fork("attempt-3")
        asked.emit(ASK)
        asked.emit(TurnStarted("rewrite it"))
        branch.emit(Noted("info", "end"))
        assert leaf(log) == end.envelope.seq


def test_a_fork_has_the_same_messages_and_images_and_leaves_the_old_log_alone(tmp_path: Path) -> None:
    with new_session(tmp_path, tmp_path / "state") as log:
        branch = Bus(log).branch()
        branch.emit(TALK)
        branch.emit(TurnStarted("look", (Image("image/png", b"PNG"),)))
        before = log.path.read_bytes()
        with new_session(tmp_path, tmp_path / "state", forked=log) as fork:
            Bus(fork).branch(leaf(fork)).emit(TurnStarted("on"))
        assert log.path.read_bytes() == before
        shutil.rmtree(log.artifacts)
    again = SessionLog.load(fork.path)
    assert again.header.forked == log.header.id != again.header.id
    said = messages(record.event for record in again.records)
    assert said == (User("look", (Image("image/png", b"PNG"),)), User("on"))


def call(branch: Branch, name: str, effect: str, *, fails: bool = False, **arguments: str) -> None:
    made = ToolCall(f"c{branch.leaf}", name, json.dumps(arguments))
    branch.emit(ToolStarted(made, effect))
    branch.emit(ToolFinished(ToolResult(made.id, name, "", fails), 0.0))


async def new(log: SessionLog, branch: Branch, workspace: Workspace) -> Resumed:
    await workspace.refresh()
    return await what_is_new(log, branch.records(), workspace)


async def test_files_that_changed_since_are_told_once(
    tree: Path, tmp_path: Path, workspace: Workspace
) -> None:
    with new_session(tree, tmp_path / "state") as log:
        main = Bus(log).branch()
        branch = main.fork("attempt-1")
        branch.emit(TurnStarted("mend it"))
        call(branch, "read", "read", path="./b.txt")
        call(branch, "read", "read", path="never.txt", fails=True)
        call(branch, "read", "read", path="../tree/b.txt")
        assert await new(log, branch, workspace) == Resumed((), 0, False)
        assert Resumed((), 0, False).told == ""

        call(branch, "write", "write", path="new.txt", content="x")
        assert await new(log, branch, workspace) == Resumed(("new.txt (gone)",), 1, True)

        for name in ("a.txt", "c.txt", "new.txt"):
            (tree / name).write_text("ours\n")
        main.emit(PatchApplied(("a.txt", "c.txt", "new.txt")))
        assert await new(log, branch, workspace) == Resumed((), 0, False), "what was applied is no news"

        (tree / "b.txt").unlink()
        (tree / "made.o").write_text("built anew\n")
        for name in ("c.txt", "d.txt"):
            (tree / name).write_text("theirs\n")
            os.utime(tree / name, (1, 1))
        told = await new(log, branch, workspace)
        assert told == Resumed(("b.txt (gone)", "c.txt", "d.txt"), 3, False)
        branch.emit(told)
        branch.emit(TurnStarted("go on"))
        said = "[The session goes on later, with the user's files as they are now. Changed since: "
        assert messages(branch.events())[-1] == User(f"{said}b.txt (gone), c.txt, d.txt.]\n\ngo on")
        call(branch, "write", "write", path="new.txt", content="y")
        assert await new(log, branch, workspace) == Resumed((), 0, True)
        branch.emit(Resumed((), 0, True))
        assert await new(log, branch, workspace) == Resumed((), 0, False), "each is told once"
