"""Accepting: all or nothing, with the user's later edits kept, and nothing outside the tree touched."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agent.cli.finish import applied
from sandbox import accept, beneath
from sandbox.accept import AcceptConflict
from sandbox.base import FileConflict, FileMissing, SandboxError
from sandbox.beneath import Beneath
from sandbox.sweep import Swept
from sandbox.workspace import Fork, Workspace
from tests.sandbox.abuse.cases import host, host_case
from tests.support.trees import git, make, nodes, picture

pytestmark = pytest.mark.anyio

LINES = "".join(f"line {n}\n" for n in range(20))


async def _candidate(tree: Path, state: Path) -> tuple[Workspace, Fork]:
    workspace = await Workspace.open(tree, state)
    return workspace, await workspace.fork("one")


async def test_a_patch_lands_exactly_and_modes_are_kept(tmp_path: Path) -> None:
    tree = make(
        tmp_path / "t", {"a.py": "1\n", "gone/x": "1", "run": "1", "link": (0o120000, b"a.py"), "b": "1"}
    )
    (tree / "a.py").chmod(0o640)
    (tree / "b").chmod(0o600)
    git(tree, "init", "-q")
    untouched = {p: v for p, v in picture(tree).items() if p.startswith(".git")}
    workspace, fork = await _candidate(tree, tmp_path / "state")
    make(fork.tree, {"a.py": "2\n", "pkg/new.py": "n", "tool": (0o100755, b"t"), "b": "2"})
    (fork.tree / "run").chmod(0o755)
    (fork.tree / "b").chmod(0o755)
    (fork.tree / "gone/x").unlink()
    (fork.tree / "link").unlink()
    (fork.tree / "link").symlink_to("pkg/new.py")
    wanted = nodes(fork.tree)
    accepted = await workspace.accept(await fork.diff())
    assert nodes(tree) == wanted
    assert accepted.paths == ("a.py", "b", "gone/x", "link", "pkg/new.py", "run", "tool")
    modes = {
        name: (tree / name).stat().st_mode & 0o777
        for name in ("a.py", "run", "b", "tool", "pkg/new.py", "pkg")
    }
    assert modes == {
        "a.py": 0o640,
        "run": 0o755,
        "b": 0o700,
        "tool": 0o755,
        "pkg/new.py": 0o644,
        "pkg": 0o755,
    }
    assert not (tree / "gone").exists()
    assert {p: v for p, v in picture(tree).items() if p.startswith(".git")} == untouched
    assert (await fork.diff()).empty
    make(fork.tree, {"pkg/new.py": "m"})
    assert (await workspace.accept(await fork.diff())).paths == ("pkg/new.py",)
    assert (tree / "pkg/new.py").read_text() == "m"
    await workspace.aclose()
    assert nodes(tree) == {**wanted, "pkg/new.py": (0o100644, b"m")}


async def test_file_and_folder_change_places(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "file", "b/x/y": "folder", "l": (0o120000, b"b")})
    workspace, fork = await _candidate(tree, tmp_path / "state")
    for name in ("a", "b/x/y", "l"):
        (fork.tree / name).unlink()
    (fork.tree / "b/x").rmdir()
    (fork.tree / "b").rmdir()
    make(fork.tree, {"a/in": "1", "b": "file", "l/in": "1"})
    await workspace.accept(await fork.diff())
    assert nodes(tree) == nodes(fork.tree)
    await workspace.aclose()


@host_case(65, mutation=host(accept, "_merge", lambda change, _seen, _shadow: change.new))
async def test_case_65_later_edits_of_the_user_are_merged(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": LINES, "same": "1\n", "mode": LINES, "deleted": "1"})
    workspace, fork = await _candidate(tree, tmp_path / "state")
    make(fork.tree, {"a": LINES.replace("line 2\n", "two\n"), "same": "2\n", "new": "n"})
    make(fork.tree, {"mode": (0o100755, LINES.replace("line 2\n", "two\n").encode())})
    (fork.tree / "deleted").unlink()
    patch = await fork.diff()
    make(tree, {"a": LINES.replace("line 17\n", "seventeen\n"), "same": "2\n", "new": "n", "other": "o"})
    (tree / "deleted").unlink()
    (tree / "mode").write_text(LINES.replace("line 17\n", "17\n"))
    later = await workspace.fork("later")
    assert nodes(later.tree)["a"] == (0o100644, LINES.encode()), "the base stays as it was frozen"
    accepted = await workspace.accept(patch)
    assert accepted.merged == accepted.paths == ("a", "mode")
    assert "Merged with your own edits, look whether they fit: a, mode." in applied(accepted)
    assert (tree / "a").read_text() == LINES.replace("line 2\n", "two\n").replace("line 17\n", "seventeen\n")
    assert (tree / "mode").read_text() == LINES.replace("line 2\n", "two\n").replace("line 17\n", "17\n")
    assert (tree / "mode").stat().st_mode & 0o777 == 0o755
    await workspace.aclose()


@pytest.mark.parametrize(
    "edit",
    [
        {"a": LINES.replace("line 2\n", "zwei\n")},
        {"a": b"\0binary"},
        {"a": None},
        {"gone": "edited"},
        {"new": "made by the user"},
        {"bin": b"\0user"},
        {"a": (0o120000, b"bin")},
    ],
)
async def test_case_65_a_conflict_refuses_everything(tmp_path: Path, edit: dict[str, object]) -> None:
    tree = make(tmp_path / "t", {"a": LINES, "gone": "1", "bin": b"\0\1", "fine": "1"})
    workspace, fork = await _candidate(tree, tmp_path / "state")
    make(
        fork.tree,
        {"a": LINES.replace("line 2\n", "two\n"), "new": "n", "bin": b"\0\2", "fine": "2", "z": "z"},
    )
    (fork.tree / "gone").unlink()
    patch = await fork.diff()
    for path, content in edit.items():
        (tree / path).unlink(missing_ok=True)
        if content is not None:
            make(tree, {path: content})  # type: ignore[dict-item]
    before = picture(tree)
    with pytest.raises(AcceptConflict) as caught:
        await workspace.accept(patch)
    assert caught.value.paths == tuple(edit)
    assert picture(tree) == before
    assert (await workspace.accept(patch.without(edit.keys()))).paths
    assert (tree / "fine").read_text() == "2"
    await workspace.aclose()


async def test_sensitive_paths_are_highlighted(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"src/a.py": "1"})
    workspace, fork = await _candidate(tree, tmp_path / "state")
    sensitive = [
        ".cargo/config.toml",
        ".claude/settings.json",
        ".cursorrules",
        ".envrc",
        ".github/workflows/ci.yml",
        ".gitlab-ci.yml",
        ".husky/pre-commit",
        ".idea/workspace.xml",
        ".mcp.json",
        ".pawl/config.toml",
        ".vscode/tasks.json",
        ".yarnrc.yml",
        "AGENTS.md",
        "CLAUDE.md",
        "GEMINI.md",
        "Makefile",
        "crate/build.rs",
        "hooks/post-merge",
        "lib/evil.pth",
        "pyproject.toml",
        "setup.py",
        "tests/conftest.py",
    ]
    make(fork.tree, dict.fromkeys([*sensitive, "src/a.py", "src/githooks.py", "docs/makefile.md"], "x"))
    accepted = await workspace.accept(await fork.diff())
    assert sorted(accepted.highlighted) == sorted(sensitive)
    await workspace.aclose()


@pytest.mark.parametrize(
    ("there", "new", "highlighted"),
    [
        (
            [],
            ["evil/HEAD", "evil/config", "evil/hooks/x", "evil/objects/k", "evil/refs/k"],
            ["evil/HEAD", "evil/config", "evil/hooks/x"],
        ),
        (["d/e/HEAD", "d/e/config", "d/e/refs/k"], ["d/e/objects/k", "d/f"], ["d/e/objects/k"]),
        (["d/HEAD", "d/objects/k", "d/refs/k"], ["d/config", "d/objects/l"], ["d/config"]),
        (["objects/k"], ["HEAD", "config", "refs/k"], ["HEAD", "config"]),
        ([], ["w/HEAD", "w/commondir"], ["w/HEAD", "w/commondir"]),
        ([], ["a/HEAD", "a/config", "a/objects/k", "b/refs/k"], []),
    ],
)
async def test_an_embedded_repository_is_highlighted(
    tmp_path: Path, there: list[str], new: list[str], highlighted: list[str]
) -> None:
    """Git takes a folder for a repository by what is in it, and runs what its config says."""
    tree = make(tmp_path / "t", dict.fromkeys([*there, "a.py"], "1"))
    workspace, fork = await _candidate(tree, tmp_path / "state")
    make(fork.tree, dict.fromkeys(new, "x"))
    assert list((await workspace.accept(await fork.diff())).highlighted) == highlighted
    await workspace.aclose()


async def test_case_72_disk_full_in_an_accept_puts_everything_back(tmp_path: Path) -> None:
    """A limit on file sizes stands in for a full disk: small files are written, the large one fails."""
    tree = make(tmp_path / "t", {"a": "1", "gone/x": "1", "z": "1"})
    (tree / "gone").chmod(0o750)
    before = _without_folder_times(tree)
    done = _child(
        tmp_path,
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            accept_patch(tree, PATCH, state / "accepts", shadow)
        except SandboxError as error:
            print(type(error).__name__, error)
        """,
        "FileChange('a', b'1', b'2', R, R, b''), FileChange('gone/x', b'1', None, R, None, b''), "
        "FileChange('n/new', None, b'n', None, R, b''), FileChange('z', b'1', b'z' * 9000, R, R, b'')",
    )
    assert "SandboxError nothing was applied: cannot write in " in done
    assert ".pawl-" not in done
    assert _without_folder_times(tree) == before


def test_case_71_killed_at_any_moment_of_an_accept_it_is_old_or_new(tmp_path: Path) -> None:
    """The process dies at each rename, unlink and fsync in turn; `recover` then gives the tree as it was."""
    tree = make(tmp_path / "t", {"a": "1", "gone/x": "1", "f": "1", "d/y": "1", "l": (0o120000, b"a")})
    (tree / "a").chmod(0o604)
    done = _child(
        tmp_path,
        """
        for number in range(500):
            child = os.fork()
            if not child:
                die_at(number)
                accept_patch(tree, PATCH, state / "accepts", shadow)
                os._exit(0)
            if os.waitpid(child, 0)[1] == 0:
                break
            recover(state)
            if nodes(tree) == NEW:
                break
            assert nodes(tree) == OLD, (number, nodes(tree))
            assert picture(tree).keys() == SHAPE, (number, set(picture(tree)) ^ SHAPE)
            assert recover(state) == ()
        assert nodes(tree) == NEW
        print("killed", number)
        """,
        "FileChange('a', b'1', b'2', R, R, b''), FileChange('gone/x', b'1', None, R, None, b''), "
        "FileChange('f', b'1', None, R, None, b''), FileChange('f/new', None, b'n', None, R, b''), "
        "FileChange('d/y', b'1', None, R, None, b''), FileChange('d', None, b'd', None, R, b''), "
        "FileChange('l', b'a', b'd', 0o120000, 0o120000, b''), FileChange('p/q/r', None, b'n', None, X, b'')",
        """
        OLD, SHAPE = nodes(tree), picture(tree).keys()
        NEW = {"a": (R, b"2"), "f/new": (R, b"n"), "d": (R, b"d"), "l": (0o120000, b"d"), "p/q/r": (X, b"n")}
        """,
    )
    assert int(done.split()[-1]) > 30
    assert (tree / "a").stat().st_mode & 0o777 == 0o604


def _without_folder_times(tree: Path) -> dict[str, tuple[object, ...]]:
    return {
        path: (mode, content, None if path in (".", "gone", "d") else mtime)
        for path, (mode, mtime, _, content) in picture(tree).items()
    }


def _child(place: Path, body: str, changes: str, setup: str = "") -> str:
    """Run code in another process with `tree`, `state`, `shadow` and PATCH at hand; gives what it printed."""
    head = f"""
import os, resource
from pathlib import Path
from sandbox.accept import accept_patch
from sandbox.journal import recover
from sandbox.base import SandboxError
from sandbox.patch import FileChange, Patch
from sandbox.shadow import Shadow
from tests.sandbox.abuse.cases import host, host_case
from tests.support.dying import die_at
from tests.support.trees import nodes, picture
R, X = 0o100644, 0o100755
tree, state = Path({str(place / "t")!r}), Path({str(place / "state")!r})
shadow = Shadow(state / "shadow")
PATCH = Patch(({changes},))
"""
    code = head + textwrap.dedent(setup) + textwrap.dedent(body)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_open_puts_back_what_a_crash_left(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "b": "1"})
    _child(
        tmp_path,
        """
        real = os.rename
        def rename(*args, **kwargs):
            if args[1] == "b":
                os.kill(os.getpid(), 9)
            return real(*args, **kwargs)
        os.rename = rename
        if not (child := os.fork()):
            accept_patch(tree, PATCH, state / "accepts", shadow)
        os.waitpid(child, 0)
        """,
        "FileChange('a', b'1', b'2', R, R, b''), FileChange('b', b'1', b'2', R, R, b'')",
    )
    assert (tree / "a").read_text() == "2"
    notes: list[str] = []
    workspace = await Workspace.open(tree, tmp_path / "state", on_note=notes.append)
    assert nodes(tree) == {"a": (0o100644, b"1"), "b": (0o100644, b"1")}
    assert notes == ["put back after an accept that was cut off: a"]
    assert nodes((await workspace.fork("x")).tree) == nodes(tree)
    await workspace.aclose()


async def test_recover_leaves_what_the_user_did_since(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "b": "1"})
    workspace, fork = await _candidate(tree, tmp_path / "state")
    make(fork.tree, {"a": "2", "b": "2"})
    await workspace.accept(await fork.diff())
    await workspace.aclose()
    journal = next((tmp_path / "state/accepts").glob("*/done.json"))
    journal.rename(journal.with_name("journal.json"))
    make(tree, {"b": "the user's own"})
    assert await Workspace.recover(tmp_path / "state") == ("a",)
    assert {p: d for p, (_, d) in nodes(tree).items()} == {"a": b"1", "b": b"the user's own"}


async def test_missing_tree_is_an_error_of_the_place(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    workspace, fork = await _candidate(tree, tmp_path / "state")
    make(fork.tree, {"a": "2"})
    patch = await fork.diff()
    tree.rename(tmp_path / "moved")
    with pytest.raises(SandboxError):
        await workspace.accept(patch)
    await workspace.aclose()


def test_what_appears_at_the_last_moment_is_not_overwritten(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "b": "1"})
    with Beneath(tree) as user:
        seen = {name: user.read(name).stat for name in ("a", "b")}
        make(tree, {"a": "edited", "new": "made"})
        for path, stat in (("a", seen["a"]), ("new", None), ("gone", seen["b"])):
            with pytest.raises(FileConflict):
                user.put(path, b"patch", 0o100644, seen=stat)
        with pytest.raises(FileConflict):
            user.remove("a", seen=seen["a"])
        user.put("b", b"patch", 0o100644, seen=seen["b"])
        user.put("l", b"b", 0o120000, seen=None)
    assert {path: data for path, (_, data) in nodes(tree).items()} == {
        "a": b"edited",
        "b": b"patch",
        "l": b"b",
        "new": b"made",
    }


def test_a_folder_that_is_removed_while_a_file_is_put_there_is_a_file_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(folder: int, *_: object) -> None:
        (tmp_path / "d").rmdir()
        os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=folder))

    monkeypatch.setattr(beneath, "_write", removed)
    with Beneath(tmp_path) as tree, pytest.raises(FileMissing, match="'d/f' has just been removed"):
        tree.put("d/f", b"x", 0o100644)


async def test_sweep_tidies_what_nobody_uses(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1"})
    states = tmp_path / "states"
    used = await Workspace.open(tree, states / "used")
    make(states, {"dead/lock": "", "dead/base/old": "1", "kept/lock": "", "kept/accepts/x/done.json": "{}"})
    make(states, {"kept/forks/1-x/tree/old": "1"})
    assert await Workspace.sweep(states) == Swept()
    assert not (states / "dead").exists()
    assert [p.name for p in (states / "kept").iterdir() if p.name != "lock"] == ["accepts"]
    assert nodes((await used.fork("x")).tree) == nodes(tree)
    await used.aclose()
    assert await Workspace.sweep(tmp_path / "nowhere") == Swept()
