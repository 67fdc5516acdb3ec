"""`pawl doctor`: what it finds here, and that its exit code is to be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.cli.doctor import CHECKS
from agent.cli.main import main


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither git nor docker nor bubblewrap."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")


def doctor(capsys: pytest.CaptureFixture[str], *names: str) -> tuple[int, dict[str, dict[str, object]]]:
    code = main(["doctor", "--json", *names])
    report = json.loads(capsys.readouterr().out)
    assert report["ready"] == (code == 0)
    return code, report["checks"]


def test_every_check_is_made_and_a_missing_one_has_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = doctor(capsys)
    assert list(checks) == list(CHECKS)
    failed = [found for found in checks.values() if not found["ok"]]
    assert all(found["remedy"] for found in failed)
    assert code == int(any(found["required"] for found in failed))


@pytest.mark.usefixtures("bare")
def test_without_a_sandbox_it_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = doctor(capsys)
    assert code == 1
    assert {name for name, found in checks.items() if not found["ok"]} >= {
        "git",
        "sandbox",
        "docker",
        "bubblewrap",
    }
    assert "bubblewrap" in str(checks["sandbox"]["remedy"])
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "missing  sandbox" in shown
    assert "absent   docker" in shown
    assert "Not ready" in shown


@pytest.mark.usefixtures("bare")
def test_a_check_that_is_asked_for_by_name_must_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(capsys, "docker")[0] == 1
    assert doctor(capsys, "python", "state")[0] == 0


@pytest.mark.docker
def test_docker_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(capsys, "docker", "sandbox")[0] == 0


@pytest.mark.bubblewrap
def test_bubblewrap_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(capsys, "bubblewrap", "sandbox")[0] == 0


def test_weights_that_are_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAWL_MODEL", "local/smollm2-135m")
    code, checks = doctor(capsys, "model")
    assert code == 1
    assert checks["model"]["remedy"] == "pawl models pull smollm2-135m"


@pytest.mark.model
def test_weights_that_are_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_MODEL", "smollm2-135m")
    assert doctor(capsys, "model")[0] == 0


@pytest.mark.parametrize(
    ("model", "key", "code"),
    [
        ("openai/some-model", "", 1),
        ("openai/some-model", "secret-key", 0),
        ("opnai/some-model", "secret-key", 1),
        ("http://127.0.0.1:9/v1", "", 1),
        ("./no-such-file.gguf", "", 1),
    ],
)
def test_a_configured_model_is_looked_at(
    model: str, key: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAWL_MODEL", model)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    seen, checks = doctor(capsys, "model")
    assert seen == code
    assert "secret-key" not in json.dumps(checks)


def test_broken_settings_are_shown_with_their_line(
    capsys: pytest.CaptureFixture[str], isolated: Path
) -> None:
    file = isolated / "config" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("\nmodle = 1\n")
    code, checks = doctor(capsys, "config")
    assert code == 1
    assert f"{file}:2: unknown setting `modle`" in str(checks["config"]["seen"])


def test_a_state_folder_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAWL_HOME", str(tmp_path / "file"))
    code, checks = doctor(capsys, "state", "space")
    assert (code, checks["state"]["ok"]) == (1, False)
    assert "PAWL_HOME" in str(checks["state"]["remedy"])


def test_an_unknown_check_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "dokcer"]) == 2
    assert "expected some of python, git, sandbox" in capsys.readouterr().err
