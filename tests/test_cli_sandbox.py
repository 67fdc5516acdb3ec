"""`pawl sandbox info` and `prune`: what they say is what is there."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from sandbox import prune
from sandbox.base import Caps
from sandbox.selfcheck import checks
from tests.sandbox.places import ISOLATING, backends


def info(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["sandbox", "info", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("backend", backends(*ISOLATING))
def test_info_says_what_is_used_and_what_is_seen_inside(
    backend: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, facts = info(capsys, "--sandbox", backend)
    assert code == 0
    assert (facts["backend"], facts["reason"]) == (backend, f"{backend}, as asked for")
    assert {"kernel", "cgroups", "seccomp", "user namespaces"} <= set(facts["versions"])
    assert {"docker": "docker", "bubblewrap": "bwrap"}[backend] in facts["versions"]
    assert facts["inside"]["root"] == str(tmp_path)
    assert "/usr" in [mount["target"] for mount in facts["inside"]["mounts"]]
    assert Path(facts["inside"]["python"]).name == "python3"
    assert (facts["network"], facts["limits"]["pids"], facts["check"]) == ("none", 512, None)
    assert main(["sandbox", "info", "--sandbox", backend]) == 0
    shown = capsys.readouterr().out
    for text in (backend, "kernel", "read-only", "network", "120 s a command"):
        assert text in shown


@pytest.mark.parametrize("backend", backends(*ISOLATING))
def test_info_with_a_check_proves_it(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, facts = info(capsys, "--sandbox", backend, "--check")
    assert code == 0, facts["check"]
    assert facts["check"]["holds"]
    assert len(facts["check"]["results"]) == len(checks()) >= 50
    assert set(facts["check"]["caps"]) == set(Caps.__struct_fields__)


def test_the_host_itself_is_no_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "info", "--sandbox", "local", "--check"]) == 1
    shown = capsys.readouterr().out
    assert "not enforced  no network" in shown
    assert "processes" in shown
    assert main(["sandbox", "info", "--sandbox", "local"]) == 0


def test_without_a_sandbox_info_says_the_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    for words in (["info"], ["info", "--check", "--json"], ["shell"]):
        assert main(["sandbox", *words]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "bubblewrap" in err.splitlines()[-1]
    assert main(["sandbox", "info", "--sandbox", "dokcer"]) == 2


# --- prune -------------------------------------------------------------------------------------------------


@pytest.fixture
def state(isolated: Path) -> Path:
    """A state folder with what a crash leaves, what a living pawl uses, and what must stay."""
    state = isolated / "state"
    for session in ("crashed", "living"):
        for name in ("base/tree", "forks/1-a/tree", "shadow", "view", "accepts/1"):
            (state / "workspaces" / session / name).mkdir(parents=True)
        (state / "workspaces" / session / "base/tree/file").write_bytes(b"x" * 100_000)
        (state / "workspaces" / session / "accepts/1/0").write_bytes(b"pre-image")
        (state / "workspaces" / session / "lock").touch()
    (state / "sessions/p").mkdir(parents=True)
    (state / "sessions/p/crashed.jsonl").write_text("{}\n")
    (state / "etc-0123456789abcdef").mkdir()
    (state / "etc-0123456789abcdef/passwd").write_text("made up")
    (state / "home-abcdefgh/.bin").mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        folder = state / "model-server" / f"20260101T000000-{pid}-x"
        folder.mkdir(parents=True)
        (folder / "server.log").write_bytes(b"l" * 5000)
    return state


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_prune_only_looks_unless_told(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(state)
    assert main(["sandbox", "prune"]) == 0
    shown = capsys.readouterr().out
    assert "copies of session crashed" in shown
    assert "copies of session living" in shown  # nobody holds it now
    assert "etc-0123456789abcdef" in shown
    assert shown.count("model server") == 1
    assert "pawl sandbox prune --yes" in shown
    assert names(state) == before


def test_prune_removes_what_nobody_uses_and_nothing_else(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (state / "workspaces/living/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        living = names(state / "workspaces/living")
        assert main(["sandbox", "prune", "--yes"]) == 0
        shown = capsys.readouterr().out
        assert "living" not in shown
        assert "MB freed" in shown
        assert names(state / "workspaces/living") == living
    assert names(state / "workspaces/crashed") == {"lock", "accepts", "accepts/1", "accepts/1/0"}
    assert (state / "sessions/p/crashed.jsonl").exists()
    assert (state / "etc-0123456789abcdef/passwd").exists(), "a living pawl may show it"
    assert [path.name.split("-")[1] for path in (state / "model-server").iterdir()] == [str(os.getpid())]
    assert main(["sandbox", "prune", "--yes"]) == 0
    assert not (state / "etc-0123456789abcdef").exists()
    assert not (state / "home-abcdefgh").exists(), "of a pawl that was killed, without a sandbox"
    assert not list(state.glob("removed-*"))
    assert (state / "workspaces/living/accepts/1/0").exists()


def test_the_size_of_what_is_left_is_told(state: Path) -> None:
    found = asyncio.run(prune.leftovers(state))
    by_name = {leftover.name: leftover.bytes for leftover in found}
    assert 100_000 <= by_name["copies of session crashed"] < 300_000
    (state / "loop").symlink_to(state)
    assert prune.size(state) < 1_000_000


@pytest.mark.docker
def test_prune_finds_the_containers_of_a_dead_pawl(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sandbox.labels import host_label, owner_label

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    info(capsys, "--sandbox", "docker", "--check")  # makes the empty image
    ids = {}
    for name, label in (("dead", f"{gone.pid}:1"), ("living", owner_label())):
        labels = ["--label", f"pawl.owner={label}", "--label", f"pawl.host={host_label()}"]
        ids[name] = docker("create", *labels, "--label", f"pawl.session={name}", "pawl-empty:1", "/nothing")
    try:
        assert main(["sandbox", "prune"]) == 0
        shown = capsys.readouterr().out
        assert f"container {ids['dead'][:12]} of session dead" in shown
        assert ids["living"][:12] not in shown
        assert docker("ps", "-aq", "--no-trunc", "--filter", f"id={ids['dead']}")
        assert main(["sandbox", "prune", "--yes"]) == 0
        left = docker("ps", "-aq", "--no-trunc").split()
        assert ids["dead"] not in left
        assert ids["living"] in left
    finally:
        for container in ids.values():
            docker("rm", "-f", container)


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False).stdout.strip()


# --- set-ups -----------------------------------------------------------------------------------------------


@pytest.mark.bubblewrap
def test_info_says_what_sets_up_and_prune_what_is_kept(
    isolated: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("x\n")
    for path in ("node_modules/p/package.json", "env/pyvenv.cfg", "env/lib/setup.cfg", ".git/setup.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("of no weight for the set-up\n")
    monkeypatch.chdir(tmp_path)
    chosen = ("--sandbox", "bubblewrap")
    assert info(capsys, *chosen)[1]["setup"] is None
    monkeypatch.setenv("PAWL_SETUP", "mkdir .venv; touch .venv/pyvenv.cfg; : pip")
    wanted = {
        "command": os.environ["PAWL_SETUP"],
        "network": ["pypi.org:443", "files.pythonhosted.org:443"],
        "kept": False,
    }
    assert info(capsys, *chosen)[1]["setup"] == wanted
    options = ("--base-url", "http://127.0.0.1:9/v1", "-m", "m", *chosen)
    assert main(["fix", *options, "--", "test", "-f", ".venv/pyvenv.cfg"]) == 0
    capsys.readouterr()
    assert info(capsys, *chosen)[1]["setup"] == wanted | {"kept": True}
    assert main(["sandbox", "info", *chosen]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "pip (its result is kept) set-up network pypi.org:443, files.pythonhosted.org:443" in shown
    assert main(["sandbox", "prune"]) == 0
    assert f"for {tmp_path}, last used 20" in capsys.readouterr().out
    assert info(capsys, *chosen)[1]["setup"]["kept"], "only told"
    assert main(["sandbox", "prune", "--yes"]) == 0
    capsys.readouterr()
    assert not info(capsys, *chosen)[1]["setup"]["kept"]
    assert not list((isolated / "state" / "setups").iterdir())
