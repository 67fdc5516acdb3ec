"""The run's folder: first writer wins, one runner, another version, a full disk, death at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Usage
from evals import lease
from evals.commit import CannotWrite, DiskFull, commit, parts
from evals.lease import RunBusy
from evals.store import Ended, Run, StoreError, differences
from evals.types import AgentSpec, Limits, Rollout, Score
from tests.support.dying import die_at
from tests.support.works import SCORER, instance, manifest, units

TASKS = [instance("a"), instance("b")]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", manifest(TASKS), TASKS, units(TASKS))


def rollout(run: Run, tries: int = 1, **more: object) -> Rollout:
    unit = run.units()[0]
    made = Rollout(
        unit=unit.id, instance="a", attempt=0, agent="null", model="", end="submitted", tries=tries
    )
    return msgspec.structs.replace(made, **more)


def score(run: Run, resolved: bool = True) -> Score:
    unit = run.units()[0]
    return Score(
        unit=unit.id, instance="a", scorer=SCORER, resolved=resolved, reward=float(resolved), applied=True
    )


def test_a_run_reads_back_as_it_was_made(run: Run) -> None:
    again = Run.open(run.folder)
    assert again.manifest == manifest(TASKS)
    assert again.instances() == TASKS
    assert again.units() == units(TASKS)
    assert Run.create(run.folder, manifest(TASKS, created_at="later"), TASKS, units(TASKS)).units()


def test_a_unit_is_named_by_all_that_decides_its_result_and_no_more() -> None:
    ids = [unit.id for unit in units(TASKS, 2)]
    assert len(set(ids)) == 4
    assert ids == [unit.id for unit in units(list(TASKS), 2)]


def test_the_first_writer_of_a_result_wins_and_a_late_one_is_kept_but_never_counts(run: Run) -> None:
    first = rollout(run, usage=Usage(input_tokens=1))
    late = rollout(run, tries=2, usage=Usage(input_tokens=10))
    assert run.commit_rollout(first, {"patch.diff": b"first\xff", "artifacts/a": b"1"})
    assert not run.commit_rollout(late, {"patch.diff": b"late"})
    assert run.rollouts() == [first]
    assert run.patch(first) == b"first\xff"
    folder = run.attempt(first.unit)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == ["artifacts/a", "dup-2.json", "end.json", "patch.diff", "usage.json"]
    assert run.spent() == Usage(input_tokens=11)


def test_only_the_files_of_the_try_that_counts_are_kept_whatever_they_are_called(run: Run) -> None:
    unit = run.units()[0].id
    folder = run.attempt(unit)
    for number in (1, 2, 12):
        run.begin(unit)
        (folder / f"{number}~artifacts").mkdir()
        (folder / f"{number}~patch.diff").write_text("of a runner that was killed")
    files = {"patch.diff": b"p", "3.txt~": b"3", "a~b": b"4", "artifacts/2~x/1": b"5"}
    assert run.commit_rollout(rollout(run, tries=3), files)
    left = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert {name: left[name].read_bytes() for name in files} == files
    assert left.keys() - files == {"1.started", "2.started", "3.started", "end.json", "usage.json"}


def test_the_first_writer_of_a_score_wins(run: Run) -> None:
    assert run.commit_score(score(run, resolved=True))
    assert not run.commit_score(score(run, resolved=False))
    assert [one.resolved for one in run.scores()] == [True]
    assert run.commit_score(msgspec.structs.replace(score(run, resolved=False), scorer="other-2"))
    assert run.scorers() == ["other-2", SCORER]


def test_tries_are_numbered_and_those_that_came_to_nothing_are_remembered(run: Run) -> None:
    unit = run.units()[0].id
    assert [run.begin(unit), run.begin(unit)] == [1, 2]
    run.end(unit, 1, Ended("provider_error", "429", Usage(output_tokens=4)))
    assert [ended.detail for ended in run.ended(unit)] == ["429"]
    assert run.begin(unit) == 3


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "", "end.json", "1.started", "2", "2~x", "dup-1.json", ".part-x"]
)
def test_a_worker_cannot_leave_files_elsewhere(run: Run, name: str) -> None:
    with pytest.raises(StoreError, match="may not leave a file called"):
        run.commit_rollout(rollout(run), {name: b"x"})
    assert run.rollouts() == []


# --- resuming ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda m: msgspec.structs.replace(m, seed=1), "seed: 0, now 1"),
        (lambda m: msgspec.structs.replace(m, dataset_hash="x"), "dataset_hash: "),
        (lambda m: msgspec.structs.replace(m, limits=Limits(unit_s=9)), "limits.unit_s: None, now 9"),
        (
            lambda m: msgspec.structs.replace(m, agent=AgentSpec(name="null", model="x", version="1")),
            "agent.model: '', now 'x'",
        ),
        (lambda m: msgspec.structs.replace(m, versions={"pawl": "2"}), "versions.pawl: None, now '2'"),
    ],
)
def test_another_experiment_is_refused_and_the_field_is_named(
    run: Run, change: Callable[[object], object], name: str
) -> None:
    with pytest.raises(StoreError) as caught:
        Run.create(run.folder, change(manifest(TASKS)), TASKS, units(TASKS))  # type: ignore[arg-type]
    assert name in str(caught.value)
    assert caught.value.exit_code == 2


def test_budgets_of_the_run_may_be_raised() -> None:
    assert differences(manifest(TASKS), manifest(TASKS, limits=Limits(run_cost_usd=5.0))) == []


def test_a_folder_of_another_version_is_refused(run: Run) -> None:
    path = run.folder / "run.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StoreError, match=r"has format 2, this pawl reads format 1: use the pawl that made"):
        Run.open(run.folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "run.json: Input data was truncated"),
        (b"[1]", "run.json: Expected `object`"),
        (None, "no run in"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(StoreError, match=said):
        Run.open(tmp_path)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(StoreError, match="is not empty and holds no run"):
        Run.create(tmp_path, manifest(TASKS), TASKS, units(TASKS))


def test_a_broken_record_is_named_with_its_line(run: Run) -> None:
    with (run.folder / "units.jsonl").open("a") as file:
        file.write('{"id": 5}\n')
    with pytest.raises(StoreError, match=r"units\.jsonl:3: Expected `str`, got `int`"):
        run.units()


# --- one runner at a time ----------------------------------------------------------------------------------


def test_the_second_runner_is_refused_and_told_who_holds_the_folder(run: Run) -> None:
    with run.held():
        with pytest.raises(RunBusy) as caught, run.held():
            pass
        assert f"process {os.getpid()} on {lease.Holder.me().host}, since 20" in str(caught.value)
        assert caught.value.exit_code == 1
    with run.held():
        pass


def test_a_runner_on_another_host_is_believed_while_it_gives_signs_of_life(run: Run) -> None:
    lock = run.folder / "run.lock"
    holder = msgspec.structs.replace(lease.Holder.me(), host="elsewhere", pid=7)
    lock.write_bytes(msgspec.json.encode(holder))
    with pytest.raises(RunBusy, match="process 7 on elsewhere"), run.held():
        pass
    old = time.time() - lease.MISSED * lease.BEAT_S - 1
    os.utime(lock, (old, old))
    with run.held():
        pass


def test_a_runner_that_was_killed_holds_nothing(run: Run) -> None:
    held = "import sys, time; from pathlib import Path; from evals.store import Run\n"
    held += "with Run.open(Path(sys.argv[1])).held(): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", held, str(run.folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunBusy, match=f"process {process.pid} on"), run.held():
            pass
        process.kill()
        process.wait()
    with run.held():
        pass


def test_a_lease_is_kept_up_by_touching_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    path = tmp_path / "1.started"
    path.touch()
    os.utime(path, (1.0, 1.0))
    with lease.heartbeat(path):
        for _ in range(100):
            if path.stat().st_mtime > 1.0:
                break
            time.sleep(0.02)
    assert path.stat().st_mtime > time.time() - 60


def test_a_lease_is_whole_at_each_moment_in_which_another_process_takes_it_over(tmp_path: Path) -> None:
    path = tmp_path / "1.started"
    assert lease.grant(path)
    before = path.stat()
    taken = "import sys, pathlib, evals.lease; evals.lease.take_over(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", taken, str(path)], check=True)
    assert msgspec.json.decode(path.read_bytes(), type=lease.Holder).pid != os.getpid()
    assert path.stat().st_ino == before.st_ino, "the same file: no moment without it"
    assert not lease.alive(path, time.time()), "it names the process that took it, which has ended"
    lease.take_over(path)
    assert lease.alive(path, time.time())
    assert path.stat().st_size == before.st_size


# --- death and full disks ----------------------------------------------------------------------------------


def committed(run: Run) -> str:
    """`""`, `result` or `score`: how far the unit is; whatever is there is whole."""
    unit = run.units()[0].id
    kept = run.rollout(unit)
    if kept is not None:
        assert run.patch(kept) == b"p" * 5000
        with run.held():
            run.settle()
        assert run.patch(kept) == b"p" * 5000
        names = {path.name for path in run.attempt(unit).iterdir()}
        assert names >= {"patch.diff", "events.jsonl.gz", "usage.json", "end.json"}
        assert not [name for name in names if "~" in name]
    if run.score(unit) is not None:
        assert kept is not None
        return "score"
    return "result" if kept else ""


def test_killed_at_any_moment_of_a_commit_all_or_nothing_counts(tmp_path: Path) -> None:
    """The process dies at each link, rename, unlink and fsync in turn, and the next one goes on."""
    states = []
    for number in range(200):
        run = Run.create(tmp_path / str(number), manifest(TASKS), TASKS, units(TASKS))
        child = os.fork()
        if not child:
            die_at(number)
            assert run.begin(run.units()[0].id) == 1
            run.commit_rollout(rollout(run), {"patch.diff": b"p" * 5000, "events.jsonl.gz": b"e"})
            run.commit_score(score(run))
            os._exit(0)
        died = os.waitpid(child, 0)[1]
        states.append(committed(run))
        with run.held():
            made = rollout(run, tries=run.begin(run.units()[0].id))
            run.commit_rollout(made, {"patch.diff": b"p" * 5000, "events.jsonl.gz": b"e"})
            run.commit_score(score(run))
            assert parts(run.folder / "results") == parts(run.folder / "scores") == []
        assert committed(run) == "score"
        if not died:
            break
    assert states[-1] == "score"
    assert sorted(states, key=["", "result", "score"].index) == states
    assert set(states) == {"", "result", "score"}


@pytest.mark.parametrize("kib", [0, 8, 24, 40])
def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path: Path, kib: int) -> None:
    """A file system with so much room left; a run goes on in it once there is more."""
    program = """
import os, sys
from pathlib import Path
from evals.commit import DiskFull
from evals.store import Run
from tests.evals.test_store import TASKS, committed, manifest, rollout, score, units

folder = Path(sys.argv[1])
run = Run.create(folder / "run", manifest(TASKS), TASKS, units(TASKS))
fill = (folder / "fill").open("wb")
free = os.statvfs(folder)
fill.write(bytes(max(0, free.f_bavail * free.f_frsize - int(sys.argv[2]) * 1024)))
fill.close()
try:
    with run.held():
        made = rollout(run, tries=run.begin(run.units()[0].id))
        run.commit_rollout(made, {"patch.diff": b"p" * 5000, "events.jsonl.gz": bytes(40_000)})
except DiskFull as error:
    print(error)
else:
    raise SystemExit("it fitted")
assert not [path for path in (folder / "run").rglob(".part-*")]
(folder / "fill").unlink()
assert committed(run) == ""
with run.held():
    made = rollout(run, tries=run.begin(run.units()[0].id))
    assert run.commit_rollout(made, {"patch.diff": b"p" * 5000, "events.jsonl.gz": bytes(40_000)})
    run.commit_score(score(run))
assert committed(run) == "score"
"""
    script = 'mount -t tmpfs -o size=400k none "$0" && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, str(tmp_path), sys.executable, "-c", program]
    done = subprocess.run(
        [*words, str(tmp_path), str(kib)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"the disk is full (No space left on device): {tmp_path}/run/")


def test_errors_of_the_disk_carry_an_exit_code_and_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="cannot be written: No such file") as caught:
        commit(tmp_path / "gone" / "x", b"")
    assert caught.value.exit_code == DiskFull.exit_code == 1
    assert "pawl eval resume" in DiskFull.remedy


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6))
def test_of_many_writers_the_first_is_kept_whole(contents: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "x"
        won = [commit(target, content) for content in contents]
        assert won == [True] + [False] * (len(contents) - 1)
        assert target.read_bytes() == contents[0]
        assert list(Path(folder).iterdir()) == [target]


def test_the_manifest_is_for_people_to_read(run: Run) -> None:
    text = (run.folder / "run.json").read_text()
    assert text.count("\n") > 10
    assert json.loads(text)["format"] == 1
