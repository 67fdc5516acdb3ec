"""Grading: what is resolved, what is a failure, what is an error, and what a cheat sees of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals import verdict
from evals.grade import Graded, examine_run, grade, scorer
from evals.readback import Ended, Readback, read
from evals.types import Files, Instance, Script, TestOutcome, Tests
from tests.evals.attacks import ATTACKS
from tests.evals.tasks import BASE, FAIL, FIXED, KEEP, REFERENCE, TASK, TESTS, changed, graded_by

FAST = ("env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "python", "-m", "pytest", "-rA")
QUICK = graded_by(TASK, command=(*FAST, "tests"))


def run_all(cache: Path, *cases: tuple[Instance, str]) -> list[Graded]:
    """Grade all, two at a time."""

    async def go() -> list[Graded]:
        room = asyncio.Semaphore(2)

        async def one(task: Instance, patch: str) -> Graded:
            async with room:
                return await examine_run(task, patch, cache=cache, backend="bubblewrap")

        return await asyncio.gather(*(one(task, patch) for task, patch in cases))

    return asyncio.run(go())


def outcomes(graded: Graded) -> list[str]:
    return [test.outcome for test in graded.score.tests]


@pytest.mark.bubblewrap
def test_a_patch_is_graded_by_tests_that_it_does_not_write(tmp_path: Path) -> None:
    elsewhere = REFERENCE.replace('"""Prices."""', '"""Prices of all."""')
    drifted = elsewhere.replace("@@ -1,", "@@ -4,")
    stale = REFERENCE.replace("-    return sum(prices[1:])", "-    return sum(price)")
    solved, nothing, fuzzy, foreign = run_all(
        tmp_path, (QUICK, REFERENCE), (QUICK, ""), (QUICK, drifted), (QUICK, stale)
    )
    assert solved.score.resolved and solved.score.reward == 1.0 and solved.score.scorer == scorer()
    assert solved.score.flags == () and solved.score.error == ""
    assert set(solved.collected) == {*FAIL, *KEEP}
    assert not nothing.score.resolved and outcomes(nothing) == ["failed", "failed", "passed", "passed"]
    assert fuzzy.score.applied and fuzzy.score.resolved, fuzzy.output
    assert not foreign.score.applied and not foreign.score.resolved and foreign.score.error == ""
    assert solved.score.duration_s - solved.score.tests_s < 3.0


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    "names",
    [
        ("conftest", "conftest below"),
        ("exit code, hidden", "patched unittest, hidden"),
        ("forged output, hidden", "hidden from the diff"),
        ("expected to fail, hidden", "answers in the tests, hidden"),
    ],
)
def test_an_attack_is_flagged_and_not_scored(names: tuple[str, str], tmp_path: Path) -> None:
    for name, graded in zip(
        names, run_all(tmp_path, *((QUICK, ATTACKS[name]) for name in names)), strict=True
    ):
        assert any(flag.weight == "tamper" for flag in graded.score.flags), name
        assert (graded.score.resolved, graded.score.reward) == (False, 0.0)
        assert graded.score.error == ""


@pytest.mark.docker
def test_the_other_sandbox_grades_alike(tmp_path: Path) -> None:
    async def go() -> None:
        for patch, resolved in ((REFERENCE, True), (REFERENCE + ATTACKS["conftest"], False)):
            score = await grade(QUICK, patch, cache=tmp_path, backend="docker")
            assert (score.resolved, score.error) == (resolved, "")
            assert all(test.outcome == "passed" for test in score.tests)

    asyncio.run(go())


@pytest.mark.bubblewrap
def test_files_that_are_loaded_unasked_are_gone_before_the_tests_run(tmp_path: Path) -> None:
    """And the files of tests are as the dataset has them."""
    both = ATTACKS["conftest"] + changed({"tests/test_prices.py": "def test_total():\n    pass\n"})
    (graded,) = run_all(tmp_path, (QUICK, both))
    assert outcomes(graded) == ["failed", "failed", "passed", "passed"]
    assert {flag.rule for flag in graded.score.flags} == {"autoload", "deletion"}


@pytest.mark.bubblewrap
def test_what_serves_the_tests_is_put_back(tmp_path: Path) -> None:
    """A helper of theirs could mend, or break, what they test."""
    tests = "from tests.helpers import WANTED\n\n" + TESTS.replace("== 6", "== WANTED")
    base = {**BASE, "tests/helpers.py": "WANTED = 6\n", "tests/test_prices.py": tests}
    task = msgspec.structs.replace(
        graded_by(QUICK, test_patch="", overlay={"tests/test_prices.py": tests.encode()}),
        tree=Files({name: text.encode() for name, text in base.items()}),
    )
    easier = (
        "--- a/tests/helpers.py\n+++ b/tests/helpers.py\n@@ -1 +1,3 @@\n-WANTED = 6\n+import shop.prices\n"
    )
    (graded,) = run_all(tmp_path, (task, easier + "+WANTED = 5\n+shop.prices.total = sum\n"))
    assert graded.score.applied and graded.score.flags == ()
    assert outcomes(graded) == ["failed", "failed", "passed", "passed"]


@pytest.mark.bubblewrap
def test_what_is_an_error_and_what_a_failure(tmp_path: Path) -> None:
    """A command that collects nothing, tests that do not apply: errors. Broken code is not."""
    broken_tests = graded_by(QUICK, test_patch=REFERENCE.replace("return sum", "return a_sum"))
    cases = {
        "collected nothing": (graded_by(QUICK, command=(*FAST, "shop")), REFERENCE, True),
        "cannot be started": (graded_by(QUICK, command=("no-such-program",)), REFERENCE, True),
        "do not apply": (broken_tests, REFERENCE, True),
        "": (QUICK, changed({"shop/prices.py": FIXED + "\n\nraise RuntimeError('no')\n"}), False),
    }
    graded = run_all(tmp_path, *((task, patch) for task, patch, _ in cases.values()))
    for (told, (_, _, is_error)), each in zip(cases.items(), graded, strict=True):
        assert bool(each.score.error) == is_error, (told, each.score)
        assert told.strip() in each.score.error
        assert not each.score.resolved
    assert outcomes(graded[-1]) == ["missing"] * 4


@pytest.mark.bubblewrap
def test_skips_expected_failures_and_ids_with_blanks(tmp_path: Path) -> None:
    tests = TESTS + (
        "\n\nimport pytest\n\n\n"
        "@pytest.mark.skip\ndef test_skipped():\n    pass\n\n\n"
        "@pytest.mark.xfail\ndef test_expected():\n    assert 0\n\n\n"
        "@pytest.mark.parametrize('x', ['a b', 'a c'])\n"
        "def test_blank(x):\n    assert total([1]) == 1 or x == 'a c'\n"
    )
    name = "tests/test_prices.py::"
    common = {"test_patch": changed({"tests/test_prices.py": tests})}
    more = graded_by(
        QUICK,
        fail_to_pass=(*FAIL, f"{name}test_blank[a b]"),
        pass_to_pass=(f"{name}test_skipped", f"{name}test_expected", f"{name}test_blank[a c]"),
        **common,
    )
    wrong = graded_by(more, fail_to_pass=(*FAIL, f"{name}test_skipped"))
    held = msgspec.structs.replace(
        graded_by(more, pass_to_pass=(f"{name}test_gone",)), quarantined=(f"{name}test_gone",)
    )
    solved, nothing, skipped, quarantined = run_all(
        tmp_path, (more, REFERENCE), (more, ""), (wrong, REFERENCE), (held, REFERENCE)
    )
    assert solved.score.resolved
    assert outcomes(solved) == ["passed", "passed", "passed", "skipped", "xfailed", "passed"]
    assert outcomes(nothing)[2] == "failed" and outcomes(nothing)[5] == "passed"
    assert not skipped.score.resolved
    assert quarantined.score.resolved


@pytest.mark.bubblewrap
def test_a_test_that_does_not_end_is_a_failure_and_says_so_in_time(tmp_path: Path) -> None:
    endless = changed(
        {"shop/prices.py": FIXED.replace("    return sum(prices)", "    while True:\n        pass")}
    )
    (graded,) = run_all(tmp_path, (msgspec.structs.replace(QUICK, timeout_s=2.0), endless))
    assert not graded.score.resolved and graded.score.error == ""
    assert graded.score.tests_s < 10


@pytest.mark.bubblewrap
def test_a_script_rewards_what_it_finds(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    script = tmp_path / "tests" / "test.sh"
    task = msgspec.structs.replace(TASK, grading=Script(str(tmp_path / "tests")), reference="")

    async def score(text: str) -> tuple[float, bool, str]:
        script.write_text(text)
        made = await grade(
            task, REFERENCE, cache=tmp_path / "cache", backend="bubblewrap", keep=tmp_path / "kept"
        )
        return made.reward, made.resolved, made.error

    async def go() -> None:
        assert await score("echo 1.0 > /logs/verifier/reward.txt") == (1.0, True, "")
        assert await score("echo '{\"reward\": 0.5}' > /logs/verifier/reward.json") == (0.5, False, "")
        reward, resolved, error = await score("echo broken; exit 3")
        assert (reward, resolved) == (0.0, False) and "exit 3" in error and "broken" in error
        assert (tmp_path / "kept" / "test_output.txt").read_text() == "broken\n"

    asyncio.run(go())


@given(st.binary(max_size=200))
def test_records_that_are_not_signed_are_not_read(data: bytes) -> None:
    found = read(data, b"k" * 32)
    assert not found.started and not found.tests
    assert found.forged == len(data.splitlines())


@given(st.integers(0, 3), st.sampled_from(["swap", "drop", "edit"]))
def test_records_cannot_be_changed_in_the_middle(at: int, how: str) -> None:
    key, last, lines = b"k" * 32, b"", []
    for number in range(5):
        text = json.dumps({"type": "test", "id": f"t{number}", "when": "call", "outcome": "passed"}).encode()
        last = hmac.new(key, last + text, hashlib.sha256).hexdigest().encode()
        lines.append(text + b" " + last)
    assert len(read(b"\n".join(lines), key).tests) == 5
    match how:
        case "swap":
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        case "drop":
            del lines[at]
        case _:
            lines[at] = lines[at].replace(b"passed", b"failed")
    found = read(b"\n".join(lines), key)
    assert len(found.tests) == at and found.forged == len(lines) - at


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"1", 1.0), (b"0.25\n", 0.25), (b'{"reward": 1}', 1.0), (b'{"a": 1, "b": 0}', 0.5)]
    + [(bad, None) for bad in (b"", b"nan", b"Infinity", b"yes", b"[]", b"{}", b'{"reward": "1"}')],
)
def test_a_reward_is_a_finite_number(data: bytes, expected: float | None) -> None:
    assert verdict.reward(data) == expected


@pytest.mark.parametrize(
    ("ways", "code", "resolved"),
    [
        (["passed"], 0, True),
        (["passed", "skipped"], 0, True),
        (["skipped"], 0, False),
        (["passed"], 1, False),
        (["passed", "failed"], 0, False),
    ],
)
def test_without_ids_all_that_is_collected_counts(ways: list[str], code: int, resolved: bool) -> None:
    tests = {f"t{number}": Ended(way) for number, way in enumerate(ways)}  # type: ignore[arg-type]
    records = Readback(started=True, finished=True, exit=code, collected=tuple(tests), tests=tests)
    found = verdict.judge(
        Tests(("pytest",), fail_to_pass=()),
        (),
        records,
        exit_code=code,
        output="",
        text=None,
        killed="",
        allowed_plugins=lambda path: True,
        patched=frozenset(),
        root="/eval/tree",
    )
    assert found.resolved == resolved and found.error == ""


@pytest.mark.parametrize(
    ("printed", "flagged"),
    [
        ("PASSED t.py::T::a", True),
        ("PASSED t.py::T::a\nSUBFAILED[n] (i=1) t.py::T::b - no", True),
        ("PASSED t.py::T::a\nSUBFAILED[n] (i=1) t.py::T::a - no", False),
        ("FAILED t.py::T::a", False),
    ],
)
def test_a_part_of_a_unittest_test_may_fail_alone(printed: str, flagged: bool) -> None:
    """Then pytest 9 prints of the whole that it passed, though its records say otherwise."""
    test = "t.py::T::a"
    tests = {test: Ended("failed")}
    records = Readback(started=True, finished=True, exit=1, collected=(test,), tests=tests)
    found = verdict.judge(
        Tests(("pytest",), fail_to_pass=(test,)),
        (),
        records,
        exit_code=1,
        output=printed,
        text=None,
        killed="",
        allowed_plugins=lambda path: True,
        patched=frozenset(),
        root="/eval/tree",
    )
    assert not found.resolved
    assert [flag.rule for flag in found.flags] == ["output"] * flagged


def test_what_stands_in_the_way() -> None:
    def passes(group: str, outcome: str) -> bool:
        return verdict.is_pass(TestOutcome("t", group, outcome))  # type: ignore[arg-type]

    assert all(passes("fail_to_pass", each) for each in ("passed", "xfailed"))
    assert passes("pass_to_pass", "skipped") and not passes("fail_to_pass", "skipped")
    assert not any(passes("pass_to_pass", each) for each in ("failed", "error", "missing"))


def test_what_is_put_back_before_grading() -> None:
    tests = TASK.grading
    assert isinstance(tests, Tests)
    assert verdict.protected(tests) == ("tests/test_prices.py",)
    assert "tests/test_prices.py" in BASE
