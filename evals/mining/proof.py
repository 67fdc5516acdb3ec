"""What tests prove of a candidate: run before and after, by the same code that will grade the task.

Each whole status is taken twice. A test that does not end alike both times is no part of the task.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from evals import environment
from evals.benchmarks.swebench import instance
from evals.check import leaked
from evals.grade import Graded, examine_run
from evals.mining.rejected import Rejected
from evals.mining.row import ADDRESS
from evals.readback import Ended
from evals.types import Instance, Tests
from sandbox.base import BackendName, SandboxError

_PASSES = ("passed", "xfailed")
_MOST_MISSING = 0.5
"""Of a file's tests that are not there before; above it, the file itself cannot be read."""
_MOST_NAMED = 50
"""Flaky tests that a row names."""
_PROBE = "?"
"""Stands for a row's failing tests until they are known."""


class Bench(msgspec.Struct, frozen=True):
    """Where things are run, and for how long at most."""

    cache: Path
    backend: BackendName
    timeout_s: float = 600.0


class Compared(msgspec.Struct, frozen=True):
    """What two runs of all tests show."""

    fail: tuple[str, ...]
    keep: tuple[str, ...]
    broken: tuple[str, ...]
    """Tests that passed before and fail after."""
    dropped: int
    """Tests whose ids are others in each run."""


def task_of(row: Mapping[str, Any], bench: Bench, *, open_ended: bool = False) -> Instance:
    """The instance as a dataset's reader makes it; `open_ended` names no tests, so all are told alike."""
    made = instance({**row, "FAIL_TO_PASS": [_PROBE]} if open_ended else dict(row), str(row["instance_id"]))
    assert isinstance(made.grading, Tests)
    grading = made.grading
    if open_ended:
        grading = msgspec.structs.replace(grading, fail_to_pass=(), pass_to_pass=())
    return msgspec.structs.replace(made, grading=grading, timeout_s=bench.timeout_s)


async def prepare(row: Mapping[str, Any], bench: Bench) -> None:
    """Make the environment that the tasks share. Raises EnvironmentFailed."""
    await environment.obtain(task_of(row, bench, open_ended=True), bench.cache, bench.backend)


async def statuses(task: Instance, patch: str, bench: Bench) -> Graded:
    """How every test ends with a patch. Raises Rejected when the run says nothing of the tests.

    Raises SandboxError when there was no run: that is not the candidate's fault.
    """
    graded = await examine_run(task, patch, cache=bench.cache, backend=bench.backend)
    score = graded.score
    if bad := [flag for flag in score.flags if flag.weight == "tamper"]:
        raise Rejected("breaks a rule", f"{bad[0].rule}: {bad[0].detail} {bad[0].path}".strip())
    if score.error and not score.applied:
        raise SandboxError(score.error)
    if score.error:
        raise Rejected("cannot be run", score.error.strip().replace("\n", " ")[-300:])
    if not score.applied:
        raise Rejected("does not apply")
    if graded.exit_code is None:
        raise Rejected("does not end", f"after {bench.timeout_s:.0f} s")
    return graded


def passes(run: Graded, test: str) -> bool:
    return test in run.ended and run.ended[test].outcome in _PASSES


def compare(before: Graded, after: Graded) -> Compared:
    """Which tests a change mends, keeps and breaks; a test that skips counts for nothing."""
    fail, keep, broken, dropped = [], [], [], 0
    for test, ended in after.ended.items():
        if ADDRESS.search(test):
            dropped += 1
        elif ended.outcome in _PASSES:
            old = before.ended.get(test, Ended("error"))
            if old.outcome in _PASSES:
                keep.append(test)
            elif old.outcome != "skipped" and ended.outcome == "passed":
                fail.append(test)
        elif ended.outcome != "skipped" and passes(before, test):
            broken.append(test)
    return Compared(tuple(fail), tuple(keep), tuple(broken), dropped)


def unsteady(first: Graded, second: Graded) -> set[str]:
    """Tests that did not end alike."""
    names = {*first.ended, *second.ended}
    return {test for test in names if _outcome(first, test) != _outcome(second, test)}


def _outcome(run: Graded, test: str) -> str:
    return run.ended[test].outcome if test in run.ended else "missing"


def unreadable(before: Graded, after: Graded, fail: Iterable[str]) -> list[str]:
    """Files with failing tests, most of whose tests are not there before: something could not be imported.

    The tests' own change is in before, too, so that they are new is no reason.
    """
    found = []
    for file in dict.fromkeys(test.partition("::")[0] for test in fail):
        own = [test for test in after.ended if test.partition("::")[0] == file]
        lost = sum(test not in before.ended for test in own)
        if lost > _MOST_MISSING * len(own):
            found.append(file)
    return found


def complaints(before: Graded, fail: Iterable[str]) -> list[str]:
    """What the failing tests said before, and the files that could not be imported."""
    return [before.ended[test].message for test in fail if test in before.ended] + list(
        before.broken.values()
    )


async def settle(row: dict[str, Any], before: Graded, after: Graded, bench: Bench) -> dict[str, Any]:
    """The row, proved again from the start as the finished task that it now is. Raises Rejected.

    `before` and `after` are the first two runs.
    """
    task = task_of(row, bench)
    again = await statuses(task, "", bench)
    mended = await statuses(task, task.reference, bench)
    done = settled(row, (before, again), (after, mended), bench.backend)
    if held := await asyncio.to_thread(leaked, task, bench.cache):
        raise Rejected("leaks", ", ".join(held[:5]))
    return done


def settled(
    row: dict[str, Any], before: tuple[Graded, Graded], after: tuple[Graded, Graded], backend: str
) -> dict[str, Any]:
    """The row without the tests that did not end alike in both runs. Raises Rejected when none is left."""
    flaky = unsteady(*before) | unsteady(*after)
    fail, keep = (
        [test for test in json.loads(row[name]) if test not in flaky]
        for name in ("FAIL_TO_PASS", "PASS_TO_PASS")
    )
    if not fail:
        raise Rejected("flaky", ", ".join(sorted(flaky)[:5]))

    def share(run: Graded, tests: list[str]) -> str:
        return f"{sum(passes(run, test) for test in tests)}/{len(tests)}"

    extra = row["extra"] | {
        "n_f2p": len(fail),
        "n_p2p": len(keep),
        "flaky_ids": sorted(flaky)[:_MOST_NAMED],
        "blank_ids": sum(" " in test for test in (*fail, *keep)),
        "reference_s": after[1].score.tests_s,
        "proved": {
            "scorer": after[1].score.scorer,
            "backend": backend,
            "runs": len(after),
            "f2p_before": share(before[1], fail),
            "f2p_after": share(after[1], fail),
            "p2p_before": share(before[1], keep),
            "p2p_after": share(after[1], keep),
        },
    }
    return row | {"FAIL_TO_PASS": json.dumps(fail), "PASS_TO_PASS": json.dumps(keep), "extra": extra}
