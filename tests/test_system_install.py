"""`.ci/system-install`, which `make` calls for what pip cannot bring, with made-up package managers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "system-install"


class System:
    """A PATH that holds nothing but what is put there; every program notes how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.notes = folder / "notes"
        self.folder.mkdir()
        (self.folder / "env").symlink_to(shutil.which("env") or "/usr/bin/env")

    def add(self, name: str, answer: str = "", code: int = 0) -> None:
        program = self.folder / name
        lines = ["#!/bin/sh", f'echo "{name} $*" >>{self.notes}', f"echo {answer}", f"exit {code}"]
        program.write_text("\n".join(lines))
        program.chmod(0o755)

    def install(self, *packages: str) -> tuple[int, str, list[str]]:
        done = subprocess.run(
            [SCRIPT, *packages],
            env={"PATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.stdout == ""
        calls = self.notes.read_text().splitlines() if self.notes.exists() else []
        return done.returncode, done.stderr, [call for call in calls if not call.startswith("id ")]


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.mark.parametrize(
    ("manager", "calls"),
    [
        ("apt-get", ["apt-get update -q", "apt-get install -q -y --no-install-recommends bubblewrap git"]),
        ("dnf", ["dnf install -y bubblewrap git"]),
        ("pacman", ["pacman -Sy --noconfirm --needed bubblewrap git"]),
        ("apk", ["apk add bubblewrap git"]),
        ("zypper", ["zypper --non-interactive install bubblewrap git"]),
    ],
)
def test_root_installs_with_the_manager_that_is_there(system: System, manager: str, calls: list[str]) -> None:
    system.add("id", "0")
    system.add(manager)
    code, _, called = system.install("bubblewrap", "git")
    assert (code, called) == (0, calls)


def test_sudo_without_a_password_is_used(system: System) -> None:
    system.add("id", "1000")
    system.add("sudo")
    system.add("dnf")
    code, _, called = system.install("bubblewrap")
    assert code == 0
    assert called[-1] == "sudo -n env DEBIAN_FRONTEND=noninteractive dnf install -y bubblewrap"


def test_otherwise_the_one_command_is_said(system: System) -> None:
    system.add("id", "1000")
    system.add("sudo", code=1)
    system.add("apk")
    code, said, called = system.install("bubblewrap")
    assert code == 1
    assert "please run: sudo apk add bubblewrap" in said
    assert called == ["sudo -n true"]


def test_a_failing_manager_fails_the_script(system: System) -> None:
    system.add("id", "0")
    system.add("apt-get", code=100)
    assert system.install("bubblewrap")[0] == 100


def test_an_unknown_system_is_told_what_is_needed(system: System) -> None:
    code, said, _ = system.install("bubblewrap")
    assert code == 1
    assert "please install: bubblewrap" in said
