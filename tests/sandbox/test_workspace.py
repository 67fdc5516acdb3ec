"""Freezing, forking and what a fork holds; the user's tree stays as it is."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from sandbox.base import PathEscape, SandboxError
from sandbox.freeze import Intake
from sandbox.tree import Copier
from sandbox.workspace import Workspace
from tests.sandbox.abuse.cases import host, host_case
from tests.sandbox.places import open_workspace
from tests.support.trees import Node, git, make, nodes, picture

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]

ODD: dict[str, bytes | str | Node] = {
    "plain.txt": "x\n",
    "-rf": "dash",
    "new\nline": "newline",
    os.fsdecode(b"bad\xff\xfe"): b"\xff\xfe",
    "sp ace/q\"uo'te": "q",
    "run.sh": (0o100755, b"#!/bin/sh\n"),
    "link": (0o120000, b"plain.txt"),
    "dangling": (0o120000, b"/nowhere/\xff"),
    "empty": b"",
    "bin": bytes(range(256)) * 40,
}


async def test_fork_is_an_exact_copy(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", ODD)
    (tree / "hollow" / "deep").mkdir(parents=True)
    (tree / "private").mkdir(mode=0o700)
    make(tree, {"private/key": "k"})
    (tree / "private/key").chmod(0o600)
    (tree / "private").chmod(0o500)
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")

    def shape(root: Path) -> dict[str, tuple[object, ...]]:
        return {
            path: (mode, mtime if path != "." else 0, content)
            for path, (mode, mtime, _, content) in picture(root).items()
        }

    assert shape(fork.tree) == shape(tree)
    assert not {p.lstat().st_ino for p in fork.tree.rglob("*")} & {p.lstat().st_ino for p in tree.rglob("*")}
    assert fork.root == workspace.root == str(tree)
    assert (await fork.diff()).empty
    await workspace.aclose()
    (tree / "private").chmod(0o700)


async def test_the_copy_of_a_read_only_folder_can_be_worked_in(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    tree.chmod(0o555)
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    assert stat.S_IMODE(fork.tree.stat().st_mode) == 0o755
    await workspace.aclose()
    assert stat.S_IMODE(tree.stat().st_mode) == 0o555


def linked(_copier: Copier, name: str, source: int, target: int) -> os.stat_result:
    """A hard link in the place of a copy."""
    os.link(name, name, src_dir_fd=source, dst_dir_fd=target)
    return os.stat(name, dir_fd=target)


@host_case(64, mutation=host(Copier, "_copy_regular", linked))
async def test_case_64_users_tree_is_untouched_by_a_session(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", ODD)
    git(tree, "init", "-q")
    make(tree, {".gitignore": "*.log\n", "a.log": "ignored", "sub/deep/x.py": "x = 1\n"})
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "one")
    make(tree, {"plain.txt": "dirty\n", "untracked": "u"})
    before = picture(tree)
    for overlay in (True, False):
        workspace = await Workspace.open(tree, tmp_path / f"state-{overlay}", overlay=overlay)
        fork = await workspace.fork("one")
        first = await fork.snapshot("first")
        make(fork.tree, {"plain.txt": "changed", "new.py": "1"})
        (fork.tree / "sub/deep/x.py").unlink()
        patch = await fork.diff()
        second = await fork.snapshot("second")
        await fork.restore(first)
        await fork.restore(second)
        assert patch.paths == ("new.py", "plain.txt", "sub/deep/x.py")
        again = await workspace.fork("two", patch)
        assert nodes(again.tree) == nodes(fork.tree)
        await (await again.fork("three")).aclose()
        await again.reset()
        await workspace.aclose()
        assert picture(tree) == before


async def test_dirty_and_ignored_files_are_in_the_base(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "committed", ".gitignore": "build/\n"})
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "one")
    make(tree, {"a": "dirty", "build/out": "needed", "untracked": "u"})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    assert nodes(fork.tree) == nodes(tree)
    await workspace.aclose()


async def test_caches_secrets_and_special_files_are_left_out(tmp_path: Path) -> None:
    tree = make(
        tmp_path / "t",
        {
            "pkg/__pycache__/m.pyc": b"c",
            ".pytest_cache/x": "c",
            ".coverage": "c",
            ".coveragerc": "kept",
            ".env": "TOKEN=1",
            ".env.local": "TOKEN=1",
            ".envrc": "TOKEN=1",
            ".env-prod": "TOKEN=1",
            ".env_local": "TOKEN=1",
            ".envs/production": "TOKEN=1",
            ".env.example": "TOKEN=",
            ".env.sample": "TOKEN=",
            ".env-template": "TOKEN=",
            "keys/server.pem": "k",
            "keys/id_rsa.pub": "k",
            ".netrc": "n",
            "kept.py": "1",
        },
    )
    os.mkfifo(tree / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tree / "sock"))
    notes: list[str] = []
    workspace = await open_workspace(tree, tmp_path / "state", on_note=notes.append)
    server.close()
    fork = await workspace.fork("one")
    samples = {".env.example", ".env.sample", ".env-template"}
    assert set(nodes(fork.tree)) == {".coveragerc", "kept.py", *samples}
    told = "\n".join(notes)
    for name in (
        ".env",
        ".env.local",
        ".envrc",
        ".env-prod",
        ".env_local",
        ".envs",
        "keys/server.pem",
        "keys/id_rsa.pub",
        ".netrc",
        "pipe",
        "sock",
    ):
        assert name in told
    make(fork.tree, {".env": "made by a test run", "pipe": "now a file", "kept.py": "2"})
    assert (await fork.diff()).paths == ("kept.py",)
    await workspace.aclose()


async def test_own_deny_list(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {".env": "shown", "secret.txt": "hidden"})
    workspace = await open_workspace(tree, tmp_path / "state", intake=Intake(deny=("secret*",)))
    fork = await workspace.fork("one")
    assert set(nodes(fork.tree)) == {".env"}
    await workspace.aclose()


async def test_dependency_folders_are_mounted_not_copied(tmp_path: Path) -> None:
    tree = make(
        tmp_path / "t",
        {
            ".venv/pyvenv.cfg": "home = /usr",
            ".venv/lib/site.py": "1",
            "web/node_modules/left-pad/index.js": "1",
            "venv/module.py": "a package that is only called so",
            "a.py": "1",
        },
    )
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    assert set(nodes(fork.tree)) == {"venv/module.py", "a.py"}
    places = {(mount.source, mount.target) for mount in fork.mounts}
    assert places == {(str(tree / p), f"{fork.root}/{p}") for p in (".venv", "web/node_modules")}
    assert list((fork.tree / ".venv").iterdir()) == list((fork.tree / "web/node_modules").iterdir()) == []
    make(fork.tree, {"env/pyvenv.cfg": "home", "env/lib/x.py": "1", "node_modules/y/i.js": "1"})
    make(fork.tree, {"venv/pyvenv.cfg": "cannot hide changes", "venv/module.py": "2"})
    assert (await fork.diff()).paths == ("venv/module.py", "venv/pyvenv.cfg")
    await workspace.aclose()


async def test_case_66_nested_repositories_are_captured(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"outer": "1", "bare/file": "1", "full/file": "1"})
    git(tree, "init", "-q")
    git(tree / "bare", "init", "-q")
    git(tree / "full", "init", "-q")
    git(tree / "full", "add", "-A")
    git(tree / "full", "commit", "-qm", "inner")
    git(tree / "full", "remote", "add", "origin", "https://user:token@example.org/x")
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    assert git(fork.tree / "full", "log", "--format=%s") == "inner\n"
    assert "token" not in (fork.tree / "full/.git/config").read_text()
    assert not (fork.tree / "full/.git/hooks").exists()
    make(fork.tree, {"bare/file": "2", "full/file": "2", "full/new": "2", "made/a": "1"})
    git(fork.tree / "made", "init", "-q")
    git(fork.tree / "full", "add", "-A")
    patch = await fork.diff()
    assert patch.paths == ("bare/file", "full/file", "full/new", "made/a")
    assert nodes((await workspace.fork("two", patch)).tree) == nodes(fork.tree)
    await workspace.aclose()


@pytest.mark.bubblewrap
async def test_git_is_readable_inside_without_its_secrets(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "sub/b": "1"})
    for folder in (tree / "sub", tree):
        git(folder, "init", "-q")
        git(folder, "add", "b" if folder != tree else "a")
        git(folder, "commit", "-qm", "first")
    git(tree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./sub", "sub")
    git(tree, "submodule", "absorbgitdirs")
    for folder in (tree, tree / "sub"):
        git(folder, "config", "remote.origin.url", "https://user:t0ken@example.org/x")
    make(tree / ".git/hooks", {"post-checkout": (0o100755, b"#!/bin/sh\necho s3cret")})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    make(fork.tree, {"a": "2"})
    command = [
        "bwrap",
        "--ro-bind",
        "/",
        "/",
        "--dev-bind",
        "/dev",
        "/dev",
        "--bind",
        str(fork.tree),
        fork.root,
    ]
    for mount in fork.mounts:
        command += ["--ro-bind", mount.source, mount.target]
    script = (
        "git log --format=%s; git -C sub log --format=%s; git status --short; grep -rhE 't0ken|s3cret' .git; "
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "--chdir", fork.root, "sh", "-c", script + "touch .git/x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(done.stdout.splitlines()) == sorted(["first", "first", " M a", "A  .gitmodules", "A  sub"])
    assert "Read-only file system" in done.stderr
    await workspace.aclose()


async def test_forks_are_independent_and_copyable(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "b": "1"})
    workspace = await open_workspace(tree, tmp_path / "state")
    forks = await asyncio.gather(*(workspace.fork(f"try {n}/../x") for n in range(6)))
    for number, fork in enumerate(forks):
        make(fork.tree, {"a": f"by {number}", f"__pycache__/{number}": "litter"})
    patches = await asyncio.gather(*(fork.diff() for fork in forks))
    assert [patch.changes[0].new for patch in patches] == [b"by %d" % n for n in range(6)]
    copy = await forks[3].fork("copy")
    assert nodes(copy.tree) == nodes(forks[3].tree)
    assert await copy.diff() == patches[3]
    make(copy.tree, {"b": "2"})
    assert (await forks[3].diff()).paths == ("a",)
    await forks[3].aclose()
    await forks[3].aclose()
    assert not forks[3].tree.exists()
    assert (await copy.diff()).paths == ("a", "b")
    await workspace.aclose()
    assert not copy.tree.exists()


async def test_what_became_a_fifo_is_not_back_in_a_fork_of_the_fork(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "d/x": "1", "kept": "1"})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    shutil.rmtree(fork.tree / "d")
    (fork.tree / "a").unlink()
    for name in ("a", "d", "new"):
        os.mkfifo(fork.tree / name)
    copy = await fork.fork("copy")
    assert [path.name for path in copy.tree.iterdir()] == ["kept"]
    assert (await copy.diff()).paths == ("a", "d/x")
    await workspace.aclose()


async def test_no_symlink_is_in_the_way_of_a_mount_point(tmp_path: Path) -> None:
    """bubblewrap would follow one to where the host's own tree is while it mounts."""
    tree = make(tmp_path / "t", {"a": "1", "sub/node_modules/p/index.js": "1"})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    shutil.move(fork.tree / "sub", fork.tree / "moved")
    await (await fork.fork("without it")).aclose()
    (fork.tree / "sub").symlink_to("/oldroot/tmp")
    with pytest.raises(PathEscape):
        await fork.fork("with a link")
    await workspace.aclose()


async def test_reset_makes_it_the_base_again(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {**ODD, "d/x": "1", ".gitignore": "*.log", "a.log": "1", "tool/run": "1"})
    (tree / "hollow").mkdir()
    (tree / ".venv").mkdir()
    make(tree, {".venv/pyvenv.cfg": ""})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    fresh = {path: (mode, content) for path, (mode, _, _, content) in picture(fork.tree).items()}
    inode = fork.tree.stat().st_ino
    for change in (
        "rm -rf d hollow link",
        "echo 2 > a.log",
        "mkdir -p link/x d",
        "touch d/x/ y link/x/y 2>/dev/null",
    ):
        await asyncio.to_thread(subprocess.run, change, shell=True, cwd=fork.tree, check=False)
    make(fork.tree, {"__pycache__/x": "litter", "plain.txt": "2", "new/deep/er": "1"})
    (fork.tree / "run.sh").chmod(0o644)
    (fork.tree / "tool/run").unlink()
    (fork.tree / "tool").rmdir()
    (fork.tree / "tool").symlink_to(tmp_path)
    os.mkfifo(fork.tree / "pipe")
    assert not (await fork.diff()).empty
    await fork.reset()
    assert {path: (mode, content) for path, (mode, _, _, content) in picture(fork.tree).items()} == fresh
    assert fork.tree.stat().st_ino == inode
    assert (await fork.diff()).empty
    make(fork.tree, {"plain.txt": "3"})
    assert (await fork.diff()).paths == ("plain.txt",)
    await workspace.aclose()


async def test_a_sparse_giant_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    with (tree / "giant").open("wb") as giant:
        giant.truncate(20 * 1024**3)
    with pytest.raises(SandboxError, match="4 GB"):
        await open_workspace(tree, tmp_path / "state")


async def test_bad_places(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="not a folder"):
        await open_workspace(tmp_path / "missing", tmp_path / "s1")
    tree = make(tmp_path / "t", {"a": "1"})
    workspace = await open_workspace(tree, tmp_path / "s2")
    fork = await workspace.fork("one")
    with pytest.raises(SandboxError, match="another pawl"):
        await open_workspace(tree, tmp_path / "s2")
    assert nodes(fork.tree) == nodes(tree)
    await workspace.aclose()
    await workspace.aclose()
    empty = await open_workspace(make(tmp_path / "e", {}), tmp_path / "s3")
    assert (await (await empty.fork("x")).diff()).empty
    await empty.aclose()


async def test_state_inside_the_tree_is_not_copied_into_itself(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    workspace = await open_workspace(tree, tree / "deep" / "state")
    fork = await workspace.fork("one")
    assert set(nodes(fork.tree)) == {"a"}
    await workspace.aclose()


async def test_leftovers_of_a_crash_are_replaced(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    make(
        tmp_path / "state",
        {"base/old": "1", "forks/1-x/tree/old": "1", "shadow/HEAD": "x", "view/config-1": "x"},
    )
    workspace = await open_workspace(tree, tmp_path / "state")
    assert set(nodes((await workspace.fork("x")).tree)) == {"a"}
    await workspace.aclose()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_forks_belong_to_the_owner_and_the_base_does_not(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a/b": "1", "link": (0o120000, b"a")})
    workspace = await open_workspace(tree, tmp_path / "state", owner=(1234, 1235))
    fork = await workspace.fork("one")
    make(fork.tree, {"a/b": "2", "n/new": "1"})
    second = await workspace.fork("two", await fork.diff())
    for root in (fork.tree, second.tree):
        found = {
            (p.lstat().st_uid, p.lstat().st_gid)
            for p in root.rglob("*")
            if root != fork.tree or p.name != "new"
        }
        assert found <= {(1234, 1235), (0, 0)} if root == fork.tree else found == {(1234, 1235)}
    assert second.tree.stat().st_uid == 1234
    state = (tmp_path / "state").stat()
    assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (0, 0o700)
    await workspace.aclose()


async def test_cancelled_open_leaves_nothing(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {f"d{n}/f": "x" for n in range(300)})
    task = asyncio.create_task(open_workspace(tree, tmp_path / "state"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [path for path in (tmp_path / "state").glob("*") if path.name != "lock"]
