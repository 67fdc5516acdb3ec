"""What runs of tests prove, from runs that are written down. Pure."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from evals.benchmark import DatasetError
from evals.grade import Graded
from evals.mining.history import resolve
from evals.mining.mutate import Mutator, Plan
from evals.mining.proof import Bench, compare, complaints, settled, unreadable, unsteady
from evals.mining.rejected import Rejected
from evals.readback import Ended
from evals.types import Score
from tests.evals.test_mining_history import commit


def run(broken: dict[str, str] | None = None, **outcomes: str) -> Graded:
    """Of tests in `t.py`."""
    score = Score(unit="", instance="", scorer="s-1", resolved=False, reward=0, applied=True, tests_s=1.5)
    ended = {f"t.py::{name}": Ended(outcome, "why") for name, outcome in outcomes.items()}  # type: ignore[arg-type]
    return Graded(score, ended=ended, broken=broken or {})


@pytest.mark.parametrize(
    ("before", "after", "group"),
    [
        ("failed", "passed", "fail"),
        ("error", "passed", "fail"),
        ("", "passed", "fail"),
        ("passed", "passed", "keep"),
        ("xfailed", "xfailed", "keep"),
        ("passed", "failed", "broken"),
        ("xfailed", "error", "broken"),
        ("passed", "", ""),
        ("passed", "skipped", ""),
        ("skipped", "passed", ""),
        ("failed", "failed", ""),
        ("failed", "xfailed", ""),
        ("skipped", "skipped", ""),
    ],
)
def test_what_a_test_is_for_a_task(before: str, after: str, group: str) -> None:
    found = compare(run(**{"a": before} if before else {}), run(**{"a": after} if after else {}))
    for name in ("fail", "keep", "broken"):
        assert getattr(found, name) == (("t.py::a",) if name == group else ())


def test_ids_with_an_address_are_dropped_and_those_with_blanks_are_not() -> None:
    names = {"a[b c]": "passed", "a[<f at 0x7f00aa11bb>]": "passed"}
    found = compare(run(), run(**names))
    assert (found.fail, found.dropped) == (("t.py::a[b c]",), 1)


def test_a_file_that_could_not_be_imported() -> None:
    after = run(a="passed", b="passed", c="passed")
    broken = {"t.py": "ImportError: no f"}
    fail = ["t.py::a"]
    assert unreadable(run(broken), after, fail) == ["t.py"]
    assert unreadable(run(broken, b="passed"), after, fail) == ["t.py"]
    assert unreadable(run(broken, b="passed", c="passed"), after, fail) == []
    assert unreadable(run(), after, fail) == ["t.py"], "a conftest.py may be what failed"
    assert complaints(run(broken, a="failed"), fail) == ["why", "ImportError: no f"]


def row() -> dict[str, Any]:
    return {
        "FAIL_TO_PASS": json.dumps(["t.py::a", "t.py::b"]),
        "PASS_TO_PASS": json.dumps(["t.py::c d", "t.py::e"]),
        "extra": {"kept": 1},
    }


def test_a_test_that_does_not_end_alike_is_no_part_of_a_task() -> None:
    before = run(a="failed", b="failed", e="passed", **{"c d": "passed"})
    after = run(a="passed", b="passed", e="passed", **{"c d": "passed"})
    other = run(a="failed", b="failed", e="failed", **{"c d": "passed"})
    lost = run(a="passed", e="passed", **{"c d": "passed"})
    assert unsteady(before, other) == {"t.py::e"} and unsteady(after, lost) == {"t.py::b"}
    whole = settled(row(), (before, before), (after, after), "docker")
    assert (whole["extra"]["n_f2p"], whole["extra"]["n_p2p"], whole["extra"]["flaky_ids"]) == (2, 2, [])
    done = settled(row(), (before, other), (after, lost), "docker")
    assert json.loads(done["FAIL_TO_PASS"]) == ["t.py::a"]
    assert json.loads(done["PASS_TO_PASS"]) == ["t.py::c d"]
    assert done["extra"] == {
        "kept": 1,
        "n_f2p": 1,
        "n_p2p": 1,
        "flaky_ids": ["t.py::b", "t.py::e"],
        "blank_ids": 1,
        "reference_s": 1.5,
        "proved": {
            "scorer": "s-1",
            "backend": "docker",
            "runs": 2,
            "f2p_before": "0/1",
            "f2p_after": "1/1",
            "p2p_before": "1/1",
            "p2p_after": "1/1",
        },
    }
    with pytest.raises(Rejected, match="flaky"):
        settled(row(), (before, run(a="passed")), (after, lost), "docker")


def mutator(repo: Path, **asked: Any) -> Mutator:
    plan = Plan(repo=str(repo), commit=resolve(repo, "HEAD"), install="", test="pytest", **asked)
    return Mutator(plan, repo, Bench(repo, "bubblewrap"), None)


def test_faults_are_put_into_source_alone_and_in_the_order_of_the_seed(tmp_path: Path) -> None:
    line = "def f(a):\n    return a + 1\n"
    names = ("a.py", "b/c.py", "tests/test_a.py", "docs/conf.py", "odd name.py", "README.md", "e.pyc")
    commit(tmp_path, {**dict.fromkeys(names, line), "d.lua": "function f(a) return a + 1 end\n"}, "All")
    first = mutator(tmp_path, seed=1)
    keys = [each.key for each in first.candidates()]
    assert {each.title.partition(":")[0] for each in first.candidates()} == {"a.py", "b/c.py", "d.lua"}
    assert len(set(keys)) == len(keys)
    assert keys == [each.key for each in mutator(tmp_path, seed=1).candidates()]
    assert keys != [each.key for each in mutator(tmp_path, seed=2).candidates()]
    lua = mutator(tmp_path, languages=("lua",)).candidates()
    assert {each.title.partition(":")[0] for each in lua} == {"d.lua"}
    with pytest.raises(DatasetError, match="--language"):
        mutator(tmp_path, languages=("go",)).candidates()


def test_a_function_gives_two_tasks_at_most_also_after_a_restart(tmp_path: Path) -> None:
    commit(tmp_path, {"a.py": "def f(a):\n    return a + 1\n"}, "All")
    made = mutator(tmp_path)
    made.sound = run(a="passed")
    where = {"mutation": {"path": "a.py", "scope": "f"}}
    made.remember([{"extra": where, "FAIL_TO_PASS": json.dumps([test])} for test in ("t", "u")])
    with pytest.raises(Rejected, match="enough of this function"):
        asyncio.run(made.candidates()[0].attempt())  # type: ignore[arg-type]
