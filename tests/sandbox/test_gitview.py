"""What is shown of a git directory that is no folder of the tree: in a linked worktree, in a submodule."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.base import SandboxError, SandboxSpec
from sandbox.gitdir import GitDir, git_dir
from sandbox.gitview import exclude_rules, git_mounts, pointer
from sandbox.open import open_sandbox, owner, sees_mounts
from sandbox.setup import shown
from sandbox.workspace import Workspace
from tests.sandbox.abuse.cases import host, host_case
from tests.sandbox.places import ISOLATING, backends
from tests.support.trees import git, make, nodes, picture, shape

pytestmark = pytest.mark.anyio


def repository(folder: Path, text: str = "1\n") -> Path:
    make(folder, {"a": text})
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", f"first of {folder.name}")
    return folder


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A repository with a linked worktree beside it, `linked`, and a submodule, `sub`."""
    repository(tmp_path / "inner")
    main = repository(tmp_path / "main")
    git(
        main,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(tmp_path / "inner"),
        "sub",
    )
    git(main, "commit", "-qm", "second")
    git(main, "worktree", "add", "-q", str(tmp_path / "linked"))
    return main


def test_whose_git_directory_it_is(main: Path) -> None:
    common, linked = main / ".git", main.parent / "linked"
    assert git_dir(main) == GitDir(common, common)
    assert git_dir(linked) == GitDir(common / "worktrees/linked", common)
    assert git_dir(main / "sub") == GitDir(common / "modules/sub", common / "modules/sub")
    assert git_dir(main.parent) is None
    assert pointer(main) is None
    assert pointer(linked) == "gitdir: /.pawl/git/worktrees/linked\n"
    assert pointer(main / "sub") == "gitdir: /.pawl/git\n"


# --- a `.git` file that names what is not its own ----------------------------------------------------------


def hostile(folder: Path, leads: str) -> Path:
    return make(folder, {"a": "1", ".git": f"gitdir: {leads}\n"})


def lies(place: Path, secret: Path) -> dict[str, Path]:
    """Trees whose `.git` file leads to a repository of the user's, or to something that leads there."""
    store, link = secret / ".git", secret.parent / "secret-linked"
    git(secret, "worktree", "add", "-q", str(link))
    trees = {
        "the repository": hostile(place / "t1", str(store)),
        "its worktree": hostile(place / "t2", f"{store}/worktrees/secret-linked"),
        "its objects": hostile(place / "t3", f"{store}/objects"),
        "a system folder": hostile(place / "t4", "/etc"),
        "nothing": hostile(place / "t5", "/nowhere"),
        "two lines": hostile(place / "t6", f"{store}\nx"),
        "no path": hostile(place / "t7", ""),
    }
    inside = {"HEAD": "ref: refs/heads/main\n", "gitdir": "../../../.git\n", "objects/x": ""}
    # a folder of its own in front, whose `commondir` leads on
    trees["a false commondir"] = hostile(place / "t8", "x/worktrees/y")
    make(place / "t8/x/worktrees/y", inside | {"commondir": f"{store}\n"})
    make(place / "t8/x", {"config": "", "objects/o": ""})
    trees["a commondir beside it"] = hostile(place / "t9", "../fake/worktrees/y")
    back = {"gitdir": "../../../t9/.git\n", "commondir": f"{store}\n"}
    make(place / "fake/worktrees/y", inside | back)
    make(place / "fake", {"config": "", "objects/o": ""})
    # symlinks in place of the folders that git looks for
    trees["a symlink to it"] = hostile(place / "t10", "../link")
    (place / "link").symlink_to(store)
    trees["symlinked objects"] = hostile(place / "t11", "../half")
    make(place / "half", {"HEAD": "x", "config": f"[core]\n\tworktree = {place}/t11\n"})
    (place / "half/objects").symlink_to(store / "objects")
    trees["a symlinked config"] = hostile(place / "t12", "../quarter")
    make(place / "quarter", {"HEAD": "x", "objects/x": ""})
    (place / "quarter/config").symlink_to(store / "config")
    trees["its own folder"] = hostile(place / "t13", "real")
    make(place / "t13/real", {"HEAD": "x", "objects/x": "", "config": "[core]\n\tworktree = ..\n"})
    trees["a symlinked .git file"] = make(place / "t14", {"a": "1"})
    (place / "t14/.git").symlink_to(link / ".git")
    trees["a FIFO"] = make(place / "t15", {"a": "1"})
    os.mkfifo(place / "t15/.git")
    return trees


def believed(tree: Path, file: Path) -> GitDir:
    """What `.git` says, taken at its word."""
    own = Path(tree, file.read_text().removeprefix("gitdir: ").strip()).resolve()
    common = own / "commondir"
    return GitDir(own, (own / common.read_text().strip()).resolve() if common.exists() else own)


@host_case(76, mutation=host(__import__("sandbox.gitdir").gitdir, "_pointed_to", believed))
async def test_case_76_a_git_file_shows_no_other_repository(tmp_path: Path) -> None:
    secret = repository(tmp_path / "secret", "s3cret\n")
    for name, tree in lies(tmp_path, secret).items():
        assert git_dir(tree) is None, name
        assert pointer(tree) is None, name
        assert git_mounts(tree, str(tree), tmp_path / "view") == (), name
    workspace = await Workspace.open(tmp_path / "t2", tmp_path / "state")
    assert workspace.mounts == ()
    assert not (await workspace.fork("one")).tree.joinpath(".git").exists()
    await workspace.aclose()


def test_a_worktree_of_somebody_else_is_not_believed(main: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    linked = main.parent / "linked"
    os.chown(linked, 1234, 1234)
    assert git_dir(linked) is None


# --- what is left out --------------------------------------------------------------------------------------


def test_no_symlink_leads_out_and_what_could_hold_a_token_is_not_there(main: Path, tmp_path: Path) -> None:
    other = repository(tmp_path / "other") / ".git"
    make(other, {"config": "[remote]\n\turl = s3cret\n[core]\n\tworktree = s3cret\n"})
    store = main / ".git"
    make(store, {"credentials": "s3cret", "FETCH_HEAD": "s3cret", "odd/config": "s3cret", "index.lock": "x"})
    make(store / "modules", {"stray": "s3cret", "no/config": "s3cret", "out/HEAD": "x"})
    typed = "0 1 a <a@b> 0 +0000\tpull https://u:s3cret@host/r.git main: Fast-forward\n"
    with (store / "logs/HEAD").open("a") as log:
        log.write(typed)
    make(store, {"modules/sub/logs/refs/heads/x": "0 1 a <a> 0 +0000\tclone: from ssh://s3cret@h\n"})
    make(store, {"MERGE_MSG": "Merge branch 'x' of http://u:s3cret@h/r\n"})
    (store / "modules/out/config").symlink_to(other / "config")
    (store / "refs/out").symlink_to(other)
    linked = store / "worktrees"
    linked.rename(tmp_path / "apart")
    linked.symlink_to(tmp_path / "apart")
    mounts = git_mounts(main, "/m", tmp_path / "view")
    assert {(mount.source, mount.target) for mount in mounts} == {
        (str(tmp_path / "view"), "/m/.git"),
        *((f"{store}/{path}", f"/m/.git/{path}") for path in ("objects",)),
        *((f"{store}/modules/sub/{path}", f"/m/.git/modules/sub/{path}") for path in ("objects",)),
    }
    shown = nodes(tmp_path / "view")
    assert not [path for path, (_, data) in shown.items() if b"s3cret" in data]
    assert b"\tpull (address) main: Fast-forward\n" in shown["logs/HEAD"][1]
    assert b"\tclone: from (address)\n" in shown["modules/sub/logs/refs/heads/x"][1]
    assert shown["refs/out"][1] == os.fsencode(other)
    assert shown.keys() >= {"HEAD", "config", "index", "refs/heads/main", "info/exclude", "modules/sub/HEAD"}
    assert "modules/out/config" not in shown


def test_sizes_that_no_repository_has_are_refused(main: Path, tmp_path: Path) -> None:
    os.truncate(main / ".git/info/exclude", 10 * 1024**3)
    with pytest.raises(SandboxError, match="more than"):
        exclude_rules(git_dir(main))
    with pytest.raises(SandboxError, match="cannot be shown"):
        git_mounts(main, "/m", tmp_path / "view")


def test_of_many_repositories_some_are_shown(main: Path, tmp_path: Path) -> None:
    make(
        main / ".git/modules",
        {f"{number}/{name}": "x" for number in range(300) for name in ("HEAD", "objects/o")},
    )
    assert 200 <= len(git_mounts(main, "/m", tmp_path / "view")) < 220


# --- inside ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_what_git_writes_meanwhile_shows_no_token(backend: str, main: Path, tmp_path: Path) -> None:
    """Git replaces files by a rename, and a file that was mounted over the old one would go with it."""
    workspace = await Workspace.open(
        main, tmp_path / "state", overlay=sees_mounts(backend), owner=owner(backend)
    )  # type: ignore[arg-type]
    fork = await workspace.fork("one")
    spec = SandboxSpec(tree=fork.tree, root=fork.root, session="test", mounts=fork.mounts)
    sandbox = await open_sandbox(spec, backend, state=tmp_path / "boxes", project=main)  # type: ignore[arg-type]
    try:
        for folder in (main, main / "sub"):
            git(folder, "config", "remote.origin.url", "https://user:t0ken@example.org/x")
        make(
            main / ".git",
            {"config.worktree": "t0ken", "modules/new/HEAD": "x", "modules/new/config": "t0ken"},
        )
        git(main, "commit", "-qm", "third", "--allow-empty")
        git(main, "gc", "-q", "--prune=now")
        done = await sandbox.run(
            "git log --format=%s; git status --short; grep -r t0ken .git; git -C sub log -1"
        )
    finally:
        await sandbox.aclose()
        await workspace.aclose()
    said = done.output.decode().splitlines()
    assert said[:2] == ["second", "first of main"]
    assert said[2].startswith("commit ")


LOOK = """
git log --format=%s; git status --short; git describe --always >/dev/null && echo described
echo 2 > a; git status --short; git diff --stat | tail -1
grep -rhaE 't0ken|s3cret' .git /.pawl/git; cat /.pawl/git/hooks/* 2>/dev/null
(echo x > /.pawl/git/x) 2>/dev/null || echo read-only
"""


@pytest.mark.parametrize("backend", backends(*ISOLATING))
@pytest.mark.parametrize("kind", ["linked", "main/sub"])
async def test_git_works_in_a_worktree_and_a_submodule(
    backend: str, kind: str, main: Path, tmp_path: Path
) -> None:
    tree = tmp_path / kind
    common = git_dir(tree).common  # type: ignore[union-attr]
    git(tree, "config", "remote.origin.url", "https://user:t0ken@example.org/x")
    make(common / "hooks", {"post-checkout": (0o100755, b"#!/bin/sh\necho s3cret")})
    before = picture(tmp_path / "main") | picture(tmp_path / "linked")
    workspace = await Workspace.open(
        tree, tmp_path / "state", overlay=sees_mounts(backend), owner=owner(backend)
    )  # type: ignore[arg-type]
    fork = await workspace.fork("one")
    assert shown(fork) == fork.mounts  # a set-up sees the git directory, too
    first, start = await fork.snapshot("first"), shape(fork.tree)
    spec = SandboxSpec(tree=fork.tree, root=fork.root, session="test", mounts=fork.mounts)
    sandbox = await open_sandbox(spec, backend, state=tmp_path / "boxes", project=tree)  # type: ignore[arg-type]
    try:
        owned = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        done = await sandbox.run(LOOK, env=owned)
        again = await sandbox.run("git log --format=%s; rm .git; echo 'gitdir: /etc' > .git", env=owned)
    finally:
        await sandbox.aclose()
    said = done.output.decode()
    subjects = ["first of inner"] if kind == "main/sub" else ["second", "first of main"]
    wanted = [*subjects, "described", " M a", " 1 file changed, 1 insertion(+), 1 deletion(-)", "read-only"]
    assert said.splitlines() == wanted
    assert again.output.decode().splitlines() == subjects
    assert (await fork.diff()).paths == ("a",)
    await fork.restore(first)
    assert shape(fork.tree) == start
    await workspace.aclose()
    assert picture(tmp_path / "main") | picture(tmp_path / "linked") == before
