"""Which backend is taken, what is said when none can be, and what docker does about its leftovers."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import daemon, remedy
from sandbox.base import SandboxSpec, SandboxUnavailable
from sandbox.open import choose, known_backends, load, open_sandbox, owner
from tests.sandbox.places import opened

DEBIAN = 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\n'


def test_backends_are_found_by_listing_the_folder() -> None:
    assert known_backends() == ["bubblewrap", "docker", "local"]
    for name in known_backends():
        module = load(name)  # type: ignore[arg-type]
        assert module.name == name
        for function in ("available", "open", "owner", "remedy"):
            assert callable(getattr(module, function))


@pytest.mark.parametrize(
    ("release", "command"),
    [
        (DEBIAN, "apt-get install -y bubblewrap"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt-get install -y bubblewrap"),
        ("ID=fedora\n", "dnf install -y bubblewrap"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install -y bubblewrap"),
        ("ID=arch\n", "pacman -S --noconfirm bubblewrap"),
        ("ID=alpine\n", "apk add bubblewrap"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper --non-interactive install bubblewrap"),
    ],
)
def test_the_remedy_is_this_systems_command(release: str, command: str) -> None:
    assert remedy.install("bubblewrap", release, root=True) == command
    assert remedy.install("bubblewrap", release, root=False) == f"sudo {command}"


def test_an_unknown_system_is_told_what_to_install() -> None:
    assert "bubblewrap" in remedy.install("bubblewrap", "ID=plan9\n")
    assert "bubblewrap" in remedy.install("bubblewrap", "")


def test_each_trouble_with_docker_has_its_remedy() -> None:
    assert "usermod" in remedy.for_docker("no permission to use the docker daemon (/var/run/docker.sock)")
    assert "start docker" in remedy.for_docker("no docker daemon is running on this machine")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with neither a docker daemon nor bubblewrap."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.anyio
@pytest.mark.usefixtures("bare")
async def test_with_neither_there_is_a_remedy_and_never_the_host(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable) as caught:
        await choose()
    assert "docker" in str(caught.value)
    assert "bwrap" in str(caught.value)
    assert caught.value.remedy == remedy.install("bubblewrap")
    spec = SandboxSpec(tree=tmp_path, root=str(tmp_path), session="test")
    for backend in ("auto", "docker", "bubblewrap"):
        with pytest.raises(SandboxUnavailable):
            await open_sandbox(spec, backend, state=tmp_path, project=tmp_path)  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.usefixtures("bare")
async def test_the_host_is_taken_when_asked_for_by_name() -> None:
    assert (await choose("local")).backend == "local"


@pytest.mark.anyio
async def test_a_daemon_that_is_no_daemon_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(SandboxUnavailable, match="docker"):
        await choose("docker")


@pytest.mark.anyio
async def test_a_socket_that_nobody_answers_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale.sock"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/stale.sock")
    with pytest.raises(SandboxUnavailable, match="does not answer") as caught:
        await choose("docker")
    assert caught.value.remedy == "sudo systemctl start docker"


@pytest.mark.anyio
async def test_a_docker_that_is_silent_or_elsewhere_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend = load("docker")
    monkeypatch.setattr(daemon, "_PROBE_S", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/silent.sock")
        assert await backend.available() == "the docker daemon does not answer: it takes too long"
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    reason = await backend.available() or ""
    assert reason.startswith("DOCKER_HOST is tcp://192.0.2.1:2375, and pawl uses docker only over a unix")
    assert remedy.for_docker(reason).startswith("unset DOCKER_HOST")


@pytest.mark.anyio
@pytest.mark.docker
async def test_docker_refuses_a_folder_that_it_cannot_name(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"bad\xff")
    folder.mkdir()
    with pytest.raises(SandboxUnavailable, match=r"bad\\udcff/project, as its name is not UTF-8"):
        async with opened("docker", folder):
            pass


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_without_docker_bubblewrap_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    choice = await choose()
    assert choice.backend == "bubblewrap"
    assert choice.reason == "no docker daemon is running on this machine; bubblewrap is used"


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_a_bubblewrap_that_does_not_work_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxUnavailable, match="No permissions") as caught:
        await choose("bubblewrap")
    assert caught.value.remedy


@pytest.mark.anyio
@pytest.mark.docker
async def test_docker_is_taken_first() -> None:
    assert (await choose()).backend == "docker"


@pytest.mark.parametrize("name", known_backends())
def test_the_owner_of_a_tree_is_known(name: str) -> None:
    uid, gid = owner(name)  # type: ignore[arg-type]
    assert uid >= 0
    assert gid >= 0
    assert (name == "docker" and os.geteuid() == 0) <= (uid == 1000)


# --- docker's leftovers --------------------------------------------------------------------------


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False).stdout.strip()


@pytest.mark.anyio
@pytest.mark.docker
async def test_containers_of_a_dead_pawl_are_swept_and_others_are_not(tmp_path: Path) -> None:
    from sandbox.labels import host_label, owner_label

    async with opened("docker", tmp_path):  # makes the empty image
        pass
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    labels = {
        "dead": (f"{gone.pid}:1", host_label()),
        "reused": (f"{os.getpid()}:1", host_label()),
        "living": (owner_label(), host_label()),
        "elsewhere": (f"{gone.pid}:1", "another-boot:1"),
    }
    ids = {}
    for name, (who, where) in labels.items():
        words = ["--label", f"pawl.owner={who}", "--label", f"pawl.host={where}"]
        ids[name] = docker("create", *words, "pawl-empty:1", "/nothing")
    try:
        async with opened("docker", tmp_path):
            left = docker("ps", "-aq", "--no-trunc").split()
        assert [name for name, container in ids.items() if container in left] == ["living", "elsewhere"]
    finally:
        for container in ids.values():
            docker("rm", "-f", container)


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_an_image_needs_docker(tmp_path: Path) -> None:
    spec = SandboxSpec(tree=tmp_path, root=str(tmp_path), session="test", image="x")
    with pytest.raises(SandboxUnavailable, match="docker"):
        await open_sandbox(spec, "bubblewrap", state=tmp_path, project=tmp_path)


@pytest.mark.anyio
async def test_local_says_that_it_isolates_nothing() -> None:
    assert "commands reach all of this machine" in (await choose("local")).reason
