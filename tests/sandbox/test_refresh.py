"""The base follows what the user does to the tree between two turns."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.base import SandboxError
from sandbox.tree import Copier, spread
from sandbox.workspace import Workspace
from tests.sandbox.places import Forks, full_after, open_workspace
from tests.sandbox.test_overlay import STEPS, act
from tests.sandbox.test_workspace import ODD
from tests.support.trees import git, make, nodes, picture

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]


def aged(tree: Path) -> Path:
    """The tree, when its stamps can be trusted."""
    time.sleep(0.06)
    return tree


async def test_nothing_is_copied_again_that_did_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = aged(make(tmp_path / "t", {**ODD, "d/a": "1", "d/b": "1"}))
    workspace = await open_workspace(tree, tmp_path / "state")
    assert await workspace.is_current()
    make(tree, {"d/a": "2"})
    assert not await workspace.is_current()
    copied: list[str] = []
    copy = Copier._copy_regular

    def counted(copier: Copier, name: str, source: int, target: int) -> os.stat_result:
        copied.append(name)
        return copy(copier, name, source, target)

    monkeypatch.setattr(Copier, "_copy_regular", counted)
    await workspace.refresh()
    assert copied == ["a"]
    monkeypatch.undo()
    fork = await workspace.fork("one")
    assert nodes(fork.tree) == nodes(tree)
    assert (await fork.diff()).empty
    await workspace.aclose()


async def test_a_refresh_that_fails_half_way_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = aged(make(tmp_path / "t", {**ODD, "gone/a": "1", "b": "1", "c": "1", "d": "1"}))
    workspace = await open_workspace(tree, tmp_path / "state")
    shutil.rmtree(tree / "gone")
    make(tree, {"b": "2", "c": "2", "d": "2", "new/e": "2"})
    full_after(monkeypatch, 2)
    with pytest.raises(SandboxError, match="make room"):
        await workspace.refresh()
    monkeypatch.undo()
    if not Forks.overlay:
        with pytest.raises(SandboxError, match="not whole"):
            await workspace.fork("too early")
    assert not await workspace.is_current()
    await workspace.refresh()
    fork = await workspace.fork("one")
    assert nodes(fork.tree) == nodes(tree)
    assert (await fork.diff()).empty
    await workspace.aclose()


async def test_all_that_can_change_in_a_tree(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {**ODD, "file": "1", "dir/x/y": "1", "gone/deep/a": "1", "mode": "1"})
    git(tree, "init", "-q")
    make(tree, {"node_modules/p/index.js": "1", "env/lib/a.py": "1"})
    (tree / "empty folder").mkdir()
    aged(tree)
    workspace = await open_workspace(tree, tmp_path / "state")
    (tree / "file").unlink()
    shutil.rmtree(tree / "dir")
    shutil.rmtree(tree / "gone")
    shutil.rmtree(tree / "node_modules")
    (tree / "empty folder").rmdir()
    (tree / "mode").chmod(0o755)
    (tree / "sp ace").chmod(0o700)
    (tree / "link").unlink()
    (tree / "link").symlink_to("mode")
    make(tree, {"file/now/a folder": "2", "dir": "a file now", ".env": "KEY=1", "new": "n"})
    make(tree, {"env/pyvenv.cfg": "home = /usr\n"})
    await workspace.refresh()
    fork = await workspace.fork("one")
    assert picture_of(fork.tree) == picture_of(tree, without=(".git", ".env", "env"))
    assert (await fork.diff()).empty
    assert f"{tree}/env" in [mount.target for mount in workspace.mounts]
    assert f"{tree}/node_modules" not in [mount.target for mount in workspace.mounts]
    await workspace.aclose()


def picture_of(tree: Path, without: tuple[str, ...] = ()) -> dict[str, tuple[object, ...]]:
    """Kind, mode, and content of all but the insides of some top folders, whose mount points are ignored."""
    return {
        path: (mode, content)
        for path, (mode, _, _, content) in picture(tree).items()
        if path.split("/")[0] not in (".git", ".env", "env", *without) and path != "."
    }


async def test_an_accept_and_the_users_edits_after_it(tmp_path: Path) -> None:
    tree = aged(make(tmp_path / "t", {"a": "1\n2\n3\n4\n5\n6\n", "b": "1"}))
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    make(fork.tree, {"a": "one\n2\n3\n4\n5\n6\n", "c": "new"})
    make(tree, {"a": "1\n2\n3\n4\n5\nsix\n"})
    await workspace.accept(await fork.diff())
    with pytest.raises(SandboxError, match="open fork"):
        await workspace.refresh()
    await fork.aclose()
    make(tree, {"b": "2"})
    await workspace.refresh()
    again = await workspace.fork("two")
    assert nodes(again.tree) == nodes(tree)
    assert (again.tree / "a").read_text() == "one\n2\n3\n4\n5\nsix\n"
    assert (await again.diff()).empty
    await workspace.aclose()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(STEPS, max_size=4))
def test_any_edits_are_followed(tmp_path_factory: pytest.TempPathFactory, rounds: list[object]) -> None:

    place = tmp_path_factory.mktemp("follow")
    tree = make(place / "t", {"a": "0", "d/a": "0", "d/e/a": "0"})

    async def run() -> None:
        workspace = await Workspace.open(tree, place / "state", overlay=Forks.overlay)
        try:
            for steps in rounds:
                for step in steps:  # type: ignore[attr-defined]
                    act(tree, *step)
                await workspace.refresh()
                fork = await workspace.fork("one")
                assert nodes(fork.tree) == nodes(tree)
                assert (await fork.diff()).empty
                await fork.aclose()
        finally:
            await workspace.aclose()

    asyncio.run(run())


async def test_workspaces_lie_apart_on_the_disk(tmp_path: Path) -> None:
    """Marked where the file system knows the mark; elsewhere nothing is said."""
    workspace = await open_workspace(make(tmp_path / "t", {"a": "1"}), tmp_path / "places" / "one")
    await workspace.aclose()
    kind = subprocess.run(["stat", "-fc", "%T", tmp_path], capture_output=True, text=True).stdout.strip()
    marks = subprocess.run(["lsattr", "-d", tmp_path / "places"], capture_output=True, text=True).stdout
    assert kind != "ext2/ext3" or "T" in marks.split(" ")[0]
    spread(Path("/proc/self"))
