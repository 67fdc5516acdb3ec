"""Repositories that want the listing to run something, or to lead out of the folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from sandbox import gitlist
from sandbox.base import SandboxError
from sandbox.freeze import Intake
from sandbox.gitlist import list_tree
from sandbox.shadow import Shadow
from sandbox.workspace import Workspace
from tests.sandbox.abuse.cases import host, host_case
from tests.support.trees import git, make, nodes

pytestmark = pytest.mark.anyio

BY_GIT = Intake(by="git")


def rename_in_index(index: Path, old: bytes, new: bytes) -> None:
    """Write another name of the same length into an index, and make its checksum right."""
    data = index.read_bytes()[:-20].replace(old, new)
    index.write_bytes(data + hashlib.sha1(data).digest())


@host_case(38, mutation=host(gitlist, "check_path", lambda path: None))
async def test_case_38_an_index_that_names_what_lies_outside(tmp_path: Path) -> None:
    make(tmp_path, {"secret/key": "s3cret", "t/xxxx/secret/key": "1", "t/yyyy/x": "1", "t/zzzzzz": "1"})
    tree = tmp_path / "t"
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    rename_in_index(tree / ".git/index", b"xxxx/secret/key", b"./../secret/key")
    rename_in_index(tree / ".git/index", b"yyyy/x", b".git/x")
    rename_in_index(tree / ".git/index", b"zzzzzz", b"/etc/a")
    notes: list[str] = []
    workspace = await Workspace.open(tree, tmp_path / "state", intake=BY_GIT, on_note=notes.append)
    fork = await workspace.fork("one")
    assert nodes(fork.tree).keys() == {"xxxx/secret/key", "yyyy/x", "zzzzzz"}
    assert [note for note in notes if note.startswith("left out")] == [
        "left out: ./../secret/key (not a plain path: './../secret/key')",
        "left out: .git/x (inside a git directory: '.git/x')",
        "left out: /etc/a (not a relative path: '/etc/a')",
    ]
    await workspace.aclose()


async def test_a_submodule_that_is_a_symlink_is_not_followed(tmp_path: Path) -> None:
    secret = make(tmp_path / "secret", {"a": "1"})
    git(secret, "init", "-q")
    tree = make(tmp_path / "t", {"a": "1", "sub/x": "1", ".gitignore": "i\n"})
    git(tree, "init", "-q")
    git(tree / "sub", "init", "-q")
    git(tree / "sub", "add", "-A")
    git(tree / "sub", "commit", "-qm", "x")
    git(tree, "add", "-A")
    subprocess.run(["rm", "-r", str(tree / "sub")], check=True)
    (tree / "sub").symlink_to(secret)
    listed = list_tree(tree, tmp_path)
    assert set(listed.names) == {""}


async def test_git_is_not_waited_for_without_end(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "d/x": "1"})
    git(tree, "init", "-q")
    os.mkfifo(tree / "d/.gitignore")
    with pytest.raises(SandboxError, match=r"git ls-files in .*/t had no end after 0\.2 s; use `--copy all`"):
        list_tree(tree, tmp_path, timeout_s=0.2)
    assert not list((tmp_path / "listing").iterdir())


async def test_indexes_cannot_fill_memory_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make(tmp_path / "t", {"a": "1", "sub/x": "1"})
    for folder in (tree, tree / "sub"):
        git(folder, "init", "-q")
        git(folder, "add", "a" if folder == tree else "x")
    size = (tree / ".git/index").stat().st_size
    monkeypatch.setattr(gitlist, "MAX_INDEX", 2 * size)
    assert list_tree(tree, tmp_path).names["sub"] == {"x", ".git"}
    make(tree, {".git/sharedindex.1": b"x" * size})
    with pytest.raises(SandboxError, match="more than 0 bytes; use `--copy all`"):
        list_tree(tree, tmp_path)


TRAP = "#!/bin/sh\ntouch {0}\ncat\n"
TRAPPED = (
    "core.fsmonitor",
    "core.hooksPath",
    "core.sshCommand",
    "core.pager",
    "filter.x.clean",
    "filter.x.process",
    "diff.x.textconv",
    "diff.external",
    "alias.ls-files",
)


def pointed_at_it(shadow: Shadow, work_tree: Path, folder: Path, timeout_s: float) -> object:
    """The user's own repository asked directly."""
    subprocess.run(["git", "status", "--short"], cwd=folder, check=False, capture_output=True)
    return given(shadow, work_tree, folder, timeout_s)


given = Shadow.listing


@host_case(42, mutation=host(Shadow, "listing", pointed_at_it))
async def test_case_42_a_listing_runs_nothing_of_the_repository(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    trap = make(tmp_path, {"trap": (0o100755, TRAP.format(mark).encode())}) / "trap"
    tree = make(tmp_path / "t", {"a": "1", ".gitignore": "*.log\n", ".gitattributes": "* filter=x diff=x\n"})
    for folder in (tree, make(tree / "inner", {"b": "1", ".gitattributes": "* filter=x\n"})):
        git(folder, "init", "-q")
        git(folder, "add", ".gitattributes")
        for name in TRAPPED:
            git(folder, "config", name, str(trap))
        for hook in ("post-index-change", "pre-commit", "fsmonitor-watchman"):
            make(folder / ".git/hooks", {hook: (0o100755, trap.read_bytes())})
            make(tmp_path / "hooks", {hook: (0o100755, trap.read_bytes())})
    make(tree, {"a": "dirty", "inner/b": "dirty", "c.log": "i"})
    mark.unlink(missing_ok=True)
    workspace = await Workspace.open(tree, tmp_path / "state", intake=BY_GIT)
    assert not mark.exists()
    assert "inner/b" in nodes((await workspace.fork("one")).tree)
    await workspace.aclose()
    assert not mark.exists()
