"""What a crash of one pawl left behind does not stand in the way of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agent.cli.main import main
from sandbox.base import SandboxError
from sandbox.sweep import Swept
from sandbox.workspace import Workspace
from tests.support.model_server import ModelServer
from tests.support.pawl import run_pawl
from tests.support.trees import make, nodes

pytestmark = pytest.mark.anyio


async def cut_off(tree: Path, state: Path) -> Path:
    """An accept that changed `a`, as if it had been cut off just before its end; gives its folder."""
    make(tree, {"a": "old"})
    workspace = await Workspace.open(tree, state)
    fork = await workspace.fork("one")
    make(fork.tree, {"a": "new"})
    await workspace.accept(await fork.diff())
    await workspace.aclose()
    journal = next((state / "accepts").glob("*/done.json"))
    journal.rename(journal.with_name("journal.json"))
    return journal.parent


async def test_what_cannot_be_put_back_is_told_and_stays_until_prune_gives_it_up(
    isolated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = isolated / "state/workspaces"
    gone = await cut_off(tmp_path / "gone", states / "1")
    shutil.rmtree(tmp_path / "gone")
    damaged = await cut_off(tmp_path / "damaged", states / "2")
    (damaged / "journal.json").write_text('{"tree": "')
    lost = await cut_off(tmp_path / "lost", states / "3")
    (lost / "0.before").unlink()
    await cut_off(tmp_path / "fine", states / "4")
    make(states, {"1/base/tree/x": "a copy"})

    swept = await Workspace.sweep(states)
    assert swept.restored == ("a",) and (tmp_path / "fine/a").read_text() == "old"
    for told, why, place in zip(
        swept.stuck,
        (f"{tmp_path / 'gone'} is gone", "its journal is damaged", "the old content of a is lost"),
        (gone, damaged, lost),
        strict=True,
    ):
        assert why in told and str(place) in told and "`pawl sandbox prune`" in told
    assert (gone / "0.before").read_text() == (damaged / "0.before").read_text() == "old"
    assert not (states / "1/base").exists()
    with pytest.raises(SandboxError, match="damaged"):
        await Workspace.undo_accept(states / "2")

    assert main_in_thread("sandbox", "prune") == 0
    shown = capsys.readouterr().out
    assert all(f"change that was cut off, {place}: " in shown for place in (gone, damaged, lost))
    assert (gone / "0.before").exists()
    assert main_in_thread("sandbox", "prune", "--yes") == 0
    assert not any(place.exists() for place in (gone, damaged, lost))
    assert (await Workspace.sweep(states)) == Swept()


def main_in_thread(*words: str) -> int:
    """The command, which has an event loop of its own."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(main, list(words)).result()


async def test_a_folder_that_cannot_be_written_now_is_no_reason_to_give_up(
    isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = await cut_off(tmp_path / "t", isolated / "state/workspaces/1")
    (place / "0.before").unlink()
    (place / "0.before").mkdir()  # it is there, and cannot be read
    swept = await Workspace.sweep(isolated / "state/workspaces")
    assert len(swept.stuck) == 1 and "Is a directory" in swept.stuck[0]
    assert main_in_thread("sandbox", "prune", "--yes") == 0
    assert (place / "journal.json").exists()


@pytest.mark.bubblewrap
async def test_a_run_elsewhere_goes_on_with_a_warning(isolated: Path, tmp_path: Path) -> None:
    await cut_off(tmp_path / "gone", isolated / "state/workspaces/1")
    shutil.rmtree(tmp_path / "gone")
    project = make(tmp_path / "project", {"f": "1"})
    async with ModelServer(["It is one."]) as server:
        words = ("--sandbox", "bubblewrap", "--base-url", server.base_url, "-m", "m")
        done = await run_pawl("run", "what is f?", *words, cwd=project)
    assert (done.code, done.out) == (0, "It is one.\n"), done.err
    told = " ".join(done.err.split())
    assert f"{tmp_path / 'gone'} is gone" in told and "pawl sandbox prune" in told
    assert nodes(project) == {"f": (0o100644, b"1")}
