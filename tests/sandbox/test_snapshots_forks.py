"""Snapshots of many forks, and in repositories of every kind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox.snapshot import Snapshot
from sandbox.workspace import Fork, Workspace
from tests.sandbox.places import open_fork, open_workspace
from tests.support.trees import Shape, git, make, picture, shape

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]


async def test_case_73_sixteen_forks_diverge(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {f"f{n}": f"{n}" for n in range(20)})
    workspace = await open_workspace(tree, tmp_path / "state")
    forks = await asyncio.gather(*(workspace.fork(f"{n}") for n in range(16)))
    base = shape(forks[0].tree)
    taken: dict[int, list[tuple[Snapshot, Shape]]] = {n: [] for n in range(16)}

    async def work(number: int, fork: Fork) -> None:
        for step in range(3):
            taken[number].append((await fork.snapshot(f"{step}"), shape(fork.tree)))
            make(fork.tree, {f"f{number}": f"by {number} in {step}", f"new{step}/{number}": "n"})
            (fork.tree / f"f{(number + step + 1) % 20}").unlink(missing_ok=True)

    await asyncio.gather(*(work(n, fork) for n, fork in enumerate(forks)))
    last = [shape(fork.tree) for fork in forks]
    assert len({str(one) for one in last}) == 16
    for number, fork in enumerate(forks):
        for snapshot, recorded in reversed(taken[number]):
            await fork.restore(snapshot)
            assert shape(fork.tree) == recorded
        assert recorded == base
    await forks[3].restore(taken[5][2][0])
    assert shape(forks[3].tree) == taken[5][2][1], "a snapshot is good for other forks too"
    await workspace.aclose()


async def test_case_74_fork_of_a_paused_parent_is_identical(tmp_path: Path) -> None:
    workspace, fork = await open_fork(make(tmp_path / "t", {"a": "1", "d/x": "1"}), tmp_path / "state")
    make(fork.tree, {"a": "2", "n/y": (0o100755, b"y"), "__pycache__/z": "litter", "link": (0o120000, b"a")})
    (fork.tree / "hollow").mkdir(mode=0o711)
    (fork.tree / "d/x").unlink()
    before = shape(fork.tree)
    copies = [await fork.fork(f"{n}") for n in range(3)]
    assert [shape(copy.tree) for copy in copies] == [before] * 3
    make(copies[0].tree, {"a": "3"})
    assert shape(fork.tree) == shape(copies[1].tree) == before
    await copies[1].restore(await fork.snapshot("the parent's"))
    assert shape(copies[1].tree) == before
    await workspace.aclose()


async def test_case_75_gc_meanwhile(tmp_path: Path) -> None:
    """The person's git drops all that it can while a fork is at work."""
    tree = make(tmp_path / "t", {"a": "1\n", "b": "1\n"})
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "one")
    make(tree, {"a": "staged once\n"})
    git(tree, "add", "-A")
    make(tree, {"a": "dirty\n"})
    workspace, fork = await open_fork(tree, tmp_path / "state")
    before, first = shape(fork.tree), await fork.snapshot("first")
    make(fork.tree, {"a": "two\n", "new": "n"})
    after, second = shape(fork.tree), await fork.snapshot("second")
    git(tree, "reset", "-q")
    git(tree, "reflog", "expire", "--expire=now", "--all")
    git(tree, "gc", "-q", "--prune=now")
    await fork.restore(first)
    assert shape(fork.tree) == before
    await fork.restore(second)
    assert shape(fork.tree) == after
    patch = await fork.diff()
    assert [(c.path, c.old, c.new) for c in patch.changes] == [
        ("a", b"dirty\n", b"two\n"),
        ("new", None, b"n"),
    ]
    await workspace.accept(patch)
    assert (tree / "a").read_text() == "two\n"
    git(tree, "fsck", "--strict")
    await workspace.aclose()


async def test_case_76_submodules_worktrees_lfs_and_sparse_checkout(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    inner = make(tmp_path / "inner", {"lib.py": "1\n"})
    main = make(
        tmp_path / "main",
        {
            "a": "1\n",
            "big.bin": pointer,
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "far/b": "1\n",
        },
    )
    for folder in (inner, main):
        git(folder, "init", "-q")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "one")
    git(main, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    git(main, "commit", "-qm", "two")
    git(main, "worktree", "add", "-q", str(tmp_path / "linked"))
    sparse = tmp_path / "sparse"
    git(tmp_path, "clone", "-q", "--no-checkout", str(main), str(sparse))
    git(sparse, "sparse-checkout", "set", "--no-cone", "/a", "/big.bin")
    git(sparse, "checkout", "-q")
    assert not (sparse / "far").exists()
    for number, tree in enumerate((main, main / "sub", tmp_path / "linked", sparse)):
        await _check_kind(tree, tmp_path / f"state{number}", pointer.encode())


async def _check_kind(tree: Path, state: Path, pointer: bytes) -> None:
    status, before = git(tree, "status", "--short"), picture(tree)
    workspace, fork = await open_fork(tree, state)
    start, first = shape(fork.tree), await fork.snapshot("first")
    name = "a" if (tree / "a").exists() else "lib.py"
    make(fork.tree, {name: "2\n", "sub/new": "n", "far/made": "m"})
    if (fork.tree / "big.bin").exists():
        assert (fork.tree / "big.bin").read_bytes() == pointer
        make(fork.tree, {"big.bin": b"another pointer\n"})
    patch = await fork.diff()
    await fork.restore(first)
    assert shape(fork.tree) == start and (await fork.diff()).empty
    assert picture(tree) == before
    await workspace.accept(patch)
    assert (tree / name).read_text() == "2\n" and (tree / "far/made").read_text() == "m"
    assert ".git" not in {path.partition("/")[0] for path in patch.paths}
    await workspace.aclose()
    assert await Workspace.undo_accept(state) == patch.paths
    assert git(tree, "status", "--short") == status
