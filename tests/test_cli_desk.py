"""What a command works with: once the tree is being changed, an interrupt does not hide that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli.desk import Desk
from agent.cli.options import Options
from agent.config import Settings
from agent.session import new_session
from sandbox.workspace import Workspace

pytestmark = pytest.mark.anyio


async def test_an_accept_that_began_is_finished_and_told(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("old\n")
    options = Options(settings=Settings(), cwd=tree)
    with new_session(tree, tmp_path / "state") as log:
        desk = Desk(options, log, Console(stderr=True), None)
        desk.workspace = await Workspace.open(tree, tmp_path / "workspace")
        try:
            fork = await desk.workspace.fork("one")
            (fork.tree / "a.txt").write_text("new\n")
            task = asyncio.create_task(desk.accept(await fork.diff()))
            await asyncio.sleep(0)  # it has begun, and is not done
            task.cancel()
            accepted = await task
        finally:
            await desk.aclose()
    assert accepted.paths == ("a.txt",)
    assert desk.applied == ["a.txt"]
    assert (tree / "a.txt").read_text() == "new\n"
