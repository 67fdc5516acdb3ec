"""Trees that want to get out: nothing planted runs on the host, nothing outside is read or written."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from sandbox import shadow
from sandbox.base import SandboxError
from tests.sandbox.places import open_workspace
from tests.support.trees import make, nodes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]


async def test_symlinks_are_kept_as_links_and_not_followed(tmp_path: Path) -> None:
    secret = make(tmp_path / "outside", {"key": "s3cret", ".gitignore": "*\n"})
    tree = make(tmp_path / "t", {"a": "1", "d/x": "1"})
    workspace = await open_workspace(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    (fork.tree / "a").unlink()
    (fork.tree / "d/x").unlink()
    (fork.tree / "d").rmdir()
    make(
        fork.tree,
        {
            "a": (0o120000, os.fsencode(secret / "key")),
            "d": (0o120000, os.fsencode(secret)),
            ".gitignore": (0o120000, os.fsencode(secret / ".gitignore")),
            "loop": (0o120000, b"loop"),
            "new": "1",
        },
    )
    patch = await fork.diff()
    assert b"s3cret" not in patch.text
    assert {c.path: c.new_mode for c in patch.changes} == {
        ".gitignore": 0o120000,
        "a": 0o120000,
        "d": 0o120000,
        "d/x": None,
        "loop": 0o120000,
        "new": 0o100644,
    }
    copy = await fork.fork("two")
    assert nodes(copy.tree) == nodes(fork.tree)
    await fork.reset()
    assert nodes(fork.tree) == nodes(tree)
    assert nodes(secret) == {"key": (0o100644, b"s3cret"), ".gitignore": (0o100644, b"*\n")}
    await workspace.aclose()


async def test_special_files_do_not_hang_and_are_not_in_a_patch(tmp_path: Path) -> None:
    workspace = await open_workspace(make(tmp_path / "t", {"a": "1", "b": "1"}), tmp_path / "state")
    fork = await workspace.fork("one")
    (fork.tree / "a").unlink()
    os.mkfifo(fork.tree / "a")
    os.mkfifo(fork.tree / ".gitignore")
    make(fork.tree, {"new": "1"})
    patch = await asyncio.wait_for(fork.diff(), 20)
    assert {change.path: change.kind for change in patch.changes} == {"a": "delete", "new": "add"}
    await fork.reset()
    assert nodes(fork.tree) == {"a": (0o100644, b"1"), "b": (0o100644, b"1")}
    await workspace.aclose()


async def test_very_deep_and_locked_trees_can_be_compared_and_removed(tmp_path: Path) -> None:
    workspace = await open_workspace(make(tmp_path / "t", {"a": "1", "d/x": "1"}), tmp_path / "state")
    fork = await workspace.fork("one")
    script = (
        "import os\nfor _ in range(400):\n    os.mkdir('deep')\n    os.chdir('deep')\nopen('x', 'w').close()"
    )
    deepen = ["python3", "-c", script]
    await asyncio.to_thread(subprocess.run, deepen, cwd=fork.tree, check=True)
    make(fork.tree, {"d/x": "2", "locked/in/y": "1", "unreadable": "1"})
    (fork.tree / "d/x").chmod(0)
    (fork.tree / "d").chmod(0)
    (fork.tree / "unreadable").chmod(0)
    (fork.tree / "locked").chmod(0)
    patch = await fork.diff()
    assert patch.paths == ("d/x", "locked/in/y", "unreadable")
    with pytest.raises(SandboxError, match="into a fork: nested deeper"):
        await fork.fork("that would lack what is deepest")
    await asyncio.to_thread(subprocess.run, ["rm", "-r", fork.tree / "deep"], check=True)
    copy = await fork.fork("two")
    await asyncio.to_thread(subprocess.run, deepen, cwd=copy.tree, check=True)
    assert (await copy.diff()).paths == patch.paths
    await copy.reset()
    assert (await copy.diff()).empty
    (fork.tree / "locked").chmod(0)
    await asyncio.to_thread(subprocess.run, deepen, cwd=fork.tree, check=True)
    await fork.aclose()
    assert not fork.tree.exists()
    await workspace.aclose()


async def test_an_ignore_file_without_end_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git compares each `**` with each depth of the path, for each of the others."""
    monkeypatch.setattr(shadow, "IGNORING_S", 0.5)
    workspace = await open_workspace(make(tmp_path / "t", {"file": "1"}), tmp_path / "state")
    fork = await workspace.fork("one")
    make(fork.tree, {".gitignore": "**/a/" * 20 + "b\n", "a/" * 120 + "z": "1"})
    with pytest.raises(SandboxError, match=r"git check-ignore had no end after 0\.5 s"):
        await fork.diff()
    (fork.tree / ".gitignore").unlink()
    assert len((await fork.diff()).paths) == 1
    await workspace.aclose()
