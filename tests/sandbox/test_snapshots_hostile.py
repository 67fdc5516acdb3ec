"""Snapshots of trees that resist, and of a process that is killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import shutil
import signal
import stat
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import beneath
from sandbox import store as store_module
from sandbox.base import SandboxError
from sandbox.snapshot import Snapshot
from sandbox.workspace import Fork
from tests.sandbox.abuse.cases import host, host_case
from tests.sandbox.places import open_fork
from tests.support.swapping import swapped
from tests.support.trees import make, picture, shape

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]

PR_SET_DUMPABLE = 4


async def test_a_hostile_tree_leads_nowhere(tmp_path: Path) -> None:
    """Symlinks planted in the place of folders and files, folders without permissions, devices' names."""
    outside = make(tmp_path / "outside", {"x": "keep", "in/y": "keep"})
    before_outside = picture(outside)
    workspace, fork = await open_fork(
        make(tmp_path / "t", {"d/x": "1", "e/in/y": "1", "f": "1", "g": "1"}), tmp_path / "state"
    )
    before, first = shape(fork.tree), await fork.snapshot("first")
    for name in ("d", "e"):
        shutil.rmtree(fork.tree / name)
        (fork.tree / name).symlink_to(outside)
    for name in ("f", "g"):
        (fork.tree / name).unlink()
    (fork.tree / "f").symlink_to(outside / "x")
    os.mkfifo(fork.tree / "g")
    make(fork.tree, {"locked/z": "1", ".pawl-new": "planted"})
    (fork.tree / "locked").chmod(0)
    planted, second = shape(fork.tree), await fork.snapshot("second")
    await fork.restore(first)
    assert shape(fork.tree) == before
    await fork.restore(second)
    assert (fork.tree / "locked").stat().st_mode & 0o777 == 0
    assert {p: s for p, s in shape(fork.tree).items() if p != "g"} == {
        p: s for p, s in planted.items() if p != "g"
    }
    assert picture(outside) == before_outside
    await workspace.aclose()


@host_case(40, mutation=host(beneath, "_FOLDER", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
async def test_case_40_a_folder_swapped_for_a_symlink_while_it_is_restored(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {f"f{n}": "s3cret" for n in range(20)})
    before = picture(outside)
    tree = make(tmp_path / "t", {f"d/f{n}": "mine" for n in range(20)})
    workspace, fork = await open_fork(tree, tmp_path / "state")
    old, first = shape(fork.tree), await fork.snapshot("first")
    restored = 0
    with swapped(fork.tree, outside) as enough:
        while restored < 40 or not enough():
            restored += 1
            with contextlib.suppress(SandboxError):
                make(fork.tree, {"top": f"{restored}"})
                await fork.snapshot("meanwhile")
                await fork.restore(first)
    assert picture(outside) == before
    assert b"s3cret" not in (tmp_path / "state/snapshots/contents").read_bytes()
    await fork.restore(first)
    assert shape(fork.tree) == old
    await workspace.aclose()


def test_locked_folders_keep_their_modes(tmp_path: Path) -> None:
    """Who is not root has to unlock them first; root tries it as another user too."""
    asyncio.run(_locked_folders(tmp_path))
    if os.geteuid() != 0:
        return
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o777)
        if not (child := os.fork()):
            with _ends_here():
                os.setgroups([])
                os.setgid(12345)
                os.setuid(12345)
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # or /proc of its own is closed to it
                asyncio.run(_locked_folders(Path(name)))
        assert os.waitpid(child, 0)[1] == 0


@contextlib.contextmanager
def _ends_here() -> Iterator[None]:
    """For a forked child: it ends with the block, and does not come back into the test's own machinery."""
    try:
        yield
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


async def _locked_folders(place: Path) -> None:
    workspace, fork = await open_fork(make(place / "t", {"a/b/x": "1", "c": "1"}), place / "state")
    (fork.tree / "c").chmod(0o200)
    make(fork.tree, {"a/b/x": "1 and more"})
    for path in ("a/b", "a"):
        (fork.tree / path).chmod(0)
    first = await fork.snapshot("first")
    assert (await fork.diff()).paths == ("a/b/x",)
    copy = await fork.fork("copy")
    for tree in (fork.tree, copy.tree):
        assert (tree / "a").stat().st_mode & 0o777 == 0
    (copy.tree / "a").chmod(0o700)
    assert (copy.tree / "a/b").stat().st_mode & 0o777 == 0
    (fork.tree / "a").chmod(0o700)
    assert (fork.tree / "a/b").stat().st_mode & 0o777 == 0
    (fork.tree / "a/b").chmod(0o700)
    make(fork.tree, {"a/b/x": "2", "a/b/y": "2"})
    (fork.tree / "c").unlink()
    await fork.restore(first)
    assert (fork.tree / "c").stat().st_mode & 0o777 == 0o200
    for path in ("a", "a/b"):
        assert (fork.tree / path).stat().st_mode & 0o777 == 0
        (fork.tree / path).chmod(0o700)
    assert [p.name for p in (fork.tree / "a/b").iterdir()] == ["x"]
    assert (fork.tree / "a/b/x").read_text() == "1 and more"
    await workspace.aclose()


def test_case_71_killed_in_a_snapshot_or_a_restore(tmp_path: Path) -> None:
    """A child is killed at random moments; each file is old or new, and the next restore mends the rest."""
    rnd = random.Random(71)
    tree = make(tmp_path / "t", {f"d{n % 7}/f{n}": f"old {n}" for n in range(120)})

    async def run() -> int:
        workspace, fork = await open_fork(tree, tmp_path / "state")
        old, first = shape(fork.tree), await fork.snapshot("first")
        make(fork.tree, {f"d{n % 7}/f{n}": f"new {n}" for n in range(0, 120, 2)})
        make(fork.tree, {f"e{n}/g": "new" for n in range(50)})
        new, second = shape(fork.tree), await fork.snapshot("second")
        cut = 0
        for number in range(14):
            wanted, other = ((first, old), (second, new))[:: 1 if number % 2 else -1]
            await fork.restore(other[0])
            cut += _killed_after(rnd.uniform(0, 0.03), fork, wanted[0])
            for path, node in shape(fork.tree).items():
                if stat.S_ISREG(node[0]) and not Path(path).name.startswith(".pawl-"):
                    assert node in (old.get(path), new.get(path)), (number, path)
            await fork.restore(wanted[0])
            assert shape(fork.tree) == wanted[1], number
        await workspace.aclose()
        return cut

    assert asyncio.run(run()) > 5


def _killed_after(seconds: float, fork: Fork, snapshot: Snapshot) -> bool:
    """Restore and take a snapshot in a child that is killed; True when it did not get to its end."""
    child = os.fork()
    if not child:
        with _ends_here():
            fork._candidate.snapshots.restore(snapshot)
            fork._candidate.snapshots.take("by the child")
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.0001))
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # until the timer is off, the pid stays the child's
    signal.setitimer(signal.ITIMER_REAL, 0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


async def test_a_full_store_is_said_and_old_snapshots_are_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, fork = await open_fork(make(tmp_path / "t", {"a": "1"}), tmp_path / "state")
    first = await fork.snapshot("first")
    make(fork.tree, {"a": "x" * 100})
    monkeypatch.setattr(store_module, "MAX_STORE", 50)
    with pytest.raises(SandboxError, match="more than"):
        await fork.snapshot("second")
    await fork.restore(first)
    assert (fork.tree / "a").read_text() == "1"
    await workspace.aclose()
