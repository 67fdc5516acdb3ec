"""Programs of the host are never taken from a workspace, however the PATH leads there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import programs
from sandbox.base import SandboxUnavailable
from sandbox.shadow import Shadow
from sandbox.tree import remove_path


def plant(folder: Path, *names: str) -> Path:
    """Programs that leave a mark beside themselves when they are run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f'#!/bin/sh\ntouch "{folder}/{name}.ran"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, a subfolder of a repository."""
    monkeypatch.setattr(programs, "_workspaces", set())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "repository" / "project"
    plant(folder / "bin", "tool")
    plant(folder, "tool")
    plant(folder.parent / "bin", "tool")
    (folder.parent / ".git").mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "entry", ["", ".", "./bin", "bin", "{}/bin", "{}", "{}/../bin", "{}/x/../bin", "{}/link"]
)
def test_no_entry_of_the_path_leads_into_the_workspace(project: Path, tmp_path: Path, entry: str) -> None:
    good = plant(tmp_path / "good", "tool")
    (project / "link").symlink_to("bin")
    (project / "x").mkdir()
    path = {"PATH": f"{entry.format(project)}:{good}"}
    assert programs.find("tool", path) == str(good / "tool")
    assert programs.search_path(path) == str(good)
    assert programs.environment({"A": "b", **path}) == {"A": "b", "PATH": str(good)}


def test_a_link_into_the_workspace_is_not_followed(project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "tool").symlink_to(project / "bin" / "tool")
    (tmp_path / "folder").symlink_to(project / "bin")
    assert programs.find("tool", {"PATH": f"{outside}:{tmp_path}/folder"}) is None
    assert programs.find("./bin/tool", {"PATH": "/usr/bin"}) is None


def test_a_workspace_elsewhere_counts_once_it_is_known(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    path = {"PATH": f"{project}/bin"}
    assert programs.find("tool", path, tmp_path / "other")
    assert programs.find("tool", path, project) is None
    programs.distrust(project)
    assert programs.find("tool", path) is None


def test_the_home_folder_and_the_system_are_the_persons_own(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = plant(tmp_path / "home" / ".local" / "bin", "tool")
    monkeypatch.chdir(tmp_path / "home")
    assert programs.find("tool", {"PATH": str(local)}) == str(local / "tool")
    monkeypatch.chdir("/usr")
    assert programs.find("sh", {"PATH": "/usr/bin"}) == "/usr/bin/sh"


def test_what_is_needed_and_not_there_has_a_remedy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "./bin:")
    with pytest.raises(SandboxUnavailable, match="tool is not installed") as caught:
        programs.need("tool")
    assert "tool" in caught.value.remedy


@pytest.mark.parametrize("entry", ["", "./bin", "{}/bin"])
def test_pawls_own_work_runs_nothing_of_the_workspace(
    project: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    for folder in (project, project / "bin"):
        plant(folder, "git", "rm", "chmod", "nsenter")
    monkeypatch.setenv("PATH", f"{entry.format(project)}:{os.environ['PATH']}")
    Shadow(project / "shadow").ignored(["a"], {".gitignore": b"a"})
    remove_path(project / "shadow")
    assert list(project.rglob("*.ran")) == []


@pytest.mark.parametrize("entry", ["", "./bin", "{}/bin"])
def test_the_command_runs_nothing_of_the_workspace(project: Path, isolated: Path, entry: str) -> None:
    for folder in (project, project / "bin"):
        plant(folder, "bwrap", "git", "docker", "python3", "pip", "nsenter", "node")
    for words in (["doctor"], ["sandbox", "info", "--sandbox", "bubblewrap"]):
        subprocess.run(
            [sys.executable, "-P", "-m", "agent", *words],
            cwd=project,
            env=os.environ | {"PATH": f"{entry.format(project)}:{os.environ['PATH']}"},
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert list(project.rglob("*.ran")) == []
