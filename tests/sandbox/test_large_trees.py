"""Trees with very many files: said to be slow, refused, or copied by git listing; with small limits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sandbox.base import SandboxError
from sandbox.freeze import Intake
from sandbox.workspace import Workspace
from tests.support.pawl import PAWL
from tests.support.trees import git, make, nodes

pytestmark = pytest.mark.anyio


def large(folder: Path, *, ignored: bool = True) -> Path:
    """2,000 files of data, in two folders, and 20 others."""
    make(folder, {f"src/{n}.py": "1" for n in range(20)})
    make(folder, {f"{place}/{n % 3}/{n}": "" for n in range(1000) for place in ("data", "more")})
    if ignored:
        make(folder, {".gitignore": "data\nmore\n"})
        git(folder, "init", "-q")
    return folder


async def test_a_tree_that_is_too_large_is_refused_before_all_of_it_was_seen(tmp_path: Path) -> None:
    tree = large(tmp_path / "t")
    with pytest.raises(SandboxError) as caught:
        await Workspace.open(tree, tmp_path / "state", intake=Intake(most=500))
    assert str(caught.value) == (
        "the folder has more than 500 files; most are in more (480), src (20), . (1):"
        " leave out what git ignores with `--copy git` (to keep it so: pawl config set copy git),"
        " move data sets and build output out of it, or start in a smaller folder"
    )
    assert not (tmp_path / "state/base").exists()


async def test_the_offer_is_made_only_where_it_can_be_taken(tmp_path: Path) -> None:
    tree = large(tmp_path / "t", ignored=False)
    with pytest.raises(SandboxError, match="start in a smaller folder") as caught:
        await Workspace.open(tree, tmp_path / "state", intake=Intake(most=500))
    assert "--copy" not in str(caught.value)


async def test_the_copy_by_git_listing_of_a_large_tree_sees_only_what_is_listed(tmp_path: Path) -> None:
    tree = large(tmp_path / "t")
    notes: list[str] = []
    small = Intake(by="git", many=10, most=100)
    workspace = await Workspace.open(tree, tmp_path / "state", intake=small, on_note=notes.append)
    fork = await workspace.fork("one")
    assert len(nodes(fork.tree)) == 21
    assert notes == [
        "not in the sandbox, as git ignores it: data (1,000 files), more (1,000 files)",
        "the folder has 21 files, which makes freezing and comparing it slow; most are in src (20), . (1): "
        "move data sets and build output out of it, or start in a smaller folder",
    ]
    await workspace.aclose()
    with pytest.raises(SandboxError, match=r"more than 15 files; most are in src"):
        await Workspace.open(tree, tmp_path / "state", intake=Intake(by="git", most=15))


async def test_a_tree_with_very_many_files_is_said_to_be_slow(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {f"{'data' if n > 3 else 'src'}/{n}": "" for n in range(25)})
    for offered in (False, True):
        notes: list[str] = []
        if offered:
            git(tree, "init", "-q")
        workspace = await Workspace.open(
            tree, tmp_path / "state", intake=Intake(many=20), on_note=notes.append
        )
        await workspace.aclose()
        (note,) = notes
        assert note.startswith("the folder has 25 files, which makes freezing and comparing it slow;")
        assert "data (21), src (4)" in note
        assert "smaller folder" in note
        assert ("with `--copy git`" in note) == offered


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("flag", "setting", "code", "seen"),
    [("git", "", 0, "a.py"), ("", "git", 0, "a.py"), ("all", "git", 0, "a.py\ndata"), ("gti", "", 2, "")],
)
def test_it_is_chosen_by_a_flag_or_a_setting(
    flag: str, setting: str, code: int, seen: str, tmp_path: Path
) -> None:
    tree = make(tmp_path / "t", {"a.py": "1", "data/x": "1", ".gitignore": "data\n"})
    git(tree, "init", "-q")
    words = [PAWL, "sandbox", "shell", "--sandbox", "bubblewrap", *(["--copy", flag] if flag else [])]
    env = {**os.environ, "PAWL_COPY": setting}
    done = subprocess.run([*words, "--", "ls", "-1"], cwd=tree, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout.replace("\r", "").strip() == seen
    assert ("as git ignores it: data (1 file)" in done.stderr) == (seen == "a.py")
    assert ("expected one of all, git" in done.stderr) == (code == 2)


@pytest.mark.bubblewrap
def test_the_setting_does_not_keep_the_demo_from_its_folder(tmp_path: Path) -> None:
    """Nothing listens at that port: the demo gets as far as its model."""
    words = [PAWL, "demo", "--sandbox", "bubblewrap", "--base-url", "http://127.0.0.1:9/v1", "-m", "none"]
    words += ["--timeout", "3"]
    env = {**os.environ, "PAWL_COPY": "git"}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "needs a git repository" not in done.stderr
    ends = ("The time limit", "127.0.0.1:9", "did not end within")
    assert any(end in done.stderr for end in ends), done.stderr
