"""Snapshots of a fork: everything is in them, and a restore is exact."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import snapshot as snapshot_module
from sandbox.base import SandboxError
from sandbox.history import History
from sandbox.snapshot import Snapshot, Snapshots
from sandbox.tree import Verdict
from tests.sandbox.abuse.cases import Mutation, host, host_case
from tests.sandbox.places import open_fork
from tests.support.trees import git, make, shape

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]


def leaving_out(*names: str) -> Mutation:
    """Snapshots without what has one of these names."""

    def pick(_snapshots: Snapshots, _path: str, name: str, _is_folder: bool, _parent: int) -> Verdict:
        return Verdict.SKIP if name in names else Verdict.TAKE

    return host(Snapshots, "_pick", pick)


async def check_kept(place: Path, tree: Path, *commands: str) -> None:
    """Run commands in a fork of `tree`: a restore makes it what it was before them, another what after."""
    workspace, fork = await open_fork(tree, place / "state")
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


@host_case(66, mutation=leaving_out(".git"))
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


@host_case(67, mutation=leaving_out("build", "a.log", "new.log"))
async def test_case_67_ignored_files_restored(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {".gitignore": "build/\n*.log\n", "build/out": "needed", "a.log": "1"})
    git(tree, "init", "-q")
    await check_kept(tmp_path, tree, "rm -rf build", "echo 2 > a.log", "mkdir x && echo 1 > x/new.log")


@host_case(68, mutation=host(snapshot_module, "_set_mode", lambda _folder, _mode: None))
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
    workspace, fork = await open_fork(tree, tmp_path / "state")
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
    workspace, fork = await open_fork(make(tmp_path / "t", {"a": "1111"}), tmp_path / "state")
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
    workspace, fork = await open_fork(tree, tmp_path / "state")
    monkeypatch.setattr(snapshot_module, "LARGE", 1000)
    first = await fork.snapshot("first")
    assert not first.left_out
    make(fork.tree, {"big": b"c" * 3000, "grows": b"g" * 5000, "new-big": b"n" * 1500})
    make(fork.tree, {"web/node_modules/x/index.js": "1", "web/index.js": "1", "env/pyvenv.cfg": ""})
    make(fork.tree, {"venv/pyvenv.cfg": "", "venv/lib": "1"})
    os.mkfifo(fork.tree / "pipe")
    second = await fork.snapshot("second")
    assert set(second.left_out) == {"big", "grows", "new-big", "web/node_modules", "env", "pipe"}
    await fork.restore(first)
    kept = {path: content for path, (_, _, content) in shape(fork.tree).items() if content}
    assert kept == {
        "big": b"b" * 2000,
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
    workspace, fork = await open_fork(
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


async def test_large_files_of_the_users_come_back_and_links_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such files are not read, however large they are; nor is a state that was restored taken for another."""
    monkeypatch.setattr(snapshot_module, "LARGE", 1000)
    monkeypatch.setattr(snapshot_module, "MAX_FILE", 1500)
    tree = make(tmp_path / "t", {"b22": b"b" * 2000, "c22": (0o100755, b"c" * 1200), "d22": b"d" * 2000})
    for command, lost in (
        ("rm b22 c22; rm d22; mkdir d22", ()),
        ("echo x >> b22; echo x >> c22; : > d22", ("b22",)),
        ("mv b22 c22", ("c22",)),
    ):
        workspace, fork = await open_fork(tree, tmp_path / "state")
        before, history = shape(fork.tree), History(fork)
        await history.record("before")
        process = await asyncio.create_subprocess_shell(f"{command}; echo 1 > l; ln l m", cwd=fork.tree)
        assert await process.wait() == 0
        after = shape(fork.tree)
        assert {"b22", "c22", "l", "m"} <= set(await history.record("after"))
        for number in range(2):
            assert {"l", "m"} <= set(await history.undo()) and not history.lost
            assert shape(fork.tree) == before and (await fork.diff()).empty
            assert {"l", "m"} <= set(await history.redo())
            assert (fork.tree / "l").samefile(fork.tree / "m")
            # told once: then the state is what could be made of it
            assert history.lost == (lost if number == 0 else ())
            assert lost or shape(fork.tree) == after
        await workspace.aclose()


async def test_a_large_file_comes_back_after_an_accept_unless_that_changed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "LARGE", 1000)
    tree = make(tmp_path / "t", {"large": b"b" * 2000, "a": "1"})
    workspace, fork = await open_fork(tree, tmp_path / "state")
    before, first = shape(fork.tree), await fork.snapshot("first")
    make(fork.tree, {"a": "2"})
    await workspace.accept(await fork.diff())
    make(fork.tree, {"large": "small"})
    second = await fork.snapshot("second")
    await fork.restore(first)
    assert shape(fork.tree) == before
    await fork.restore(second)
    await workspace.accept(await fork.diff())
    after = shape(fork.tree)
    with pytest.raises(SandboxError, match="'large' cannot be put back: it has been accepted"):
        await fork.restore(first)
    assert shape(fork.tree) == after
    await workspace.aclose()


async def test_a_step_that_cannot_be_undone_is_seen_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_module, "MAX_FILE", 1000)
    workspace, fork = await open_fork(make(tmp_path / "t", {"f": "1", "g": "1"}), tmp_path / "state")
    history = History(fork)
    await history.record("before")
    make(fork.tree, {"g": "2"})
    (fork.tree / "f").unlink()
    os.mkfifo(fork.tree / "f")
    assert await history.record("pipe") == ("f", "g")
    make(fork.tree, {"large": b"x" * 2000})
    assert await history.record("large") == ("large",)
    assert await history.undo() == () and history.lost == ("large",)
    assert await history.undo() == ("f", "g") and history.lost == ("large",)  # it is still there
    assert (fork.tree / "f").read_text() == (fork.tree / "g").read_text() == "1"
    assert await history.redo() == ("g",) and history.lost == ("f",)
    assert not (fork.tree / "f").exists()  # a FIFO had replaced it
    await workspace.aclose()


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
        workspace, fork = await open_fork(tree, place / "state")
        async with aclosing(workspace):  # hypothesis may end an example at any draw
            taken = [(await fork.snapshot("base"), shape(fork.tree))]
            for operations in steps:
                for operation in operations:
                    perform(fork.tree, operation)
                taken.append((await fork.snapshot(""), shape(fork.tree)))
            for _ in range(3):
                snapshot, recorded = data.draw(st.sampled_from(taken))
                await fork.restore(snapshot)
                assert shape(fork.tree) == recorded

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name)))
