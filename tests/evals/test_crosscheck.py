"""Good results looked at from another side: their time, and an isolated interpreter."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from evals.crosscheck import isolated, too_fast
from evals.grade import grade
from evals.types import Files, Flag, Instance, Tests
from tools.patch import unified

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

COMMAND = ("python", "-m", "pytest", "-q", "-p", "no:randomly", "tests")
TEST = "import marks\n\ndef test_it():\n    assert marks.value() == 1\n"
BASE = "def value():\n    return 0\n"


def task(solution: str, **more: object) -> tuple[Instance, str]:
    """An instance, and the patch to its module."""
    made = Instance(
        id="marks",
        benchmark="made",
        statement="x",
        tree=Files({"marks.py": BASE.encode(), "tests/test_a.py": TEST.encode(), "conftest.py": b""}),
        grading=Tests(COMMAND, fail_to_pass=("tests/test_a.py::test_it",)),
        timeout_s=60,
        extra=dict(more),
    )
    diff = unified(BASE, solution, "marks.py")
    return msgspec.structs.replace(made, reference=diff), diff


@pytest.mark.parametrize(
    ("solution", "told"),
    [
        (BASE.replace("0", "1"), []),
        ("import sys\n\ndef value():\n    return 1 - sys.flags.isolated\n", ["isolated"]),
        ("import sys\nassert not sys.flags.isolated\n\ndef value():\n    return 1\n", []),
    ],
)
async def test_what_passes_only_outside_of_isolation_is_told(
    tmp_path: Path, solution: str, told: list[str]
) -> None:
    instance, patch = task(solution)
    score = await grade(instance, patch, cache=tmp_path, backend="bubblewrap")
    assert (score.resolved, [flag.rule for flag in score.flags]) == (True, told), score


async def test_tests_that_take_no_time_are_told(tmp_path: Path) -> None:
    instance, patch = task(BASE.replace("0", "1"), reference_s=600.0)
    score = await grade(instance, patch, cache=tmp_path, backend="bubblewrap")
    (flag,) = score.flags
    assert (score.resolved, flag.rule, flag.weight) == (True, "time", "notice")
    assert flag.detail.endswith(" s, and 600.0 s with the reference")


@pytest.mark.parametrize(
    ("seconds", "reference_s", "told"),
    [(1.9, 10, True), (2.0, 10, False), (0.1, 1.9, False), (0.1, None, False), (0.1, "9", False)],
)
def test_a_fifth_of_the_references_time_is_enough(seconds: float, reference_s: object, told: bool) -> None:
    assert isinstance(too_fast(seconds, reference_s), Flag) == told


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (COMMAND, ("-q", "-p", "no:randomly")),
        (("/eval/env/bin/python3", "-m", "pytest", "-x", "a.py", "-c", "x.ini"), ("-x", "-c", "x.ini")),
        (("pytest", "-q"), None),
        (("sh", "-c", "python -m pytest"), None),
        (("python", "-m", "unittest"), None),
    ],
)
def test_only_the_mended_tests_run_isolated(
    command: tuple[str, ...], options: tuple[str, ...] | None
) -> None:
    words = isolated(Tests(command, ("a::b",), ("a::c",)), "/plugin")
    if options is None:
        assert words is None
    else:
        assert words is not None and words[:2] == (command[0], "-I")
        assert words[4:] == ("/plugin", *options, "a::b")
