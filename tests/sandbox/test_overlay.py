"""Forks as overlay mounts: what only they can get wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import layers as layers_module
from sandbox.base import SandboxSpec
from sandbox.facts import mount_points
from sandbox.layers import Fork, Layers
from sandbox.open import open_sandbox
from sandbox.overlay import HeldMounts, HostMounts, Mounts, kind_of_forks, unmount_below
from sandbox.workspace import Workspace
from tests.sandbox.places import SESSION, full_after
from tests.sandbox.test_workspace import ODD
from tests.support.trees import make, nodes

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"),
    pytest.mark.usefixtures("unmounted"),
]


@pytest.fixture
def unmounted(tmp_path: Path) -> Iterator[None]:
    yield
    unmount_below(tmp_path)


@pytest.fixture(params=[HostMounts, HeldMounts])
def mounts(request: pytest.FixtureRequest) -> Iterator[Mounts]:
    """On the host, and in a namespace as an ordinary user has to."""
    made = request.param()
    yield made
    made.close()


def stacked(place: Path, files: dict[str, str], mounts: Mounts) -> tuple[Layers, Fork]:
    """Layers on a base of these files, and one fork of them."""
    layers = Layers(place, make(place / "base", files), None, mounts)
    (place / "one").mkdir()
    fork = layers.fork(place / "one")
    fork.mount()
    return layers, fork


def child(fork: Fork, place: Path) -> Fork:
    place.mkdir()
    copy = fork.child(place)
    copy.mount(fork)
    return copy


def test_overlays_work_here(tmp_path: Path) -> None:
    assert kind_of_forks(tmp_path) == "overlay mounts"
    assert not list(tmp_path.iterdir())


def test_a_fork_of_a_fork_has_what_was_removed_replaced_and_renamed(tmp_path: Path, mounts: Mounts) -> None:
    files = {"gone": "1", "kept/a": "1", "renamed/deep/a": "1", "replaced/old": "1", "file/x": "1"}
    _, fork = stacked(tmp_path, dict(files), mounts)
    (fork.tree / "gone").unlink()
    shutil.move(fork.tree / "renamed", fork.tree / "new name")  # a rename alone is refused in a namespace
    shutil.rmtree(fork.tree / "replaced")
    shutil.rmtree(fork.tree / "file")
    make(fork.tree, {"replaced/new": "2", "file": "2", "kept/b": "2"})
    (fork.tree / "kept").chmod(0o500)
    (fork.tree / "link").symlink_to("kept/a")
    copy = child(fork, tmp_path / "two")
    assert nodes(copy.tree) == nodes(fork.tree)
    assert set(nodes(copy.tree)) >= {"new name/deep/a", "replaced/new", "kept/a", "kept/b", "file", "link"}
    assert not {"gone", "renamed", "replaced/old"} & set(nodes(copy.tree))
    (copy.tree / "replaced/new").write_text("3")
    assert (fork.tree / "replaced/new").read_text() == "2"


NAMES = ("a", "b", "d", "d/a", "d/e", "d/e/a")
STEPS = st.lists(
    st.tuples(st.sampled_from(("write", "remove", "folder", "rename")), *[st.sampled_from(NAMES)] * 2),
    max_size=12,
)


def act(tree: Path, how: str, path: str, other: str) -> None:
    """One step, if it is possible."""
    here = tree / path
    if how == "remove" and here.is_dir():
        shutil.rmtree(here)
        return
    try:
        if how == "write":
            here.write_text(other)
        elif how == "remove":
            here.unlink()
        elif how == "folder":
            here.mkdir()
        else:
            here.rename(tree / other)
    except OSError:
        pass


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=STEPS, second=STEPS, third=STEPS)
def test_layers_and_forks_show_what_a_plain_folder_would(
    tmp_path_factory: pytest.TempPathFactory, first: object, second: object, third: object
) -> None:
    """Steps in a layer, in a fork and in a fork of it give what the same steps give in a folder."""
    mounts = HostMounts()  # on which a folder can be renamed as in a plain folder
    place = tmp_path_factory.mktemp("stack")
    start = {"a": "0", "d/a": "0", "d/e/a": "0"}
    layers = Layers(place, make(place / "base", dict(start)), None, mounts)
    plain = make(place / "plain", dict(start))
    try:
        layers.add(lambda tree: [act(Path(f"/proc/self/fd/{tree._fd}"), *step) for step in first])  # type: ignore
        (place / "one").mkdir()
        fork = layers.fork(place / "one")
        fork.mount()
        for step in second:  # type: ignore
            act(fork.tree, *step)
        copy = child(fork, place / "two")
        for step in third:  # type: ignore
            act(copy.tree, *step)
        for step in [*first, *second]:  # type: ignore
            act(plain, *step)
        assert nodes(fork.tree) == nodes(plain)
        for step in third:  # type: ignore
            act(plain, *step)
        assert nodes(copy.tree) == nodes(plain)
    finally:
        unmount_below(place)


async def test_accepted_patches_become_layers_and_many_become_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers_module, "MAX_LAYERS", 3)
    tree = make(tmp_path / "t", {**ODD, "n": "0"})
    workspace = await Workspace.open(tree, tmp_path / "state")
    forks = []
    for number in range(1, 8):
        fork = await workspace.fork(f"{number}")
        make(fork.tree, {"n": str(number), f"new-{number}": "x"})
        await workspace.accept(await fork.diff())
        forks.append(fork)
    assert [(fork.tree / "n").read_text() for fork in forks] == [str(number) for number in range(1, 8)]
    assert not (forks[0].tree / "new-2").exists()
    last = await workspace.fork("last")
    assert nodes(last.tree) == nodes(tree)
    assert (await last.diff()).empty
    assert workspace._base.layers is not None
    assert 1 <= len(workspace._base.layers.stack) <= 3
    await workspace.aclose()
    assert not [point for point in mount_points("overlay") if point.is_relative_to(tmp_path)]


async def test_layers_that_do_not_fit_into_one_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_module, "MAX_LAYERS", 2)
    tree = make(tmp_path / "t", {"n": "0", "other": "1"})
    workspace = await Workspace.open(tree, tmp_path / "state")
    full_after(monkeypatch, 1)
    for number in (1, 2, 3):
        fork = await workspace.fork("next")
        make(fork.tree, {"n": str(number)})
        await workspace.accept(await fork.diff())
    monkeypatch.undo()
    assert workspace._base.layers is not None
    assert len(workspace._base.layers.stack) == 4
    last = await workspace.fork("last")
    assert nodes(last.tree) == nodes(tree)
    assert (await last.diff()).empty
    await workspace.aclose()
    assert not [point for point in mount_points("overlay") if point.is_relative_to(tmp_path)]


async def test_an_older_fork_stands_on_what_it_was_made_from(tmp_path: Path) -> None:
    workspace = await Workspace.open(make(tmp_path / "t", {"a": "1", "b": "1"}), tmp_path / "state")
    old, new = await workspace.fork("old"), await workspace.fork("new")
    make(new.tree, {"a": "2"})
    await workspace.accept(await new.diff())
    assert (old.tree / "a").read_text() == "1"
    make(old.tree, {"b": "2"})
    assert (await old.diff()).paths == ("a", "b")
    await workspace.aclose()


async def test_mounts_of_a_killed_pawl_are_swept(tmp_path: Path) -> None:
    tree = make(tmp_path / "t", {"a": "1", "b": "1"})
    program = (
        "import asyncio, os, signal, sys\nfrom pathlib import Path\nfrom sandbox.workspace import Workspace\n"
        "async def main():\n"
        "    workspace = await Workspace.open(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "    fork = await workspace.fork('one')\n"
        "    (fork.tree / 'a').write_text('2')\n"
        "    await workspace.accept(await fork.diff())\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    state = tmp_path / "workspaces" / "s"
    ended = subprocess.run([sys.executable, "-c", program, tree, state], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len([point for point in mount_points("overlay") if point.is_relative_to(state)]) == 2
    await Workspace.sweep(state.parent)
    assert not [point for point in mount_points("overlay") if point.is_relative_to(state)]
    assert not (state / "forks").exists()
    assert nodes(tree)["a"][1] == b"2"


def test_forty_layers_with_long_and_odd_names_fit(tmp_path: Path, mounts: Mounts) -> None:
    """The kernel takes at most a page of options."""
    folder = tmp_path / ("x" * 200) / 'a,b:c\\d "e'
    lowers = [make(folder / f"{number}", {f"{number}": "x", "same": f"{number}"}) for number in range(40)]
    tree = tmp_path / "tree"
    tree.mkdir()
    mounts.mount(tree, lowers)
    seen = mounts.seen(tree)
    assert (seen / "same").read_text() == "0"
    assert len(list(seen.iterdir())) == 41
    with pytest.raises(OSError, match="Read-only"):
        (seen / "new").touch()


@pytest.mark.bubblewrap
async def test_a_sandbox_on_what_is_mounted_in_a_namespace(tmp_path: Path) -> None:
    mounts = HeldMounts()
    layers, fork = stacked(tmp_path, {"a": "1", "d/b": "1"}, mounts)
    spec = SandboxSpec(
        tree=tmp_path / "one" / "tree", enter=mounts.enter, root=str(tmp_path / "t"), session=SESSION
    )
    (tmp_path / "t").mkdir()
    sandbox = await open_sandbox(
        spec, "bubblewrap", state=tmp_path / "state", project=tmp_path / "t", environ=dict(os.environ)
    )
    done = await sandbox.run("cat a && echo 2 > a && rm -r d && mkdir d && echo new > d/c && pwd")
    assert done.output == f"1{tmp_path}/t\n".encode()
    assert sorted(nodes(fork.tree)) == ["a", "d/c"]
    assert (layers.view / "a").read_text() == "1"
    await sandbox.aclose()
    copy = child(fork, tmp_path / "two")
    assert nodes(copy.tree) == nodes(fork.tree)
    fork.remove()
    assert not (tmp_path / "one").exists()
    mounts.close()
    assert not copy.tree.exists()
    assert not mount_points("overlay") or not [
        p for p in mount_points("overlay") if p.is_relative_to(tmp_path)
    ]


def test_the_helper_ends_with_pawl(tmp_path: Path) -> None:
    program = (
        "import os, signal\nfrom sandbox.overlay import HeldMounts\nmounts = HeldMounts()\n"
        "print(mounts.enter[4], flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    helper = Path("/proc") / done.stdout.decode().strip()
    deadline = time.monotonic() + 5
    while helper.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not helper.exists()


def test_what_the_helper_refuses_is_raised(tmp_path: Path, mounts: Mounts) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(FileNotFoundError):
        mounts.mount(tmp_path / "tree", [tmp_path / "missing"])
    mounts.unmount(tmp_path / "tree")
