"""Patches: what is in them, and that they make the same tree again, by us and by `git apply`."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.base import FileConflict, PathEscape, SandboxError
from sandbox.patch import FileChange, Patch, split_patch
from tests.sandbox.places import open_workspace
from tests.support.trees import Node, git, make, nodes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]

BASE: dict[str, bytes | str | Node] = {
    "crlf.txt": b"one\r\ntwo\r\nthree\r\n",
    "bom.txt": b"\xef\xbb\xbfone\ntwo\n",
    "latin.txt": "gr\u00fc\u00dfe\n".encode("latin-1"),
    "no-newline": b"one\ntwo",
    "binary": bytes(range(256)) * 8,
    "run.sh": (0o100755, b"#!/bin/sh\n"),
    "plain": b"text\n",
    "link": (0o120000, b"plain"),
    "moved/from": b"same content\n" * 20,
    "empty": b"",
    "dir/file": b"1\n",
    "file": b"1\n",
    "utf16": "hello\n".encode("utf-16"),
}


async def test_every_kind_of_change_is_exact(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", BASE)
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    for path in ("link", "moved/from", "dir/file", "file", "empty"):
        (fork.tree / path).unlink()
    (fork.tree / "dir").rmdir()
    make(
        fork.tree,
        {
            "crlf.txt": b"one\r\n2\nthree\r\n",
            "bom.txt": b"one\ntwo\n",
            "latin.txt": "gr\u00fc\u00df\u00e9\n".encode("latin-1"),
            "no-newline": b"one\ntwo\n",
            "binary": bytes(range(255, -1, -1)) * 8,
            "run.sh": (0o100644, b"#!/bin/sh\n"),
            "plain": (0o100755, b"text\n"),
            "link": b"a file now\n",
            "moved/to": b"same content\n" * 20,
            "dir": (0o120000, b"plain"),
            "file/below": b"a folder now\n",
            "new-empty": b"",
            "diff --git a/x b/x": b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n",
            "utf16": "hullo\n".encode("utf-16"),
        },
    )
    patch = await fork.diff()
    assert {change.path: change.kind for change in patch.changes}["link"] == "modify"
    assert nodes((await workspace.fork("two", patch)).tree) == nodes(fork.tree)
    assert nodes(_git_apply(tree, tmp_path / "copy", patch)) == nodes(fork.tree)
    assert len(split_patch(patch.text)) == len(patch.changes) + 1
    await workspace.aclose()


def _git_apply(tree: Path, copy: Path, patch: Patch) -> Path:
    shutil.copytree(tree, copy, symlinks=True)
    if not patch.empty:
        command = ["git", "apply", "--whitespace=nowarn"]
        done = subprocess.run(command, input=patch.text, cwd=copy, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    return copy


NAMES = ("a", "b", "a.b", "a-b", "-x", "n\nl", "\u00e9", os.fsdecode(b"\xff"), " s p", 'q"\\t', "a\tb")
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
TEXT = st.lists(st.sampled_from((b"one\n", b"two\n", b"\r\n", b"three", b"@@ -1 +1 @@\n", b"\xe9\n"))).map(
    b"".join
)
CONTENT = st.one_of(TEXT, st.binary(max_size=300))
# No link here leads to itself: git apply cannot put a folder in the place of such a one (ELOOP).
NODES = st.one_of(
    st.tuples(st.sampled_from((0o100644, 0o100755)), CONTENT),
    st.tuples(st.just(0o120000), st.sampled_from((b"../b", b"/etc/passwd", b"no\nwhere", b"gone\xff"))),
)


def _consistent(files: dict[str, Node]) -> dict[str, Node]:
    """Without files that another path needs as a folder."""
    return {path: node for path, node in files.items() if not any(p.startswith(path + "/") for p in files)}


TREES = st.dictionaries(PATHS, NODES, max_size=8).map(_consistent)


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(old=TREES, new=TREES, kept=st.booleans())
def test_any_two_trees(old: dict[str, Node], new: dict[str, Node], kept: bool) -> None:
    if kept:
        new = _consistent({**old, **new})

    async def run(place: Path) -> None:
        tree = make(place / "t", old)
        workspace = await open_workspace(tree, place / "state")
        fork = await workspace.fork("one")
        _empty(fork.tree)
        make(fork.tree, new)
        patch = await fork.diff()
        assert nodes((await workspace.fork("two", patch)).tree) == new
        assert nodes(_git_apply(tree, place / "copy", patch)) == new
        half = set(patch.paths[::2])
        assert patch.only(half).paths + patch.without(half).paths == (*patch.paths[::2], *patch.paths[1::2])
        assert len(patch.text) == len(patch.only(half).text) + len(patch.without(half).text)
        await workspace.aclose()

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(run(Path(name)))


async def test_a_part_of_a_patch_applies_alone(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"src.py": "a = 1\nb = 2\n", "tests/test_src.py": "old\n"})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    make(fork.tree, {"src.py": "a = 1\nb = 3\nc = 4\n", "tests/test_src.py": "cheat\n", "bin": b"\0\1"})
    patch = await fork.diff()
    assert (patch.additions, patch.deletions, patch.empty) == (3, 2, False)
    part = patch.without({"tests/test_src.py"})
    assert part.paths == ("bin", "src.py")
    assert (part.additions, part.deletions) == (2, 1)
    clean = await workspace.fork("clean", part)
    expected = {**nodes(fork.tree), "tests/test_src.py": (0o100644, b"old\n")}
    assert nodes(clean.tree) == nodes(_git_apply(tree, tmp_path / "copy", part)) == expected
    assert patch.only({"src.py"}).text.startswith(b"diff --git a/src.py b/src.py\nindex ")
    assert Patch().empty and Patch().text == b""
    await workspace.aclose()


async def test_litter_and_new_ignored_files_are_not_in_the_patch(tmp_path: Path) -> None:
    tree = make(
        tmp_path / "t",
        {
            ".gitignore": "*.log\n/out/\n!keep.log\n",
            "sub/.gitignore": "local\n",
            "old.log": "1",
            "old.pyc": b"1",
            "out/kept": "1",
            "a.py": "1",
        },
    )
    git(tree, "init", "-q")
    make(tree, {".git/info/exclude": "mine.txt\n"})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    make(
        fork.tree,
        {
            "new.log": "n",
            "deep/er/new.log": "n",
            "out/new": "n",
            "sub/local": "n",
            "mine.txt": "n",
            "__pycache__/a.pyc": "n",
            "x.pyc": "n",
            ".pytest_cache/v/x": "n",
            ".hypothesis/x": "n",
            ".coverage": "n",
            ".coverage.host.1": "n",
        },
    )
    assert (await fork.diff()).empty
    make(
        fork.tree,
        {"old.log": "2", "out/kept": "2", "old.pyc": b"2", "keep.log": "n", "local": "n", "-new.txt": "n"},
    )
    assert (await fork.diff()).paths == ("-new.txt", "keep.log", "local", "old.log", "old.pyc", "out/kept")
    await workspace.aclose()


async def test_a_change_with_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1111"})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    file = os.open(fork.tree / "a", os.O_RDWR)
    times = os.fstat(file)
    for _ in range(20):
        for content in (b"2222", b"1111"):
            os.pwrite(file, content, 0)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            assert [change.new for change in (await fork.diff()).changes] == (
                [content] * (content == b"2222")
            )
    os.close(file)
    await workspace.aclose()


async def test_a_large_new_file_is_left_out_and_named(tmp_path: Path) -> None:
    notes: list[str] = []
    workspace = await open_workspace(
        make(tmp_path / "t", {"a": "1"}), tmp_path / "state", on_note=notes.append
    )
    fork = await workspace.fork("one")
    make(fork.tree, {"a": "2", "core": b""})
    os.truncate(fork.tree / "core", 30 * 1024**2)
    assert (await fork.diff()).paths == ("a",)
    assert notes == ["left out of the patch: core (new, over 20 MB)"]
    await workspace.aclose()


async def test_what_is_too_deep_is_left_out_and_named(tmp_path: Path) -> None:
    notes: list[str] = []
    workspace = await open_workspace(
        make(tmp_path / "t", {"a": "1"}), tmp_path / "state", on_note=notes.append
    )
    fork = await workspace.fork("one")
    make(fork.tree, {"d/" * 300 + "deep": "1", "d/fine": "1"})
    assert (await fork.diff()).paths == ("d/fine",)
    assert len(notes) == 1 and notes[0].startswith("left out of the patch: d/d/d")
    assert notes[0].endswith("(nested deeper than 256 folders)") and len(notes[0]) < 400
    await workspace.aclose()


async def test_a_patch_of_another_base_or_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "out": (0o120000, os.fsencode(tmp_path))})
    workspace = await open_workspace(tree, tmp_path / "state")

    def change(path: str, old: bytes | None = None) -> Patch:
        return Patch((FileChange(path, old, b"x", None if old is None else 0o100644, 0o100644, b""),))

    with pytest.raises(FileConflict):
        await workspace.fork("x", change("a", b"not this"))
    for path in ("../up", "/abs", "out/through", ".git/hooks/pre-commit", "a/../../b", "sub/.GIT/config", ""):
        with pytest.raises(PathEscape):
            await workspace.fork("x", change(path))
    assert sorted(os.listdir(tmp_path)) == ["state", "t"]  # noqa: PTH208
    assert os.listdir(tmp_path / "state" / "forks") == []  # noqa: PTH208
    await workspace.aclose()


async def test_sha256_repository_gets_patches_it_can_apply(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"bin": b"\0\1\2" * 50})
    git(tree, "init", "-q", "--object-format=sha256")
    git(tree, "add", "-A")
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    make(fork.tree, {"bin": b"\0\1\3" * 50})
    make(tmp_path, {"p": (await fork.diff()).text})
    git(tree, "apply", "--index", str(tmp_path / "p"))
    assert nodes(tree)["bin"][1] == b"\0\1\3" * 50
    await workspace.aclose()


async def test_git_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="git is not installed"):
        await open_workspace(make(tmp_path / "t", {"a": "1"}), tmp_path / "state")
