"""The copy by git listing: it is what git lists, and nothing of what it leaves out is lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.accept import AcceptConflict
from sandbox.base import NotRegular, SandboxError
from sandbox.freeze import RACY_NS, Intake
from sandbox.gitlist import list_tree
from sandbox.patch import FileChange, Patch
from sandbox.workspace import Workspace
from tests.support.trees import git, make, nodes, picture

pytestmark = pytest.mark.anyio

BY_GIT = Intake(by="git")
ODD = (
    "-rf",
    "new\nline",
    os.fsdecode(b"bad\xff\xfe"),
    "sp ace/q\"uo'te",
    "ünï/ö",
    "#x",
    "!y",
    "tab\tx",
    "e ",
)
IGNORED = "data/\n*.log\n!kept.log\nnode_modules\n/build\ndeep/**/out\n"


def repository(folder: Path) -> Path:
    """Tracked, untracked and ignored files, in all the ways in which git can come to know of them."""
    make(folder, dict.fromkeys(ODD, "odd") | {"a.py": "1", "src/b.py": "1", ".gitignore": IGNORED})
    make(
        folder,
        {"data/forced": "tracked", "gone": "g", "folder": "a file at first", "link": (0o120000, b"a.py")},
    )
    make(folder, {"src/.gitignore": "*.tmp\n", "run.sh": (0o100755, b"#!/bin/sh\n"), "deep/x/y": "1"})
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "add", "-f", "data/forced")
    git(folder, "commit", "-qm", "one")
    for name in ("gone", "folder"):
        (folder / name).unlink()
    make(folder, {"new": "n", "src/new.py": "n", "src/kept.log": "n", "folder/inner": "n", "a.py": "dirty"})
    make(folder, {"data/x/1": "i", "data/2": "i", "b.log": "i", "src/c.log": "i", "src/d.tmp": "i"})
    make(folder, {"build/o": "i", "deep/x/out/1": "i", "deep/out": "i", "by-hand": "i"})
    make(folder / ".git/info", {"exclude": "by-hand\n"})
    return folder


def listed_by_git(tree: Path) -> set[str]:
    """What git itself says, of what is there; it goes into no repository within."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    said = subprocess.run(command, cwd=tree, capture_output=True, check=True).stdout
    paths = {os.fsdecode(path) for path in said.split(b"\0") if path}
    return {path for path in paths if (tree / path).is_symlink() or (tree / path).is_file()}


def plain(tree: Path) -> list[Path]:
    return [repository(tree / "r")]


def subfolder(tree: Path) -> list[Path]:
    return [repository(tree / "r") / "src", tree / "r/deep"]


def worktree(tree: Path) -> list[Path]:
    main = repository(tree / "r")
    git(main, "worktree", "add", "-q", str(tree / "linked"))
    make(tree / "linked", {"data/9": "i", "b.log": "i", "new": "n", "by-hand": "i"})
    return [tree / "linked", tree / "linked/data"]


def submodule(tree: Path) -> list[Path]:
    main, inner = repository(tree / "r"), repository(tree / "inner")
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    make(main / "sub", {"data/9": "i", "b.log": "i", "new": "n"})
    return [main, main / "sub"]


def sparse(tree: Path) -> list[Path]:
    main = repository(tree / "r")
    git(main, "sparse-checkout", "set", "--cone", "--sparse-index", "src")
    assert b"sdir" in (main / ".git/index").read_bytes()
    return [main]


def split(tree: Path) -> list[Path]:
    main = repository(tree / "r")
    git(main, "update-index", "--split-index")
    make(main, {"later": "tracked"})
    git(main, "add", "later")
    assert list((main / ".git").glob("sharedindex.*"))
    return [main]


def other_formats(tree: Path) -> list[Path]:
    main = repository(tree / "r")
    git(main, "update-index", "--index-version", "4", "--untracked-cache")
    make(tree / "s", {"a": "1", "b.log": "i", ".gitignore": "*.log"})
    git(tree / "s", "init", "-q", "--object-format=sha256")
    git(tree / "s", "add", "-A")
    return [main, tree / "s"]


def new(tree: Path) -> list[Path]:
    make(tree / "r", {"a": "1", "b.log": "i", ".gitignore": "*.log"})
    git(tree / "r", "init", "-q")
    return [tree / "r"]


KINDS = (plain, subfolder, worktree, submodule, sparse, split, other_formats, new)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_the_copy_is_what_git_lists(kind: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    for number, tree in enumerate(kind(tmp_path)):
        wanted = listed_by_git(tree)
        before = picture(tmp_path / "r")
        workspace = await Workspace.open(tree, tmp_path / f"state{number}", intake=BY_GIT)
        fork = await workspace.fork("one")
        there = nodes(fork.tree)
        if (tree / "sub").exists():
            wanted |= {f"sub/{path}" for path in listed_by_git(tree / "sub")}
        assert there.keys() - {"sub/.git"} == wanted
        assert there.items() <= nodes(tree).items()
        assert len(nodes(tree)) > len(there), "something was ignored"
        assert (await fork.diff()).empty
        await workspace.aclose()
        assert not list((tmp_path / f"state{number}").glob("listing"))
        assert picture(tmp_path / "r") == before


async def test_repositories_within_are_listed_by_their_own_rules(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", ".gitignore": "*.log\n/away\n"})
    git(tree, "init", "-q")
    for name in ("inner", "inner/deeper", "away", "new"):
        make(tree / name, {"b": "1", "c.log": "their own rules", "d.tmp": "i", ".gitignore": "*.tmp\n"})
        git(tree / name, "init", "-q")
    git(tree / "inner", "add", "b", ".gitignore")
    git(tree / "inner", "add", "-f", "d.tmp")
    git(tree / "inner", "commit", "-qm", "kept")
    make(tree / "odd", {"b": "1", ".git": "gitdir: /nowhere"})
    notes: list[str] = []
    workspace = await Workspace.open(tree, tmp_path / "state", intake=BY_GIT, on_note=notes.append)
    fork = await workspace.fork("one")
    inner = {f"inner/{name}" for name in ("b", "c.log", "d.tmp", ".gitignore")}
    deeper = {f"{place}/{name}" for place in ("inner/deeper", "new") for name in ("b", "c.log", ".gitignore")}
    assert nodes(fork.tree).keys() == {"a", ".gitignore", "odd/b"} | inner | deeper
    assert git(fork.tree / "inner", "log", "--format=%s") == "kept\n"
    await workspace.aclose()
    with pytest.raises(SandboxError, match=r"more than 2 repositories; use `--copy all`"):
        list_tree(tree, tmp_path, most=2)
    assert not list((tmp_path / "listing").iterdir())


async def test_dependencies_are_shown_and_the_rest_is_told(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a.py": "1", ".gitignore": "node_modules\n.venv\ndata\n*.csv\nout\n.env\n"})
    make(tree, {".venv/pyvenv.cfg": "home", "web/i.js": "1", "web/node_modules/p/i.js": "1", ".env": "KEY=1"})
    make(tree, {f"data/{n // 4}/{n}": "i" for n in range(12)} | {f"web/{n}.csv": "i" for n in range(5)})
    make(tree, {"out/1": "i", "tail/2.csv": "i"})
    git(tree, "init", "-q")
    notes: list[str] = []
    workspace = await Workspace.open(tree, tmp_path / "state", intake=BY_GIT, on_note=notes.append)
    fork = await workspace.fork("one")
    assert nodes(fork.tree).keys() == {"a.py", ".gitignore", "web/i.js"}
    shown = {mount.target for mount in fork.mounts if "/.git" not in mount.target}
    assert shown == {f"{tree}/.venv", f"{tree}/web/node_modules"}
    (note,) = notes
    assert note == (
        "not in the sandbox, as git ignores it: data (12 files), web (5 files), . (1 file) and 2 more"
    )
    await workspace.aclose()


async def test_what_is_left_out_is_never_touched(tmp_path: Path) -> None:
    tree = make(
        tmp_path / "t", {"a.py": "1\n", ".gitignore": "data\n*.log\n", "data/x": "mine", "b.log": "mine"}
    )
    git(tree, "init", "-q")
    before, state = picture(tree), tmp_path / "state"
    workspace = await Workspace.open(tree, state, intake=BY_GIT)
    fork = await workspace.fork("one")
    make(
        fork.tree, {"a.py": "2\n", "data/x": "theirs", "data/y": "theirs", "b.log": "theirs", "c.log": "new"}
    )
    patch = await fork.diff()
    assert patch.paths == ("a.py",)
    make(fork.tree, {".gitignore": ""})
    wide = await fork.diff()
    assert wide.paths == (".gitignore", "a.py", "b.log", "c.log", "data/x", "data/y")
    with pytest.raises(AcceptConflict) as caught:
        await workspace.accept(wide)
    assert caught.value.paths == ("b.log", "data/x")
    (fork.tree / "b.log").unlink()
    for path in ("x", "y"):
        (fork.tree / "data" / path).unlink()
    (fork.tree / "data").rmdir()
    make(fork.tree, {"data": "a file where the user has a folder"})
    with pytest.raises((AcceptConflict, NotRegular)):
        await workspace.accept(await fork.diff())
    assert picture(tree) == before
    await workspace.accept(patch)
    assert {path: node for path, node in picture(tree).items() if path not in (".", "a.py")} == {
        path: node for path, node in before.items() if path not in (".", "a.py")
    }
    await workspace.aclose()
    assert await Workspace.undo_accept(state) == ("a.py",)
    assert nodes(tree) == nodes(
        make(tmp_path / "again", {path: node[3] for path, node in before.items() if path in nodes(tree)})
    )


async def test_a_patch_over_a_left_out_file_is_refused(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", ".gitignore": "*.bin\n", "x.bin": "mine"})
    git(tree, "init", "-q")
    workspace = await Workspace.open(tree, tmp_path / "state", intake=BY_GIT)
    patch = Patch((FileChange("x.bin", None, b"theirs", None, 0o100644, b""),))
    with pytest.raises(AcceptConflict, match=r"x\.bin"):
        await workspace.accept(patch)
    assert (tree / "x.bin").read_text() == "mine"
    await workspace.aclose()


async def test_snapshots_hold_what_is_made_where_something_is_left_out(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", ".gitignore": "data\n", "data/x": "mine"})
    git(tree, "init", "-q")
    workspace = await Workspace.open(tree, tmp_path / "state", intake=BY_GIT)
    fork = await workspace.fork("one")
    first = await fork.snapshot("first")
    make(fork.tree, {"data/made": "1"})
    second = await fork.snapshot("second")
    await fork.restore(first)
    assert not (fork.tree / "data").exists()
    await fork.restore(second)
    assert (fork.tree / "data/made").read_text() == "1"
    await fork.reset()
    assert nodes(fork.tree).keys() == {"a", ".gitignore"}
    await workspace.aclose()


async def test_a_refresh_lists_anew(tmp_path: Path) -> None:
    tree = worktree(tmp_path)[0]
    await asyncio.sleep(RACY_NS / 1e9 * 1.5)
    workspace = await Workspace.open(tree, tmp_path / "state", intake=BY_GIT)
    assert await workspace.is_current()
    make(tree, {"data/10": "ignored as well"})
    assert await workspace.is_current()
    make(tree, {".gitignore": "*.log\n", "src/new": "n"})
    (tree / "new").unlink()
    assert not await workspace.is_current()
    await workspace.refresh()
    fork = await workspace.fork("one")
    assert nodes(fork.tree).keys() == listed_by_git(tree) >= {"data/9", "data/10", "src/new"}
    assert (fork.tree / ".git").read_text() == "gitdir: /.pawl/git/worktrees/linked\n"
    await workspace.aclose()


# --- where it cannot be done -------------------------------------------------------------------------------


async def test_a_folder_that_is_in_no_repository_is_refused(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    with pytest.raises(SandboxError, match=r"needs a git repository.*use `--copy all`, or make it one with"):
        await Workspace.open(tree, tmp_path / "state", intake=BY_GIT)
    make(tree, {".git": "gitdir: /etc\n"})
    git(tmp_path, "init", "-q")
    with pytest.raises(SandboxError, match="in none whose git directory can be trusted"):
        await Workspace.open(tree, tmp_path / "state", intake=BY_GIT)


async def test_a_folder_that_is_ignored_itself_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {"t/a": "1", ".gitignore": "t\n"})
    git(tmp_path, "init", "-q")
    with pytest.raises(SandboxError, match=r"git lists nothing in .*use `--copy all`"):
        await Workspace.open(tmp_path / "t", tmp_path / "state", intake=BY_GIT)
    (tmp_path / "e").mkdir()
    empty = await Workspace.open(tmp_path / "e", tmp_path / "state2", intake=BY_GIT)
    await empty.aclose()


async def test_a_broken_index_is_refused(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    git(tree, "init", "-q")
    make(tree / ".git", {"index": b"DIRC\0\0\0\2" + bytes(40)})
    with pytest.raises(SandboxError, match=r"(?s)git ls-files failed .*use `--copy all`"):
        await Workspace.open(tree, tmp_path / "state", intake=BY_GIT)
