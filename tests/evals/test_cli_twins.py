"""`pawl eval twins`: a dataset that stands by itself, whose run tells what other names cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.benchmark import DatasetError
from evals.benchmarks import twins
from evals.contamination import says_canary
from evals.types import Folder
from tests.support.pawl import run_pawl


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_a_run_of_it_reports_the_paired_drop(tmp_path: Path) -> None:
    only = ("--only", "leap-year", "--only", "running-mean")
    made = await run_pawl("eval", "twins", "smoke", *only, "--out", "made", cwd=tmp_path)
    assert (made.code, made.out) == (0, "1 of 2 tasks have a twin; pawl eval run made\n"), made
    assert "leap-year: has no twin" in made.err
    (tmp_path / "made").rename(tmp_path / "moved")
    task, twin = twins.load(tmp_path / "moved")
    assert (task.id, twin.id, twin.extra["twin_of"]) == ("running-mean", "running-mean.twin", "running-mean")
    assert isinstance(twin.tree, Folder) and twin.tree.path.startswith(str(tmp_path / "moved"))
    assert task.canary == twin.canary != ""
    assert says_canary(task.canary, [(tmp_path / "moved" / "CANARY").read_text()])
    words = ("-a", "oracle", "--sandbox", "bubblewrap", "--out", "r", "--fail-under", "100")
    done = await run_pawl("eval", "run", "moved", *words, cwd=tmp_path)
    assert done.code == 0, done.err
    report = await run_pawl("eval", "report", "r", cwd=tmp_path)
    assert "1 tasks with renamed identifiers: 100.0 % before, 100.0 % after; drop +0.0 points" in report.out


@pytest.mark.anyio
async def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    full = await run_pawl("eval", "twins", "smoke", "--out", "full", cwd=tmp_path)
    assert (full.code, "full is not empty; choose another --out" in full.err) == (2, True)
    none = await run_pawl("eval", "twins", "smoke", "--only", "leap-year", "--out", "none", cwd=tmp_path)
    assert (none.code, "none of the 1 tasks has a twin" in none.err) == (2, True)
    assert list((tmp_path / "none").iterdir()) == []


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "trees").mkdir()
    (tmp_path / "tasks.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(DatasetError, match=r"tasks\.jsonl:1: Expected `str`, got `int`"):
        twins.load(tmp_path)
