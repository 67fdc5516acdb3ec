"""Undo of an accept: the user's files as they were before, all or nothing, and no later edit lost."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agent.cli.finish import applied
from sandbox.accept import AcceptConflict
from sandbox.base import SandboxError
from sandbox.undo import split, undoable
from sandbox.workspace import Workspace
from tests.support.trees import Node, make, nodes, picture, shape

pytestmark = pytest.mark.anyio


async def accepted(tree: Path, state: Path, *rounds: dict[str, bytes | str | Node | None]) -> None:
    """Accept each round of changes (None deletes) in one session, and end it."""
    workspace = await Workspace.open(tree, state)
    for number, changes in enumerate(rounds):
        fork = await workspace.fork(f"{number}")
        for path, content in changes.items():
            if content is None:
                (fork.tree / path).unlink()
        make(fork.tree, {path: content for path, content in changes.items() if content is not None})
        await workspace.accept(await fork.diff())
    await workspace.aclose()


async def test_files_come_back_with_modes_times_and_folders(tmp_path: Path) -> None:
    files: dict[str, bytes | str | Node] = {
        "a": "1",
        "gone/x": "1",
        "link": (0o120000, b"a"),
        "f": "file",
        "d/y": "1",
    }
    tree = make(tmp_path / "t", files)
    (tree / "a").chmod(0o604)
    (tree / "gone").chmod(0o750)
    (tree / "hollow").mkdir(mode=0o711)
    os.utime(tree / "a", ns=(10**18, 10**18))
    before = shape(tree)
    workspace = await Workspace.open(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    for path in ("gone/x", "link", "f", "d/y"):
        (fork.tree / path).unlink()
    (fork.tree / "d").rmdir()
    make(
        fork.tree,
        {"a": "2", "link": "a file", "f/new": "n", "d": "d", "hollow/n": "n", "p/q/r": (0o100755, b"r")},
    )
    await workspace.accept(await fork.diff())
    with pytest.raises(SandboxError, match="another pawl"):
        await Workspace.undo_accept(tmp_path / "state")
    await workspace.aclose()
    assert not (tree / "gone").exists() and (tree / "f/new").exists()
    paths = ("a", "d", "d/y", "f", "f/new", "gone/x", "hollow/n", "link", "p/q/r")
    assert undoable(tmp_path / "state") == paths
    assert await Workspace.undo_accept(tmp_path / "state") == paths
    assert shape(tree) == before
    assert undoable(tmp_path / "state") == await Workspace.undo_accept(tmp_path / "state") == ()


async def test_attributes_are_kept_and_split_links_told(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "gone": "1", "b": "1", "c": "1"})
    for name in ("a", "gone"):
        try:
            os.setxattr(tree / name, b"user.m\xff", b"mine \0")
        except OSError as error:
            pytest.skip(f"no attributes here: {error}")
    os.link(tree / "b", tmp_path / "other")
    workspace = await Workspace.open(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    make(fork.tree, {"a": (0o100755, b"2"), "b": "2", "c": "2"})
    (fork.tree / "gone").unlink()
    make(tree, {"c": "2"})
    accepted = await workspace.accept(await fork.diff())
    await workspace.aclose()
    assert os.getxattr(tree / "a", b"user.m\xff") == b"mine \0" and (tree / "a").stat().st_mode & 0o100
    assert accepted.split == split(tmp_path / "state") == ("b",)
    assert applied(accepted) == (
        "Applied to a, b, gone. A hard link was split, and other names keep the old content: b."
    )
    assert (tmp_path / "other").read_text() == "1"
    await Workspace.undo_accept(tmp_path / "state")
    for name in ("a", "gone"):
        assert os.getxattr(tree / name, b"user.m\xff") == b"mine \0"


async def test_accepts_are_undone_last_first(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "b": "1"})
    await accepted(
        tree, tmp_path / "state", {"a": "2"}, {"a": "3", "b": "3"}, *({"c": f"{n}"} for n in range(9))
    )
    for number in range(7, -1, -1):
        assert await Workspace.undo_accept(tmp_path / "state") == ("c",)
        assert (tree / "c").read_text() == f"{number}"
    await Workspace.undo_accept(tmp_path / "state")
    assert nodes(tree) == {"a": (0o100644, b"3"), "b": (0o100644, b"3")}
    assert await Workspace.undo_accept(tmp_path / "state") == ("a", "b")
    assert nodes(tree) == {"a": (0o100644, b"2"), "b": (0o100644, b"1")}
    assert await Workspace.undo_accept(tmp_path / "state") == ("a",)
    assert nodes(tree) == {"a": (0o100644, b"1"), "b": (0o100644, b"1")}


@pytest.mark.parametrize(
    "edit",
    [
        {"a": "the user's"},
        {"gone": "made again"},
        {"z": None},
        {"new/n": "edited"},
        {"a": (0o100755, b"2")},
        {"a": (0o120000, b"z")},
    ],
)
async def test_a_later_edit_refuses_everything(tmp_path: Path, edit: dict[str, Node | None]) -> None:
    tree = make(tmp_path / "t", {"a": "1", "gone": "1", "z": "1"})
    await accepted(tree, tmp_path / "state", {"a": "2", "gone": None, "new/n": "n", "z": "2"})
    for path, content in edit.items():
        (tree / path).unlink(missing_ok=True)
        if content is not None:
            make(tree, {path: content})
    before = picture(tree)
    with pytest.raises(AcceptConflict, match="since the patch was applied") as caught:
        await Workspace.undo_accept(tmp_path / "state")
    assert caught.value.paths == tuple(edit)
    assert picture(tree) == before
    assert undoable(tmp_path / "state")


async def test_a_neighbour_of_the_users_is_kept(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    await accepted(tree, tmp_path / "state", {"new/n": "n"})
    make(tree, {"new/mine": "m"})
    await Workspace.undo_accept(tmp_path / "state")
    assert nodes(tree) == {"a": (0o100644, b"1"), "new/mine": (0o100644, b"m")}


async def test_a_folder_in_the_way_of_a_file_is_a_conflict(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"f": "1", "a": "1"})
    await accepted(tree, tmp_path / "state", {"f": None, "a": "2"})
    make(tree, {"f/mine": "m"})
    before = nodes(tree)
    with pytest.raises(AcceptConflict):
        await Workspace.undo_accept(tmp_path / "state")
    assert nodes(tree) == before


async def test_a_damaged_copy_is_not_put_back(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "b": "1"})
    await accepted(tree, tmp_path / "state", {"a": "2", "b": "2"})
    next((tmp_path / "state/accepts").glob("*/0.before")).write_text("X")
    before = picture(tree)
    with pytest.raises(SandboxError, match="damaged"):
        await Workspace.undo_accept(tmp_path / "state")
    assert picture(tree) == before


def child(place: Path, body: str) -> str:
    head = f"""
import os, resource
from pathlib import Path
from sandbox.base import SandboxError
from sandbox.journal import recover
from sandbox.undo import undo_accept, undoable
from tests.support.dying import die_at
from tests.support.trees import nodes, picture
tree, state = Path({str(place / "t")!r}), Path({str(place / "state")!r})
"""
    command = [sys.executable, "-c", head + textwrap.dedent(body)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_case_71_killed_at_any_moment_of_an_undo(tmp_path: Path) -> None:
    """The process dies at each change of the disk in turn; recovered, the accept is whole or undone."""
    tree = make(tmp_path / "t", {"a": "1", "gone/x": "1", "f": "1", "d/y": "1"})
    old = nodes(tree)
    workspace = await Workspace.open(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    for path in ("gone/x", "f", "d/y"):
        (fork.tree / path).unlink()
    (fork.tree / "d").rmdir()
    make(fork.tree, {"a": "2", "f/new": "n", "d": "d", "p/q": "q"})
    await workspace.accept(await fork.diff())
    await workspace.aclose()
    new = nodes(tree)
    done = child(
        tmp_path,
        f"""
        OLD, NEW = {old!r}, {new!r}
        SHAPE = picture(tree).keys()
        for number in range(500):
            if not (one := os.fork()):
                die_at(number)
                undo_accept(state)
                os._exit(0)
            whole = os.waitpid(one, 0)[1] == 0
            recover(state)
            if nodes(tree) == OLD:
                break
            assert not whole and nodes(tree) == NEW, (number, nodes(tree))
            assert picture(tree).keys() == SHAPE, (number, set(picture(tree)) ^ SHAPE)
            assert undoable(state)
        assert undo_accept(state) == () and undoable(state) == ()
        assert nodes(tree) == OLD
        print("killed", number)
        """,
    )
    assert int(done.split()[-1]) > 30
    assert sorted(path.name for path in tree.iterdir()) == ["a", "d", "f", "gone"]


async def test_case_72_disk_full_in_an_undo(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "z": "z" * 9000})
    await accepted(tree, tmp_path / "state", {"a": "2", "z": "small", "n/new": "n"})
    before = nodes(tree)
    done = child(
        tmp_path,
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            undo_accept(state)
        except SandboxError as error:
            print(error)
        """,
    )
    assert done.startswith("nothing was undone: ")
    assert nodes(tree) == before
    await Workspace.undo_accept(tmp_path / "state")
    assert (tree / "z").stat().st_size == 9000 and not (tree / "n").exists()
