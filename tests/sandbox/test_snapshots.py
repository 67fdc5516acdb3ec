"""Snapshots of a fork: everything is in them, and a restore is exact, in hostile trees too."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import shutil
import signal
import stat
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import snapshot as snapshot_module
from sandbox import store as store_module
from sandbox.base import SandboxError
from sandbox.snapshot import Snapshot
from sandbox.workspace import Fork, Workspace
from tests.support.trees import git, make, picture

pytestmark = pytest.mark.anyio

PR_SET_DUMPABLE = 4

Shape = dict[str, tuple[int, int | None, bytes]]


def shape(root: Path) -> Shape:
    """Every file, symlink and folder: mode, content, and the time of what is no folder."""
    return {
        path: (mode, None if stat.S_ISDIR(mode) else mtime, content)
        for path, (mode, mtime, _, content) in picture(root).items()
    }


async def opened(tree: Path, state: Path) -> tuple[Workspace, Fork]:
    workspace = await Workspace.open(tree, state)
    return workspace, await workspace.fork("one")


async def check_kept(place: Path, tree: Path, *commands: str) -> None:
    """Run commands in a fork of `tree`: a restore makes it what it was before them, another what after."""
    workspace, fork = await opened(tree, place / "state")
    before, first = shape(fork.tree), await fork.snapshot("before")
    for command in commands:
        process = await asyncio.create_subprocess_shell(command, cwd=fork.tree)
        assert await process.wait() == 0, command
    after, second = shape(fork.tree), await fork.snapshot("after")
    assert after != before
    await fork.restore(first)
    assert shape(fork.tree) == before
    assert not first.left_out
    await fork.restore(second)
    assert shape(fork.tree) == after
    await workspace.aclose()


async def test_case_66_nested_repository_kept(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"outer": "1", "full/file": "1", "full/sub/x": "1"})
    git(tree, "init", "-q")
    git(tree / "full", "init", "-q")
    git(tree / "full", "add", "-A")
    git(tree / "full", "commit", "-qm", "inner")
    commands = (
        "mkdir made && cd made && git init -q && echo 1 > uncommitted",
        "cd full && echo 2 > file && git add -A && git stash -q && echo 3 > file",
        "rm -rf full/.git/refs && git -C made branch -m other",
    )
    await check_kept(tmp_path, tree, *commands)


async def test_case_67_ignored_files_restored(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {".gitignore": "build/\n*.log\n", "build/out": "needed", "a.log": "1"})
    git(tree, "init", "-q")
    await check_kept(tmp_path, tree, "rm -rf build", "echo 2 > a.log", "mkdir x && echo 1 > x/new.log")


async def test_case_68_empty_folder_mode_and_symlink(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "run": (0o100755, b"r"), "link": (0o120000, b"a"), "d/x": "1"})
    (tree / "hollow/deep").mkdir(parents=True)
    (tree / "a").chmod(0o600)
    (tree / "d").chmod(0o710)
    commands = (
        "rmdir hollow/deep && mkdir -m 711 other other/empty",
        "chmod 644 a && chmod 4755 run && chmod 777 d",
        "rm link && ln -s ../nowhere link && ln -s a second",
        "rm -rf d && ln -s other d",
        "rmdir hollow && echo file > hollow",
    )
    await check_kept(
        tmp_path, tree, *commands[:1], "chmod 644 a && chmod 600 run && chmod 777 d", *commands[2:]
    )


async def test_case_69_crlf_encodings_and_odd_names(tmp_path: Path) -> None:
    odd = ("-rf", "new\nline", os.fsdecode(b"bad\xff\xfe"), " ", 'q"\\', "x" * 255, "y" * 255 + "/z")
    contents = (
        b"one\r\ntwo\r\n",
        "gr\u00fc\u00dfe\n".encode("latin-1"),
        b"\xef\xbb\xbfbom",
        b"",
        bytes(range(256)),
    )
    files = {name: contents[n % len(contents)] for n, name in enumerate(odd)}
    make(tmp_path / "new", {"\u00e9\r": b"\r\n\0", "\x1b[31m": "\u20ac".encode("utf-16")})
    commands = (
        "for f in * ' '; do [ -f \"./$f\" ] && printf 'x\\r\\n' >> \"./$f\"; done; true",
        f"cp -r {tmp_path / 'new'}/. .",
        "rm -- -rf && mv ' ' '  '",
    )
    await check_kept(tmp_path, make(tmp_path / "t", files), *commands)


async def test_case_70_undo_of_500_deletions(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {f"d{n % 20}/f{n}": f"content {n}" for n in range(500)})
    await check_kept(tmp_path, tree, "rm -r *")


async def test_case_70_a_later_snapshot_reads_only_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make(tmp_path / "t", {f"f{n}": f"{n}" for n in range(50)})
    workspace, fork = await opened(tree, tmp_path / "state")
    first = await fork.snapshot("first")
    read: list[str] = []
    real = snapshot_module.open_regular
    monkeypatch.setattr(
        snapshot_module, "open_regular", lambda fd, name, **more: read.append(name) or real(fd, name, **more)
    )
    make(fork.tree, {"f7": "seven", "new": "n"})
    second = await fork.snapshot("second")
    assert sorted(read) == ["f7", "new"]
    assert (second.files, second.bytes, second.label) == (51, first.bytes + 5 + 1 - 1, "second")
    await workspace.aclose()


async def test_same_size_and_time_is_seen(tmp_path: Path) -> None:
    workspace, fork = await opened(make(tmp_path / "t", {"a": "1111"}), tmp_path / "state")
    file = os.open(fork.tree / "a", os.O_RDWR)
    times = os.fstat(file)
    for _ in range(20):
        taken: list[Snapshot] = []
        for content in (b"2222", b"1111"):
            os.pwrite(file, content, 0)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            taken.append(await fork.snapshot(""))
        assert await fork.touched(*taken) == ("a",)
    os.close(file)
    await workspace.aclose()


async def test_what_is_left_out_is_listed_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "MAX_FILE", 1000)
    tree = make(tmp_path / "t", {"big": b"b" * 2000, "grows": "1", ".venv/pyvenv.cfg": "", "venv/own": "1"})
    workspace, fork = await opened(tree, tmp_path / "state")
    first = await fork.snapshot("first")
    assert set(first.left_out) == {"big"}
    make(fork.tree, {"big": b"c" * 3000, "grows": b"g" * 5000, "new-big": b"n" * 1500})
    make(fork.tree, {"web/node_modules/x/index.js": "1", "web/index.js": "1", "env/pyvenv.cfg": ""})
    make(fork.tree, {"venv/pyvenv.cfg": "", "venv/lib": "1"})
    os.mkfifo(fork.tree / "pipe")
    second = await fork.snapshot("second")
    assert set(second.left_out) == {"big", "grows", "new-big", "web/node_modules", "env", "pipe"}
    await fork.restore(first)
    kept = {path: content for path, (_, _, content) in shape(fork.tree).items() if content}
    assert kept == {
        "big": b"c" * 3000,
        "grows": b"1",
        "new-big": b"n" * 1500,
        "web/node_modules/x/index.js": b"1",
        "venv/own": b"1",
    }
    assert not (fork.tree / "pipe").exists() and (fork.tree / ".venv").is_dir()
    await fork.restore(second)
    assert (fork.tree / "web/index.js").read_text() == "1"
    await workspace.aclose()


async def test_the_difference_of_two_snapshots(tmp_path: Path) -> None:
    workspace, fork = await opened(
        make(tmp_path / "t", {"a": "1\n", "b": "1\n", "d/x": "1\n"}), tmp_path / "state"
    )
    first = await fork.snapshot("first")
    make(fork.tree, {"a": "2\n", "new/y": "1\n", "nested/.git/HEAD": "ref"})
    (fork.tree / "b").chmod(0o600)
    shutil.rmtree(fork.tree / "d")
    second = await fork.snapshot("second")
    assert await fork.touched(first, second) == (
        *("a", "b", "d/", "d/x", "nested/", "nested/.git/", "nested/.git/HEAD", "new/", "new/y"),
    )
    patch = await fork.changes(first, second)
    assert [(change.path, change.kind) for change in patch.changes] == [
        *(("a", "modify"), ("d/x", "delete"), ("new/y", "add")),
    ]
    assert b"-1\n+2\n" in patch.text
    assert (await fork.changes(second, second)).empty
    await workspace.aclose()


async def test_a_hostile_tree_leads_nowhere(tmp_path: Path) -> None:
    """Symlinks planted in the place of folders and files, folders without permissions, devices' names."""
    outside = make(tmp_path / "outside", {"x": "keep", "in/y": "keep"})
    before_outside = picture(outside)
    workspace, fork = await opened(
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


@contextmanager
def _ends_here() -> Iterator[None]:
    """For a forked child: it ends with the block, and does not come back into the test's own machinery."""
    try:
        yield
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


async def _locked_folders(place: Path) -> None:
    workspace, fork = await opened(make(place / "t", {"a/b/x": "1", "c": "1"}), place / "state")
    (fork.tree / "c").chmod(0o200)
    for path in ("a/b", "a"):
        (fork.tree / path).chmod(0)
    first = await fork.snapshot("first")
    assert (fork.tree / "a").stat().st_mode & 0o777 == 0
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
    assert (fork.tree / "a/b/x").read_text() == "1"
    await workspace.aclose()


def test_case_71_killed_in_a_snapshot_or_a_restore(tmp_path: Path) -> None:
    """A child is killed at random moments; each file is old or new, and the next restore mends the rest."""
    rnd = random.Random(71)
    tree = make(tmp_path / "t", {f"d{n % 7}/f{n}": f"old {n}" for n in range(150)})

    async def run() -> int:
        workspace, fork = await opened(tree, tmp_path / "state")
        old, first = shape(fork.tree), await fork.snapshot("first")
        make(fork.tree, {f"d{n % 7}/f{n}": f"new {n}" for n in range(0, 150, 2)})
        make(fork.tree, {f"e{n}/g": "new" for n in range(50)})
        new, second = shape(fork.tree), await fork.snapshot("second")
        cut = 0
        for number in range(20):
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
    status = os.waitpid(child, 0)[1]
    signal.setitimer(signal.ITIMER_REAL, 0)
    return os.WIFSIGNALED(status)


async def test_a_full_store_is_said_and_old_snapshots_are_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, fork = await opened(make(tmp_path / "t", {"a": "1"}), tmp_path / "state")
    first = await fork.snapshot("first")
    make(fork.tree, {"a": "x" * 100})
    monkeypatch.setattr(store_module, "MAX_STORE", 50)
    with pytest.raises(SandboxError, match="more than"):
        await fork.snapshot("second")
    await fork.restore(first)
    assert (fork.tree / "a").read_text() == "1"
    await workspace.aclose()


async def test_case_73_sixteen_forks_diverge(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {f"f{n}": f"{n}" for n in range(20)})
    workspace = await Workspace.open(tree, tmp_path / "state")
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
    workspace, fork = await opened(make(tmp_path / "t", {"a": "1", "d/x": "1"}), tmp_path / "state")
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
    workspace, fork = await opened(tree, tmp_path / "state")
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
    workspace, fork = await opened(tree, state)
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


NAMES = ("a", "b", "c d", "-x", "n\nl", os.fsdecode(b"\xff"))
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), PATHS, st.binary(max_size=20)),
    st.tuples(st.just("edit"), PATHS, st.binary(min_size=1, max_size=5)),
    st.tuples(st.just("delete"), PATHS),
    st.tuples(st.just("chmod"), PATHS, st.sampled_from((0o600, 0o644, 0o755, 0o400, 0o000, 0o711))),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(("a", "../b", "/etc/passwd", "b"))),
    st.tuples(st.just("mkdir"), PATHS),
    st.tuples(st.just("rename"), PATHS, PATHS),
)


def perform(root: Path, operation: tuple[object, ...]) -> None:
    """One operation as a person's shell would do it; what cannot be done is left."""
    kind, path = operation[0], root / str(operation[1])
    try:
        if any(parent.is_symlink() for parent in [*path.parents][:3] if parent != root):
            return
        match kind:
            case "write":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(operation[2])  # type: ignore[arg-type]
            case "edit" if path.is_file() and not path.is_symlink():
                with path.open("r+b") as file:
                    file.write(operation[2])  # type: ignore[arg-type]
            case "delete":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            case "chmod" if not path.is_symlink():
                path.chmod(operation[2])  # type: ignore[arg-type]
            case "symlink":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(str(operation[2]))
            case "mkdir":
                path.mkdir(parents=True)
            case "rename":
                path.rename(root / str(operation[2]))
    except OSError:
        pass


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(st.lists(OPERATIONS, max_size=4), min_size=1, max_size=6), data=st.data())
def test_any_earlier_snapshot_comes_back_exactly(
    steps: list[list[tuple[object, ...]]], data: st.DataObject
) -> None:
    async def run(place: Path) -> None:
        tree = make(place / "t", {"a/b": "1", "b": (0o100755, b"2"), "c d": (0o120000, b"b")})
        workspace, fork = await opened(tree, place / "state")
        taken = [(await fork.snapshot("base"), shape(fork.tree))]
        for operations in steps:
            for operation in operations:
                perform(fork.tree, operation)
            taken.append((await fork.snapshot(""), shape(fork.tree)))
        for _ in range(3):
            snapshot, recorded = data.draw(st.sampled_from(taken))
            await fork.restore(snapshot)
            assert shape(fork.tree) == recorded
        await workspace.aclose()

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name)))
