"""Undo and redo in a fork: exact, whatever was done and by whom."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.base import SandboxError, SandboxSpec
from sandbox.history import History
from sandbox.open import open_sandbox, owner
from sandbox.workspace import Fork, Workspace
from tests.sandbox.places import ISOLATING, SESSION, backends, open_fork
from tests.support.trees import Shape, make, shape

pytestmark = pytest.mark.anyio


async def begun(place: Path, files: dict[str, str]) -> tuple[Workspace, Fork, History]:
    workspace, fork = await open_fork(make(place / "t", dict(files)), place / "state")
    history = History(fork)
    assert await history.record("start") == ()
    return workspace, fork, history


async def test_steps_go_back_and_forth(tmp_path: Path) -> None:
    workspace, fork, history = await begun(tmp_path, {"a": "1", "d/x": "1"})
    shapes = [shape(fork.tree)]
    assert await history.undo() == await history.redo() == ()
    make(fork.tree, {"a": "2", "new/y": "1"})
    assert await history.record("one") == ("a", "new/", "new/y")
    shapes.append(shape(fork.tree))
    shutil.rmtree(fork.tree / "d")
    shapes.append(shape(fork.tree))
    assert await history.undo() == ("d/", "d/x"), "what was done since the last record is a step as well"
    assert shape(fork.tree) == shapes[1]
    assert await history.undo() == ("a", "new/", "new/y")
    assert shape(fork.tree) == shapes[0]
    assert await history.undo() == ()
    assert await history.redo() == ("a", "new/", "new/y")
    assert await history.redo() == ("d/", "d/x")
    assert shape(fork.tree) == shapes[2]
    assert await history.redo() == ()
    await workspace.aclose()


async def test_what_is_done_after_an_undo_ends_the_redo(tmp_path: Path) -> None:
    workspace, fork, history = await begun(tmp_path, {"a": "1"})
    make(fork.tree, {"a": "2"})
    await history.record("one")
    await history.undo()
    assert await history.record("nothing happened") == ()
    assert await history.redo() == ("a",)
    await history.undo()
    make(fork.tree, {"a": "3"})
    assert await history.redo() == ()
    assert (fork.tree / "a").read_text() == "3"
    assert await history.undo() == ("a",)
    assert (fork.tree / "a").read_text() == "1"
    await workspace.aclose()


async def test_litter_and_times_are_no_step(tmp_path: Path) -> None:
    workspace, fork, history = await begun(tmp_path, {"a": "1"})
    make(fork.tree, {"a": "2"})
    await history.record("one")
    make(fork.tree, {"pkg/__pycache__/m.pyc": "c", ".pytest_cache/v": "c", ".coverage": "c"})
    (fork.tree / "pkg/__pycache__/m.pyc").rename(fork.tree / "m.pyc")
    shutil.rmtree(fork.tree / "pkg")
    os.utime(fork.tree / "a", ns=(0, 0))
    assert await history.record("tests were run") == ()
    littered = shape(fork.tree)
    assert await history.undo() == (".coverage", ".pytest_cache/", ".pytest_cache/v", "a", "m.pyc")
    assert set(shape(fork.tree)) == {".", "a"}
    await history.redo()
    assert shape(fork.tree) == littered
    await workspace.aclose()


async def test_a_restore_that_fails_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, fork, history = await begun(tmp_path, {"a": "1", "b": "1"})
    before = shape(fork.tree)
    make(fork.tree, {"a": "2", "b": "2"})
    put = "sandbox.beneath.Beneath.put"

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(put, fail)
        with pytest.raises(SandboxError, match="No space left"):
            await history.undo()
    assert await history.undo() == ("a", "b")
    assert shape(fork.tree) == before
    await workspace.aclose()


@pytest.mark.parametrize("backend", backends(*ISOLATING))
async def test_what_the_shell_did_is_undone(tmp_path: Path, backend: str) -> None:
    tree = make(tmp_path / "t", {"src/a.py": "1\n", "run.sh": (0o100755, b"#!/bin/sh\n"), "data/x": "1"})
    workspace = await Workspace.open(tree, tmp_path / "state", owner=owner(backend))  # type: ignore[arg-type]
    fork = await workspace.fork("one")
    history = History(fork)
    await history.record("start")
    before = shape(fork.tree)
    spec = SandboxSpec(tree=fork.tree, root=fork.root, session=SESSION)
    sandbox = await open_sandbox(spec, backend, state=tmp_path / "s", project=tree, environ=dict(os.environ))  # type: ignore[arg-type]
    script = "rm -rf data; ln -s src data; chmod 600 run.sh; mkdir -m 0 locked; cd src && touch n1 n2 n3"
    try:
        assert (await sandbox.run(script)).ok
        after = shape(fork.tree)
        await history.undo()
        assert shape(fork.tree) == before
        listed = await sandbox.run("ls -A . src data; echo 2 > src/a.py; cat src/a.py")
        assert listed.ok and listed.output.split() == b".: data run.sh src data: x src: a.py 2".split()
        await history.undo()
        assert shape(fork.tree) == before
        assert (await sandbox.run("cat src/a.py data/x")).output == b"1\n1"
    finally:
        await sandbox.aclose()
    assert after != before
    await workspace.aclose()


EDITS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("a", "b", "d/x")), st.binary(min_size=1, max_size=3)),
        st.sampled_from(("undo", "redo", "record")),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(edits=EDITS)
def test_it_is_a_line_of_states_with_a_place_on_it(
    tmp_path_factory: pytest.TempPathFactory, edits: list[object]
) -> None:
    async def run(place: Path) -> None:
        workspace, fork, history = await begun(place, {"a": "1"})
        line: list[Shape] = [shape(fork.tree)]
        at = 0
        for edit in edits:
            if isinstance(edit, tuple):
                make(fork.tree, {edit[0]: edit[1]})
                continue
            if contents(shape(fork.tree)) != contents(line[at]):
                line[at + 1 :] = [shape(fork.tree)]
                at += 1
            line[at] = shape(fork.tree)
            if edit != "record":
                at = min(max(at + (1 if edit == "redo" else -1), 0), len(line) - 1)
            await getattr(history, str(edit))(*["x"] * (edit == "record"))
            assert shape(fork.tree) == line[at]
        await workspace.aclose()

    asyncio.run(run(tmp_path_factory.mktemp("history")))


def contents(tree: Shape) -> dict[str, tuple[int, bytes]]:
    return {path: (mode, content) for path, (mode, _, content) in tree.items()}
