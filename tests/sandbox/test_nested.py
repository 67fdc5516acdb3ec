"""Repositories within the tree: what may hold a secret is not in the copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.gitview import safe_config
from tests.sandbox.places import open_workspace
from tests.support.trees import git, make, nodes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]


async def test_no_secret_of_a_nested_repository_is_copied(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"outer": "1", "in/file": "1"})
    git(tree / "in", "init", "-q")
    git(tree / "in", "add", "-A")
    git(tree / "in", "commit", "-qm", "inner")
    git(tree / "in", "branch", "config")
    told = "[remote]\n\turl = https://user:t0ken@example.org\n[core]\n\tbare = true\n"
    for folder in ("modules/a/b", "worktrees/w", "modules/a/b/modules/c"):
        make(tree / "in/.git" / folder, {"HEAD": "x", "config": told, "config.worktree": told})
    make(tree / "in/.git/modules/a/b/refs/heads", {"config": "ref\n"})
    make(tree / "huge/.git", {"config": told})
    os.truncate(tree / "huge/.git/config", 64 * 1024**2)
    spoken = "0 1 a <a> 0 +0000\tpull https://u:t0ken@h/r\n"
    make(
        tree / "in/.git", {"logs/HEAD": spoken, "FETCH_HEAD": spoken, "modules/a/b/logs/refs/heads/m": spoken}
    )
    fixture = "[remote]\n\turl = https://example.org/r\n"
    for name, config in (("mirror", told), ("a/fixture.git", fixture)):
        git(make(tree / name, {"seen": "1"}), "init", "-q", "--bare")
        make(tree / name, {"config": config, "logs/HEAD": spoken})
    make(tree / "plain", {"config": "token = https://a@b\n", "logs/x": "https://a/b\n"})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    assert (fork.tree / "mirror/config").read_text() == "[core]\n\tbare = true\n"
    assert (fork.tree / "a/fixture.git/config").read_text() == fixture
    assert (fork.tree / "in/.git/logs/HEAD").read_text().endswith("\tpull (address)\n")
    assert nodes(fork.tree / "plain") == nodes(tree / "plain"), "no repository"
    assert (await fork.diff()).paths == ()
    assert not [path for path, (_, data) in nodes(fork.tree, skip=()).items() if b"t0ken" in data]
    assert (fork.tree / "in/.git/modules/a/b/config").read_text() == "[core]\n\tbare = true\n"
    assert (fork.tree / "in/.git/modules/a/b/refs/heads/config").read_text() == "ref\n"
    assert git(fork.tree / "in", "rev-parse", "config") == git(tree / "in", "rev-parse", "config")
    await workspace.aclose()


def test_safe_config_keeps_the_format_only() -> None:
    text = """[core]
\trepositoryformatversion = 1 ; note
\tfilemode = true
\tbare
\thooksPath = /evil
\tfsmonitor = /evil
\tsshCommand = evil
[Extensions] objectFormat = sha256
[remote "origin"]
\turl = https://user:token@example.org/x
[include]
\tpath = /etc/passwd
[core "sub"]
\tfilemode = evil
[filter "x"]
\tclean = evil
"""
    assert safe_config(text) == (
        "[core]\n\trepositoryformatversion = 1\n\tfilemode = true\n\tbare = true\n"
        "[extensions]\n\tobjectformat = sha256\n"
    )
