"""Trees that want to get out: nothing planted runs on the host, nothing outside is read or written."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from pathlib import Path

import pytest

from sandbox.base import SandboxError
from sandbox.workspace import Workspace
from tests.support.trees import git, make, nodes

pytestmark = pytest.mark.anyio


def plant(repository: Path, canary: Path) -> None:
    """Everything that makes git run a command, in a repository's own configuration, hooks and attributes."""
    script = canary.parent / "evil.sh"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >> {canary}\ncat\n')
    script.chmod(0o755)
    for key in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "merge.evil.driver",
        "alias.diff-tree",
    ):
        git(repository, "config", key, str(script))
    git(repository, "config", "core.hooksPath", str(repository / "planted-hooks"))
    git(repository, "config", "core.attributesFile", str(repository / ".gitattributes"))
    hooks = ("post-index-change", "reference-transaction", "pre-commit", "post-checkout", "pre-auto-gc")
    for hook in hooks:
        for place in ("planted-hooks", ".git/hooks"):
            make(repository, {f"{place}/{hook}": (0o100755, script.read_bytes())})
    make(repository, {".gitattributes": "* filter=evil diff=evil merge=evil ident text eol=crlf\n"})


async def test_planted_commands_never_run_on_the_host(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    tree = make(tmp_path / "t", {"a.py": "1\n2\n3\n4\n5\n6\n", "sub/b.py": "1\n"})
    for repository in (tree, tree / "sub"):
        git(repository, "init", "-q")
        plant(repository, canary)
    git(tree, "status")
    assert canary.exists(), "the plants must work where git is run the plain way"
    canary.unlink()

    workspace = await Workspace.open(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    for repository in (fork.tree, fork.tree / "sub"):
        git(repository, "init", "-q")
        plant(repository, canary)
        canary.unlink(missing_ok=True)
    make(fork.tree, {"a.py": "one\n2\n3\n4\n5\n6\n", "new.py": "$Id$\r\n"})
    patch = await fork.diff()
    assert set(patch.paths) == {"a.py", "new.py"}
    assert patch.changes[-1].new == b"$Id$\r\n"
    clean = await workspace.fork("two", patch)
    assert await clean.diff() == patch
    await clean.reset()
    make(tree, {"a.py": "1\n2\n3\n4\n5\nsix\n"})
    accepted = await workspace.accept(patch)
    assert accepted.merged == ("a.py",)
    assert (tree / "a.py").read_text() == "one\n2\n3\n4\n5\nsix\n"
    await workspace.aclose()
    assert not canary.exists()


async def test_git_variables_of_the_host_have_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    for name in ("GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "GIT_PAGER"):
        monkeypatch.setenv(name, f"touch {canary}")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=0")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "diff.noprefix")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    make(Path(os.environ["HOME"]), {".gitconfig": "[diff]\n\tnoprefix = true\n\tmnemonicPrefix = true\n"})
    workspace = await Workspace.open(make(tmp_path / "t", {"a": "1\n2\n3\n"}), tmp_path / "state")
    fork = await workspace.fork("one")
    make(fork.tree, {"a": "1\n3\n3\n"})
    text = (await fork.diff()).text
    assert text.startswith(b"diff --git a/a b/a\n") and b"@@ -1,3 +1,3 @@\n" in text
    assert not canary.exists() and not (tmp_path / "elsewhere").exists()
    await workspace.aclose()


async def test_symlinks_are_kept_as_links_and_not_followed(tmp_path: Path) -> None:
    secret = make(tmp_path / "outside", {"key": "s3cret", ".gitignore": "*\n"})
    tree = make(tmp_path / "t", {"a": "1", "d/x": "1"})
    workspace = await Workspace.open(tree, tmp_path / "state")
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


async def test_a_folder_swapped_for_a_symlink_again_and_again(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {f"f{n}": "s3cret" for n in range(20)})
    tree = make(tmp_path / "t", {f"d/f{n}": "mine" for n in range(20)})
    workspace = await Workspace.open(tree, tmp_path / "state")
    fork = await workspace.fork("one")
    make(fork.tree, {f"d/f{n}": "changed" for n in range(20)})
    (fork.tree / "link").symlink_to(outside)
    swaps = 0
    stop = threading.Event()

    def swap() -> None:
        nonlocal swaps
        real, link, spare = (os.fspath(fork.tree / name) for name in ("d", "link", "spare"))
        while not stop.is_set():
            for old, new in ((real, spare), (link, real), (real, link), (spare, real)):
                os.rename(old, new)  # noqa: PTH104
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(30):
            with contextlib.suppress(SandboxError):
                assert b"s3cret" not in (await fork.diff()).text
    finally:
        stop.set()
        thread.join()
    assert swaps > 100
    assert {path.read_text() for path in outside.iterdir()} == {"s3cret"}
    await workspace.aclose()


async def test_special_files_do_not_hang_and_are_not_in_a_patch(tmp_path: Path) -> None:
    workspace = await Workspace.open(make(tmp_path / "t", {"a": "1", "b": "1"}), tmp_path / "state")
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
    workspace = await Workspace.open(make(tmp_path / "t", {"a": "1", "d/x": "1"}), tmp_path / "state")
    fork = await workspace.fork("one")
    script = (
        "import os\nfor _ in range(400):\n    os.mkdir('deep')\n    os.chdir('deep')\nopen('x', 'w').close()"
    )
    await asyncio.to_thread(subprocess.run, ["python3", "-c", script], cwd=fork.tree, check=True)
    make(fork.tree, {"d/x": "2", "locked/in/y": "1", "unreadable": "1"})
    (fork.tree / "d/x").chmod(0)
    (fork.tree / "d").chmod(0)
    (fork.tree / "unreadable").chmod(0)
    (fork.tree / "locked").chmod(0)
    patch = await fork.diff()
    assert patch.paths == ("d/x", "locked/in/y", "unreadable")
    copy = await fork.fork("two")
    assert (await copy.diff()).paths == patch.paths
    await copy.reset()
    assert (await copy.diff()).empty
    (fork.tree / "locked").chmod(0)
    await fork.aclose()
    assert not fork.tree.exists()
    await workspace.aclose()
