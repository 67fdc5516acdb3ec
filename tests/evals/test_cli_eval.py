"""`pawl eval` as a person types it: the smallest whole run, what stands in its way, and its exit codes."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.cli.main import main
from evals import cli
from evals.cli_progress import line
from evals.lease import Holder
from evals.store import Run
from evals.tally import Tally
from tests.evals import datasets
from tests.support.pawl import PAWL

SMOKE = ("smoke", "--sandbox", "bubblewrap", "--limit", "2")


def pawl_eval(*words: str) -> int:
    return main(["eval", *words])


def test_the_overview_names_every_command_and_loads_none() -> None:
    program = "import sys; from agent.cli.main import main; main(['eval', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1]
    assert all(f"  {name} " in done.stdout for name in cli.app.commands)
    loaded = {name.partition(".")[0] for name in modules.split()}
    assert loaded & {"ray", "docker", "typer", "rich", "msgspec", "asyncio", "httpx", "git"} == set()


def test_each_command_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command in cli.app.commands.values():
        assert pkgutil.resolve_name(command.target).__doc__
    assert pawl_eval("run", "--help") == 0
    assert "Usage: pawl eval run [OPTIONS] {BENCHMARK}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Usage: pawl eval COMMAND"),
        (("shwo",), "there is no command 'eval shwo'; did you mean show?"),
        (("xyz",), "there is no command 'eval xyz'; `pawl eval --help` lists the commands."),
        (("run", "humaneval"), "no benchmark is called 'humaneval'; there are"),
        (("run", "smoke", "-a", "nobody"), "mini-swe-agent, null, opencode"),
        (
            ("run", "smoke", "-a", "null", "--engine", "slurm"),
            "no engine is called 'slurm'; there are local, ray",
        ),
        (("run", "smoke", "-a", "null", "--only", "zz*"), "--only 'zz*' names no instance"),
        (("run", "smoke", "-a", "null", "--sandbox", "chroot"), "--sandbox: expected one of auto,"),
        (("run", "smoke", "-a", "null", "--set", "x"), "--set: expected KEY=VALUE, got 'x'"),
        (("run", "smoke", "-a", "null", "--record-tokens"), "--record-tokens: only pawl records them"),
        (("run", "swebench", "--dataset", "gone.jsonl"), "gone.jsonl is not there"),
        (("export", "gone", "--format", "atif", "--out", "x"), "there is no run in gone"),
        (("resume", "gone"), "there is no run in gone"),
        (("show", "gone"), "there is no run in gone"),
        (("clean", "gone"), "there is no run in gone"),
    ],
)
def test_bad_input_is_said_with_exit_code_2(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pawl_eval(*words) == 2
    assert said in "".join(capsys.readouterr())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.bubblewrap
def test_the_reference_solves_and_nothing_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pawl_eval("run", *SMOKE, "-a", "oracle", "--out", "runs/o", "--fail-under", "100") == 0
    assert "2 of 2 scored · 100.0 % [34.2, 100.0]" in capsys.readouterr().err
    assert pawl_eval("run", *SMOKE, "-a", "null", "--out", "runs/n", "--fail-under", "1") == 3
    assert "0.0 % are resolved, under 1 %" in capsys.readouterr().err
    run = Run.open(Path("runs/o"))
    assert run.manifest.agent.name == "oracle"
    assert run.manifest.backend == "bubblewrap"
    assert all(
        "passed" in path.read_text() for path in Path("runs/o").glob("attempts/*/graded/test_output.txt")
    )

    assert pawl_eval("list") == 0
    shown = capsys.readouterr().out
    assert "2 of 2 scored, 2 resolved  oracle" in shown
    assert "smoke" in shown and "null" in shown and "local" in shown
    assert pawl_eval("show", "runs/o") == 0
    assert "2 of 2 units scored by " in capsys.readouterr().out
    assert pawl_eval("show", "runs/o", run.units()[0].instance) == 0
    assert "resolved, reward 1" in capsys.readouterr().out
    assert pawl_eval("show", "runs/o", "nobody") == 2

    scores = {path.name for path in Path("runs/o/scores").iterdir()}
    assert pawl_eval("report", "runs/o") == 0
    report = Path("runs/o/report.json").read_bytes()
    shutil.rmtree("runs/o/scores")
    assert pawl_eval("score", "runs/o") == 0
    assert {path.name for path in Path("runs/o/scores").iterdir()} == scores
    assert pawl_eval("report", "runs/o") == 0
    assert Path("runs/o/report.json").read_bytes() == report

    capsys.readouterr()
    assert pawl_eval("run", *SMOKE, "-a", "null", "--out", "runs/o") == 2
    assert "agent.name: 'oracle', now 'null'" in capsys.readouterr().err
    assert pawl_eval("resume", "runs/o") == 0
    assert pawl_eval("clean", "runs/o", "--run") == 2
    assert pawl_eval("clean", "runs/o", "--run", "--yes") == 0
    assert not Path("runs/o").exists()


@pytest.mark.bubblewrap
def test_a_budget_of_nothing_is_exit_code_4_and_resume_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pawl_eval("run", *SMOKE, "-a", "null", "--out", "n", "--max-cost", "0") == 4
    said = capsys.readouterr().err
    assert "the budget of 0 USD is used up; 2 of 2 units are left: pawl eval resume n" in said
    manifest = Path("n/run.json")
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"dataset_hash": "', '"dataset_hash": "0'))
    assert pawl_eval("resume", "n", "--max-cost", "1") == 2
    assert "n is a run with other settings" in (said := capsys.readouterr().err)
    assert "dataset_hash: '0" in said
    manifest.write_text(whole.replace('"format": 1', '"format": 9'))
    assert pawl_eval("resume", "n", "--max-cost", "1") == 2
    assert "n/run.json has format 9, this pawl reads format 1" in capsys.readouterr().err
    manifest.write_text(whole)
    with Run.open(Path("n")).held():
        assert pawl_eval("resume", "n", "--max-cost", "1") == 1
        assert (
            f"n is being worked on by process {os.getpid()} on {Holder.me().host}" in capsys.readouterr().err
        )
    assert pawl_eval("resume", "n", "--max-cost", "1") == 0
    assert "2 of 2 scored" in capsys.readouterr().err


@pytest.mark.bubblewrap
def test_an_interrupt_drains_and_leaves_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    words = [PAWL, "eval", "run", "smoke", "--sandbox", "bubblewrap", "-a", "oracle", "-j", "1"]
    words += ["--limit", "3", "--out", "r"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("r/attempts/*/1.started")):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finishing what is under way" in said
    assert "units are left: pawl eval resume r" in said
    done = subprocess.run(
        [PAWL, "eval", "resume", "r", "--fail-under", "100"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("r/scores/*.json"))) == 3


@pytest.mark.bubblewrap
def test_what_went_wrong_is_said_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = datasets.folder(tmp_path / "tasks")
    task = (source / "shout.toml").read_text()
    (source / "shout.toml").write_text(re.sub(r"command = .*", 'command = ["no-such-program"]', task))
    out = str(tmp_path / "run")
    assert pawl_eval("run", str(source), "-a", "null", "--sandbox", "bubblewrap", "--out", out) == 0
    said = capsys.readouterr().err
    assert "1 of 1 scored · 0.0 % [0.0, 79.3] · 1 not graded" in said
    assert "the first error: shout: the test command cannot be started: no-such-program" in said
    task += '[environment]\npython = "3.99"\n'
    (source / "shout.toml").write_text(task)
    assert pawl_eval("check", str(source), "--sandbox", "bubblewrap") == 3
    assert "no Python 3.99 is on this machine; install it" in capsys.readouterr().err


def test_the_progress_line_says_the_rate_and_its_interval() -> None:
    tally = Tally(planned=40, scored=12, resolved=5, running=3, retried=2, paused="provider_error")
    tally.ends["engine_error"] = 1
    assert line(tally) == (
        "12 of 40 scored · 41.7 % [19.3, 68.0] · 3 running · 1 errors · 2 tried again"
        " · paused: provider error"
    )
    assert line(Tally(planned=2, scored=2, ungraded=2)).endswith("[0.0, 65.8] · 2 not graded")
    assert line(Tally(planned=40)) == "0 of 40 scored"


def test_the_worker_is_a_command_of_its_own(tmp_path: Path) -> None:
    """Work as JSON on stdin; the parcel on stdout, whatever is printed."""
    import msgspec

    from evals.engine import SCORE, Parcel
    from tests.support.works import instance, work

    words = [sys.executable, "-P", "-m", "evals.worker"]
    encoded = msgspec.json.encode(work(instance(), SCORE))
    done = subprocess.run(words, input=encoded, capture_output=True, cwd=tmp_path, check=True, timeout=60)
    parcel = msgspec.msgpack.decode(done.stdout, type=Parcel)
    assert json.loads(parcel.record)["error"], "there is no such tree, and no such sandbox"
