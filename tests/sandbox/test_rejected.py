"""Patches that nobody applied: kept for two weeks, then swept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agent.cli.main import main
from sandbox.patch import FileChange, Patch
from sandbox.rejected import KEPT_DAYS, keep, outdated, sweep

PATCH = Patch((FileChange("a.txt", b"old\n", b"new\n", 0o100644, 0o100644, b"@@ -1 +1 @@\n-old\n+new\n"),))


def aged(state: Path, place: str, name: str, days: float) -> Path:
    folder = state / place
    folder.mkdir(parents=True, exist_ok=True)
    file = keep(folder, name, PATCH)
    then = time.time() - days * 86400
    os.utime(file, (then, then))
    return file


def test_only_patches_of_more_than_two_weeks_go(tmp_path: Path) -> None:
    session = "sessions/project-1/20260101/artifacts"
    young = aged(tmp_path, session, "attempt-1", KEPT_DAYS - 0.1)
    old = aged(tmp_path, session, "attempt-2", KEPT_DAYS + 0.1)
    shell = aged(tmp_path, "shells", "shell-1", KEPT_DAYS + 0.1)
    log = aged(tmp_path, session, "x", 100).rename(tmp_path / session / "bash-1.log")
    assert b"+new" in young.read_bytes()
    assert set(outdated(tmp_path)) == {old, shell}
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*.*")) == sorted([young, log])


def test_prune_lists_them_and_removes_them_with_yes(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = aged(isolated / "state", "sessions/project-1/20260101/artifacts", "candidate", 15)
    young = aged(isolated / "state", "sessions/project-1/20260101/artifacts", "verified", 13)
    assert main(["sandbox", "prune"]) == 0
    said = capsys.readouterr().out
    assert f"{old}, over 14 days old" in said
    assert str(young) not in said
    assert old.exists()
    assert main(["sandbox", "prune", "--yes"]) == 0
    assert not old.exists()
    assert young.exists()
