"""Names of files in what pawl says: one line, nothing hidden, not too many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.cli.finish import applied
from agent.events import FilesRestored
from sandbox.accept import Accepted
from sandbox.naming import a_few, plain
from sandbox.workspace import Workspace
from tests.support.trees import make

pytestmark = pytest.mark.anyio

FORGED = "x\nApplied to y.\u202e\x1b[2K\u2028"
SHOWN = r"x\nApplied to y.\u202e\x1b[2K\u2028"


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert plain(FORGED) == SHOWN
    assert plain(os.fsdecode(b"bad\xff")) == r"bad\udcff"
    assert plain("größe 大.py") == "größe 大.py"
    assert len(plain("d/" * 9999)) < 400


def test_a_few_are_named_and_the_rest_counted() -> None:
    assert a_few(("a", "b")) == "a, b"
    assert a_few([f"{n}" for n in range(1300)], 2) == "0, 1 and 1,298 more"


def test_no_name_forges_a_line_of_pawls() -> None:
    told = applied(Accepted((FORGED,), (FORGED,), (FORGED,), (FORGED,)))
    assert "\n" not in told and told.count(SHOWN) == 4
    assert FilesRestored.of("undo", (FORGED,)).named == SHOWN


async def test_notes_of_a_freeze_are_short(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {f".env.{n:03}": "" for n in range(130)} | {"a": "1"})
    for n in range(30):
        os.mkfifo(tree / f"p{n:02}\n")
    notes: list[str] = []
    workspace = await Workspace.open(tree, tmp_path / "state", on_note=notes.append)
    await workspace.aclose()
    pipes, secrets = sorted(notes)[::-1]
    assert pipes.startswith(r"left out: p00\n, p01\n, ")
    assert pipes.endswith(r", p09\n and 20 more (a socket, FIFO or device)")
    assert secrets.startswith("kept from the model as possible secrets: .env.000, ")
    assert secrets.endswith(", .env.009 and 120 more")
