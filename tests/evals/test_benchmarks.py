"""The conformance suite of `evals/benchmarks/`: every file of the folder passes it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from evals.benchmark import DatasetError, known_benchmarks, load_benchmark
from evals.check import check_task
from evals.cli_check import chosen, find_instances
from evals.lab import hidden_files
from evals.place import lay_out
from evals.types import Instance, Limits, Tests
from tests.evals import datasets
from tests.evals.datasets import MAKERS, row, write

DOUBLE = "id = 'x'\nstatement = 'x'\n[files]\na = ''\n[tests]\ncommand = ['x']\n"


def load(name: str, place: Path) -> list[Instance]:
    return load_benchmark(name).load(MAKERS[name](place))


def test_every_benchmark_is_tried() -> None:
    assert list(MAKERS) == known_benchmarks()


@pytest.mark.parametrize("name", MAKERS)
def test_ids_are_stable_and_unique(name: str, tmp_path: Path) -> None:
    source = MAKERS[name](tmp_path)
    first, again = (load_benchmark(name).load(source) for _ in range(2))
    assert [task.digest for task in first] == [task.digest for task in again]
    ids = [task.id for task in first]
    assert len(set(ids)) == len(ids) > 0
    assert all(task.benchmark == name and task.statement for task in first)
    assert not any({"/", "\0", " "} & set(task.id) or task.id.startswith(".") for task in first)


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"smoke"}))
def test_a_dataset_is_recognised_by_its_own_benchmark(name: str, tmp_path: Path) -> None:
    source = MAKERS[name](tmp_path)
    assert {task.benchmark for task in find_instances(str(source))} == {name}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_hidden_is_not_in_the_agents_tree(name: str, tmp_path: Path) -> None:
    for number, task in enumerate(load(name, tmp_path / "data")):
        place = tmp_path / f"place-{number}"
        lay_out(task, place, tmp_path / "cache")
        there = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
        told = b"".join(path.read_bytes() for name, path in there.items() if not name.startswith(".git/"))
        assert there
        assert not any("solve.sh" in name or "test.sh" in name or "example" in name for name in there)
        if isinstance(task.grading, Tests):
            for path, data in hidden_files(task.grading).items():
                assert path not in there and (not data.strip() or data not in told)
            assert not any(word in told for word in (b"test_total", b"upper"))


@pytest.mark.bubblewrap
@pytest.mark.slow
def test_the_reference_solves_and_nothing_does_not(tmp_path: Path) -> None:
    """Graded twice alike, below 1 without a change, nothing of the fix in the tree."""

    async def all_of_them() -> None:
        tasks = [load(name, tmp_path / name)[0] for name in MAKERS]
        room = asyncio.Semaphore(2)

        async def one(task: Instance) -> None:
            async with room:
                found = await check_task(task, cache=tmp_path / "cache", backend="bubblewrap", runs=2)
            assert (found.problems, found.oracle, found.null_failed) == ([], [True, True], True), (
                task.benchmark
            )

        await asyncio.gather(*map(one, tasks))

    asyncio.run(all_of_them())
    assert list((tmp_path / "cache" / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"patch": None}, "line 2: field patch is missing"),
        ({"base_commit": "main"}, "line 2: field base_commit: 'main' is no full commit id"),
        ({"instance_id": "../x"}, "line 2: field instance_id: '../x' cannot be a file's name"),
        ({"FAIL_TO_PASS": "[1"}, "line 2: field FAIL_TO_PASS: Expecting"),
        ({"FAIL_TO_PASS": []}, "line 2: field FAIL_TO_PASS: names no test"),
        ({"PASS_TO_PASS": {"a": 1}}, "line 2: field PASS_TO_PASS is not a list of texts"),
        ({"test_patch": "hello"}, "line 2: field test_patch: is no unified diff"),
        ({"extra": "{"}, "line 2: field extra: Expecting"),
        ({"extra": {"test_cmd": ["pytest"]}}, "line 2: field extra.test_cmd is not a text"),
        ({"instance_id": "shop__prices-1"}, "line 2: field instance_id: 'shop__prices-1' is also at"),
    ],
)
def test_a_broken_row_is_named(change: dict[str, object], told: str, tmp_path: Path) -> None:
    good = row(tmp_path, "a" * 40)
    bad = {**good, "instance_id": "shop__prices-2", **change}
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    with pytest.raises(DatasetError, match=r"rows\.jsonl") as error:
        load_benchmark("swebench").load(file)
    assert told in str(error.value)


def test_rows_of_one_repository_share_the_environment_of_the_youngest(tmp_path: Path) -> None:
    extra = {"install": "pip install -e .", "python": "3.11", "test_cmd": "pytest"}
    rows = [
        row(tmp_path, "a" * 40, instance_id="one", created_at="2020-01-01T00:00:00", extra=extra),
        row(tmp_path, "b" * 40, instance_id="two", created_at="2024-01-01T00:00:00", extra=extra),
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, two = load_benchmark("swebench").load(tmp_path / "rows.jsonl")
    assert one.environment == two.environment
    assert one.environment.commits == ("b" * 40, "a" * 40)


def test_the_script_of_a_row_is_run_without_its_test_patch(tmp_path: Path) -> None:
    script = (
        "cd /testbed\ngit checkout abc tests/a.py\ngit apply -v - <<'EOF_1'\ndiff --git a/x b/x\nEOF_1\n"
        ": '>>>>> Start Test Output'\npytest -rA tests\nSWEBENCH_TEST_EXIT_CODE=$?\n"
    )
    made = row(tmp_path, "a" * 40, extra={}, eval_script=script, image="swebench/x:latest")
    (tmp_path / "rows.jsonl").write_text(json.dumps(made))
    (task,) = load_benchmark("swebench").load(tmp_path / "rows.jsonl")
    assert isinstance(task.grading, Tests)
    assert "diff --git" not in task.grading.command[2] and "git checkout" not in task.grading.command[2]
    assert "pytest -rA tests" in task.grading.command[2]
    assert task.environment.image == "swebench/x:latest"


def test_a_task_repository_says_the_same_as_a_row(tmp_path: Path) -> None:
    made = row(tmp_path, "a" * 40)
    (tmp_path / "rows.jsonl").write_text(json.dumps(made))
    (expected,) = load_benchmark("swebench").load(tmp_path / "rows.jsonl")
    files = {
        "sweb.yaml": "datasets: [x]\n",
        "tasks/one/task.yaml": f"instance_id: shop__prices-1\nrepo: '{tmp_path}'\nbase_commit: {'a' * 40}\n"
        "# a comment\nversion: 1.0\neval_type: pass_and_fail\ndatasets:\n- x\n",
        "tasks/one/problem_statement.md": str(made["problem_statement"]),
        "tasks/one/gold.patch": str(made["patch"]),
        "tasks/one/test.patch": str(made["test_patch"]),
        "tasks/one/tests.json": json.dumps(
            {"FAIL_TO_PASS": json.loads(str(made["FAIL_TO_PASS"])), "PASS_TO_PASS": made["PASS_TO_PASS"]}
        ),
    }
    (task,) = load_benchmark("swebench").load(write(tmp_path / "repo", files))
    assert (task.id, task.tree, task.reference) == (expected.id, expected.tree, expected.reference)
    assert isinstance(task.grading, Tests) and isinstance(expected.grading, Tests)
    assert task.grading.fail_to_pass == expected.grading.fail_to_pass


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"pawl-agent\[parquet\]|rows\.parquet"):
        load_benchmark("swebench").load(tmp_path / "rows.parquet")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a.toml": "statement = 1\n"}, "a.toml"),
        ({"a.toml": "statement = 'x'\n[tests\n"}, "line 2"),
        (
            {"a.toml": "statement = 'x'\ntree = 'no'\n[tests]\ncommand = ['x']\n"},
            "field tree: there is no no",
        ),
        ({"a.toml": "statement = 'x'\ntree = '..'\n[tests]\ncommand = ['x']\n"}, "leads out of the dataset"),
        ({"a.toml": "statement = 'x'\nstatment = 'y'\n[tests]\ncommand = ['x']\n"}, "statment"),
        (
            dict.fromkeys(("a.toml", "b.toml"), DOUBLE),
            "b.toml: field id: 'x' is there twice",
        ),
    ],
)
def test_a_broken_task_of_ones_own_is_named(files: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        load_benchmark("folder").load(write(tmp_path, files))
    assert told in str(error.value)


def test_tasks_of_several_containers_are_refused_by_name(tmp_path: Path) -> None:
    source = datasets.harbor(tmp_path)
    (source / "environment" / "docker-compose.yaml").write_text("services: {}\n")
    with pytest.raises(DatasetError, match="several containers"):
        load_benchmark("harbor").load(source)


def test_the_agents_time_is_the_tasks_own_or_what_the_run_says(tmp_path: Path) -> None:
    source = datasets.harbor(tmp_path)
    toml = source / "task.toml"
    toml.write_text(toml.read_text() + "[agent]\ntimeout_sec = 90\n[verifier]\ntimeout_sec = 5\n")
    (instance,) = load_benchmark("harbor").load(source)
    assert (Limits().wall_s(instance), instance.timeout_s) == (90.0, 5.0)
    assert Limits(unit_s=600.0).wall_s(instance) == 600.0


def test_an_unknown_dataset_and_an_unknown_task_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no nowhere"):
        find_instances("nowhere")
    with pytest.raises(DatasetError, match="no known kind"):
        find_instances(str(tmp_path))
    with pytest.raises(DatasetError, match="no task is called 'x'"):
        chosen(find_instances("smoke"), ["x"])
