"""What a set-up made is sorted, kept and shown; no patch has it, and the user's tree stays as it is."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox import kept as keeping
from sandbox.base import SandboxError
from sandbox.kept import Kept, Made
from sandbox.network import NetworkRules
from sandbox.setup import Wanted, obtain, shown
from sandbox.tree import MAX_BYTES
from sandbox.workspace import Fork, Workspace
from tests.sandbox.places import open_workspace
from tests.support.trees import git, make, nodes, picture

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forks")]

TREE = {
    ".gitignore": "*.gen\n/build\n.venv\nnode_modules\n.env\n",
    "a.py": "a = 1\n",
    "b.py": "b = 1\n",
    "old.gen": "old\n",
    "web/package.json": "{}\n",
    ".env": "SECRET=1\n",
}


def install(tree: Path) -> None:
    """What a set-up may do: all kinds of it."""
    make(
        tree,
        {
            ".venv/pyvenv.cfg": "home = /usr\n",
            ".venv/bin/tool": (0o100755, "#!/bin/sh\n"),
            ".venv/bin/python": (0o120000, "/usr/bin/python3"),
            "web/node_modules/x/index.js": "x\n",
            "vendor/lib.c": "int x;\n",
            "build/deep/made.txt": "made\n",
            "c.gen": (0o100755, "c\n"),
            "link.gen": (0o120000, "/etc/passwd"),
            "old.gen": "other\n",
            "new.py": "new = 1\n",
            "a.py": "a = 2\n",
            "__pycache__/a.pyc": "x",
            ".env": "mine=1\n",
        },
    )
    (tree / ".venv" / "closed").mkdir(mode=0o500)
    (tree / "b.py").unlink()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = make(tmp_path / "project", TREE)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "base")
    return folder


@asynccontextmanager
async def set_up(
    tree: Path, folder: Path, act: Callable[[Path], None] = install
) -> AsyncIterator[tuple[Workspace, Kept]]:
    """An open workspace of `tree` in which `act` was the set-up; it acts on the host's side."""
    workspace = await open_workspace(tree, folder / "state")
    wanted = Wanted("cmd", NetworkRules(), folder / "setups" / "a")

    async def run(fork: Fork) -> None:
        act(fork.tree)

    try:
        kept = await obtain(workspace, wanted, run, on_wait=lambda: None)
        await workspace.adopt(kept)
        yield workspace, kept
    finally:
        await workspace.aclose()


async def test_what_it_made_is_sorted(tree: Path, tmp_path: Path) -> None:
    async with set_up(tree, tmp_path) as (workspace, kept):
        made = kept.made
        assert made.folders == (".venv", "vendor", "web/node_modules")
        assert made.environment == ".venv"
        assert made.files == ("build/deep/made.txt", "c.gen", "link.gen")
        assert made.dropped == ("a.py", "b.py", "new.py", "old.gen")
        assert workspace.prefix == workspace.env["VIRTUAL_ENV"] == f"{tree}/.venv"
        sources = {mount.target: Path(mount.source) for mount in workspace.mounts}
        venv = sources[f"{tree}/.venv"]
        assert nodes(venv) == {
            "pyvenv.cfg": (0o100644, b"home = /usr\n"),
            "bin/tool": (0o100755, b"#!/bin/sh\n"),
            "bin/python": (0o120000, b"/usr/bin/python3"),
        }
        assert stat.S_IMODE((venv / "closed").stat().st_mode) == 0o500
        assert nodes(sources[f"{tree}/web/node_modules"]) == {"x/index.js": (0o100644, b"x\n")}


async def test_each_fork_has_it_and_no_patch_does(tree: Path, tmp_path: Path) -> None:
    before = picture(tree)
    async with set_up(tree, tmp_path) as (workspace, _):
        for act in ("nothing", "change", "remove"):
            fork = await workspace.fork(act)
            files = nodes(fork.tree)
            assert files["build/deep/made.txt"] == (0o100644, b"made\n")
            assert files["c.gen"] == (0o100755, b"c\n")
            assert files["link.gen"] == (0o120000, b"/etc/passwd")
            assert {path: files[path][1].decode() for path in ("a.py", "b.py", "old.gen")} == {
                path: TREE[path] for path in ("a.py", "b.py", "old.gen")
            }
            assert not {"new.py", ".env"} & files.keys()
            for folder in (".venv", "vendor", "web/node_modules"):
                assert list((fork.tree / folder).iterdir()) == [], "a mount point"
            if act == "change":
                (fork.tree / "c.gen").write_text("changed\n")
                (fork.tree / "a.py").write_text("a = 3\n")
            elif act == "remove":
                (fork.tree / "build" / "deep" / "made.txt").unlink()
                (fork.tree / "c.gen").unlink()
            patch = await fork.diff()
            assert patch.paths == (("a.py",) if act == "change" else ())
            snapshot = await fork.snapshot("one")
            (fork.tree / "c.gen").write_text("again\n")
            await fork.restore(snapshot)
            assert (fork.tree / "c.gen").exists() is (act != "remove")
            await fork.reset()
            assert nodes(fork.tree) == files
        assert picture(tree) == before
        patch = await (await accepted(workspace)).diff()
        assert patch.empty
    assert (tree / "a.py").read_text() == "a = 4\n"
    assert not {"c.gen", "build", ".venv", "vendor"} & {path.name for path in tree.iterdir()}


async def accepted(workspace: Workspace) -> Fork:
    """A fork made after a patch was accepted: the base is another one then."""
    fork = await workspace.fork("last")
    (fork.tree / "a.py").write_text("a = 4\n")
    await workspace.accept(await fork.diff())
    again = await workspace.fork("after")
    assert (again.tree / "c.gen").read_text() == "c\n"
    return again


async def test_a_kept_result_is_taken_without_a_run(tree: Path, tmp_path: Path) -> None:
    async with set_up(tree, tmp_path) as (_, kept):
        first = kept.made

    def never(_: Path) -> None:
        raise AssertionError("it is kept")

    async with set_up(tree, tmp_path, never) as (workspace, kept):
        assert kept.made == first
        assert (await workspace.fork("one")).tree.joinpath("c.gen").exists()
        assert keeping.unused(tmp_path / "setups") == [], "it is in use"
    assert len(keeping.unused(tmp_path / "setups")) == 1


async def test_the_users_own_folders_are_out_of_sight_and_give_way(tree: Path, tmp_path: Path) -> None:
    make(tree, {".venv/pyvenv.cfg": "own\n", ".venv/own": "own\n", "node_modules/own.js": "own\n"})
    before = picture(tree)

    def act(folder: Path) -> None:
        assert list((folder / ".venv").iterdir()) == []
        make(folder, {".venv/pyvenv.cfg": "made\n"})

    workspace = await open_workspace(tree, tmp_path / "other")
    try:
        fork = await workspace.fork("one")
        targets = {mount.target for mount in shown(fork)}
        assert f"{tree}/.git" in targets
        assert not {f"{tree}/.venv", f"{tree}/node_modules"} & targets
    finally:
        await workspace.aclose()
    async with set_up(tree, tmp_path, act) as (workspace, kept):
        assert kept.made.folders == (".venv",)
        sources = {mount.target: Path(mount.source) for mount in workspace.mounts}
        assert nodes(sources[f"{tree}/.venv"]) == {"pyvenv.cfg": (0o100644, b"made\n")}
        assert sources[f"{tree}/node_modules"] == tree / "node_modules"
    assert picture(tree) == before


async def test_hostile_names_and_links_lead_nowhere(tree: Path, tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {"pyvenv.cfg": "x\n", "secret": "s\n"})

    def act(folder: Path) -> None:
        (folder / ".venv").symlink_to(outside)
        (folder / "web" / "node_modules").symlink_to(outside, target_is_directory=True)
        make(folder, {"venv/pyvenv.cfg": "x\n", "venv/a\nb": "odd\n"})
        os.link(folder / "a.py", folder / "venv" / "hard")
        (folder / "venv" / "suid").write_text("x")
        (folder / "venv" / "suid").chmod(0o4755)
        os.mkfifo(folder / "venv" / "fifo")

    async with set_up(tree, tmp_path, act) as (workspace, kept):
        assert kept.made.folders == ("venv",)
        assert kept.made.environment == "venv"
        place = kept.source("venv")
        assert set(nodes(place)) == {"pyvenv.cfg", "a\nb", "hard", "suid"}
        assert (place / "hard").stat().st_nlink == 1
        assert stat.S_IMODE((place / "suid").stat().st_mode) == 0o755
        assert not (place / "fifo").exists()
        for path in (".venv", "web/node_modules"):
            assert path in kept.made.files, "a link that is ignored is a link in each copy"
        assert all("secret" not in str(mount.source) for mount in workspace.mounts)


async def test_sparse_files_cannot_fill_the_disk(tree: Path, tmp_path: Path) -> None:
    """Each of the folders is small enough, and takes nothing until it is copied."""

    def act(folder: Path) -> None:
        for name in ("a", "b"):
            make(folder, {f"{name}/node_modules/sparse": ""})
            os.truncate(folder / name / "node_modules/sparse", MAX_BYTES // 2 + 1)

    with pytest.raises(SandboxError, match="over 4 GB"):
        async with set_up(tree, tmp_path, act):
            pass
    assert not keeping.is_kept(tmp_path / "setups" / "a")
    assert sum(file.stat().st_size for file in tmp_path.rglob("sparse")) == 0, "nothing was copied"


async def test_a_set_up_that_fails_keeps_nothing(tree: Path, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        install(folder)
        raise RuntimeError("no")

    before = picture(tree)
    with pytest.raises(RuntimeError):
        async with set_up(tree, tmp_path, fail):
            pass
    assert not keeping.is_kept(tmp_path / "setups" / "a")
    assert picture(tree) == before
    assert not list((tmp_path / "state").glob("forks/*"))
    async with set_up(tree, tmp_path) as (_, kept):
        assert kept.made.folders


async def test_a_set_up_that_makes_nothing_is_kept_too(tree: Path, tmp_path: Path) -> None:
    async with set_up(tree, tmp_path, lambda _: None) as (workspace, kept):
        assert kept.made == Made("cmd", str(tree), kept.made.duration_s, (), (), ())
        assert (workspace.prefix, workspace.env) == (None, {})
        assert (await (await workspace.fork("one")).diff()).empty


async def test_it_stays_while_the_user_works_on(tree: Path, tmp_path: Path) -> None:
    await asyncio.sleep(0.06)  # the tree's stamps can be trusted
    async with set_up(tree, tmp_path) as (workspace, kept):
        assert await workspace.is_current()
        fork = await workspace.fork("one")
        made = nodes(fork.tree)
        (tree / "a.py").write_text("a = 5\n")
        assert not await workspace.is_current()
        for _ in range(2):
            await fork.aclose()
            await workspace.refresh()
            again = keeping.use(tmp_path / "setups" / "a")
            assert again is not None
            await workspace.adopt(again)
            fork = await workspace.fork("one")
            assert nodes(fork.tree) == made | {"a.py": (0o100644, b"a = 5\n")}
            assert (await fork.diff()).empty
        make(tree, {"node_modules/x": "x\n"})
        assert not await workspace.is_current()
        assert kept.source(".venv").is_dir()
    (old,) = keeping.unused(tmp_path / "setups")
    keeping.remove(old)


async def test_what_the_user_made_since_in_its_place_stays(tree: Path, tmp_path: Path) -> None:
    async with set_up(tree, tmp_path):
        pass
    own = {"c.gen": "own\n", "build": "a file\n", "vendor/own.c": "own\n", "link.gen/x": "own\n"}
    make(tree, own)
    before = picture(tree)
    async with set_up(tree, tmp_path) as (workspace, _):
        fork = await workspace.fork("one")
        assert {path: (fork.tree / path).read_text() for path in own} == own
        targets = {mount.target for mount in workspace.mounts}
        assert f"{tree}/vendor" not in targets
        assert f"{tree}/.venv" in targets
        assert (await fork.diff()).empty
        (fork.tree / "c.gen").write_text("changed\n")
        assert (await fork.diff()).paths == ("c.gen",)
    assert picture(tree) == before
