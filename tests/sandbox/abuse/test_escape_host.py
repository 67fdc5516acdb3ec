"""Ways out by what pawl itself does on the host with a hostile tree: cases 40 to 42, without a sandbox."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox import accept, beneath, shadow
from sandbox.accept import AcceptConflict
from sandbox.base import FileError, NotRegular, PathEscape, SandboxError
from sandbox.beneath import Beneath, check_link
from sandbox.patch import FileChange, Patch
from sandbox.workspace import Workspace
from tests.sandbox.abuse.cases import host, host_case
from tests.sandbox.places import open_fork
from tests.support.swapping import swapped
from tests.support.trees import git, make, picture

pytestmark = pytest.mark.anyio

# --- between check and use -------------------------------------------------------------------------------

FOLLOWS = host(beneath, "_FOLDER", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


@host_case(40, mutation=FOLLOWS)
async def test_case_40_a_folder_swapped_for_a_symlink_10000_times_is_not_followed(tmp_path: Path) -> None:
    """By reads beneath a tree and by what makes a patch of it; writes are in `test_snapshots_hostile`."""
    outside = make(tmp_path / "outside", {f"f{n}": "s3cret" for n in range(20)})
    before = picture(outside)
    workspace, fork = await open_fork(
        make(tmp_path / "t", {f"d/f{n}": "mine" for n in range(20)}), tmp_path / "state"
    )
    seen: set[bytes] = set()
    reads = 0
    with swapped(fork.tree, outside) as enough, Beneath(fork.tree) as tree:
        while reads < 10_000 or not enough():
            reads += 1
            try:
                seen.add(tree.read(f"d/f{reads % 20}").data)
            except FileError:
                seen.add(b"refused")
            if reads % 1000 == 0:
                try:
                    assert b"s3cret" not in (await fork.diff()).text
                except SandboxError:
                    seen.add(b"refused")
    assert seen == {b"mine", b"refused"}
    assert picture(outside) == before
    await workspace.aclose()


# --- patches ---------------------------------------------------------------------------------------------

HOSTILE = (
    *("../up", "/tmp/abs", "a/../../up", "./a", "a//b", "out/file", "out", "pipe", "nul\0", "", ".git"),
    *(".git/hooks/pre-commit", "sub/.git/config", ".GIT/config"),
)


@host_case(41, mutation=host(accept, "check_path", lambda _path: None))
async def test_case_41_a_patch_with_a_hostile_path_is_refused_whole(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {"file": "keep"})
    tree = make(tmp_path / "t", {"a/b": "1", "out": (0o120000, os.fsencode(outside))})
    git(tree, "init", "-q")
    os.mkfifo(tree / "pipe")
    workspace = await Workspace.open(tree, tmp_path / "state")
    before = picture(tree), picture(outside)
    good = FileChange("fine", None, b"x", None, 0o100644, b"")
    for path in HOSTILE:
        bad = FileChange(path, None, b"x", None, 0o100644, b"")
        with pytest.raises((PathEscape, NotRegular, AcceptConflict)):
            await workspace.accept(Patch((good, bad)))
        assert (picture(tree), picture(outside)) == before, path
    await workspace.aclose()


@host_case(41, mutation=host(accept, "check_link", lambda _path, _target: None))
async def test_case_41_gitlinks_devices_and_leading_out_symlinks_are_refused(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    workspace = await Workspace.open(tree, tmp_path / "state")
    before = picture(tree)
    for mode in (0o160000, 0o020666, 0o010644, 0o104755, 0o040755):
        with pytest.raises(NotRegular):
            await workspace.accept(Patch((FileChange("x", None, b"0" * 40, None, mode, b""),)))
    for target in (b"/etc/passwd", b"../x", b"d/../../x", b".git/hooks/pre-commit", b"d/..", b"../t/.git"):
        with pytest.raises(PathEscape):
            await workspace.accept(Patch((FileChange("x", None, target, None, 0o120000, b""),)))
    assert picture(tree) == before
    for path, inside in (("x", "a"), ("d/x", "../a"), ("d/e/x", "../../d/./a"), ("x", ".")):
        check_link(path, inside)
    await workspace.aclose()


# --- what git would run ----------------------------------------------------------------------------------


def plant(repository: Path, canary: Path) -> None:
    """Everything that makes git run a command, in a repository's own configuration, hooks and attributes."""
    script = canary.parent / "evil.sh"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >> {canary}\ncat\n')
    script.chmod(0o755)
    included = canary.parent / "included"
    included.write_text(f'[core]\n\tfsmonitor = {script}\n[alias]\n\tcheck-ignore = "!{script}"\n')
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
    git(repository, "config", f"includeIf.gitdir:{repository}/.path", str(included))
    git(repository, "config", "core.hooksPath", str(repository / "planted-hooks"))
    git(repository, "config", "core.attributesFile", str(repository / ".gitattributes"))
    hooks = ("post-index-change", "reference-transaction", "pre-commit", "post-checkout", "pre-auto-gc")
    for hook in hooks:
        for place in ("planted-hooks", ".git/hooks"):
            make(repository, {f"{place}/{hook}": (0o100755, script.read_bytes())})
    make(repository, {".gitattributes": "* filter=evil diff=evil merge=evil ident text eol=crlf\n"})


def git_that(environment: Any) -> Any:
    """A `subprocess` whose programs get `environment(env)`; what git is run with is made there alone."""
    return SimpleNamespace(
        run=lambda *words, env, **more: subprocess.run(*words, env=environment(env), **more)
    )


def in_the_users_repository(env: dict[str, str]) -> dict[str, str]:
    tests = next(each for each in Path(env["GIT_DIR"]).parents if (each / "t/.git").is_dir())
    return env | {"GIT_DIR": str(tests / "t/.git")}


@host_case(42, mutation=host(shadow, "subprocess", git_that(in_the_users_repository)))
async def test_case_42_planted_commands_never_run_on_the_host(tmp_path: Path) -> None:
    """In the user's repository, in the candidate's, and in one nested in each."""
    canary = tmp_path / "canary"
    tree = make(tmp_path / "t", {"a.py": "1\n2\n3\n4\n5\n6\n", "sub/b.py": "1\n"})
    for repository in (tree, tree / "sub"):
        git(repository, "init", "-q")
        plant(repository, canary)
    git(tree, "status")
    assert canary.exists(), "the plants must work where git is run the plain way"
    canary.unlink()

    workspace, fork = await open_fork(tree, tmp_path / "state")
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


@host_case(42, mutation=host(shadow, "subprocess", git_that(lambda env: os.environ | env)))
async def test_case_42_git_variables_of_the_host_have_no_effect(tmp_path: Path) -> None:
    canary, elsewhere = tmp_path / "canary", tmp_path / "elsewhere"
    make(Path(os.environ["HOME"]), {".gitconfig": "[diff]\n\tnoprefix = true\n\tmnemonicPrefix = true\n"})
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "GIT_PAGER"):
            patch.setenv(name, f"touch {canary}")
        patch.setenv("GIT_DIR", str(elsewhere))
        patch.setenv("GIT_DIFF_OPTS", "--unified=0")
        patch.setenv("GIT_CONFIG_COUNT", "1")
        patch.setenv("GIT_CONFIG_KEY_0", "diff.noprefix")
        patch.setenv("GIT_CONFIG_VALUE_0", "true")
        workspace, fork = await open_fork(make(tmp_path / "t", {"a": "1\n2\n3\n"}), tmp_path / "state")
        make(fork.tree, {"a": "1\n3\n3\n"})
        text = (await fork.diff()).text
        await workspace.aclose()
    assert text.startswith(b"diff --git a/a b/a\n") and b"@@ -1,3 +1,3 @@\n" in text
    assert not canary.exists() and not elsewhere.exists()
