"""Is a dataset fit to be scored with? Each task is tried with its own reference and with nothing.

oracle     the reference is resolved, each time
null       the base alone is not, and the tests that are to pass before do
leaks      nothing of the fix is in the tree that an agent gets: no object, no commit, no remote
flaky      tests that do not end alike in all runs of the same patch, by name
licence    said by the dataset
flags      the reference itself breaks no rule of integrity
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from evals import environment
from evals.gitrun import git
from evals.grade import examine_run, outcomes, scorer
from evals.lab import hidden_files
from evals.place import lay_out, leaks, objects, scratch, sweep
from evals.solution import reference
from evals.types import Instance, Score, Tests
from evals.verdict import is_pass
from sandbox.base import BackendName, SandboxError
from sandbox.tree import remove_path


class TaskCheck(msgspec.Struct):
    """What was found of one task."""

    id: str
    oracle: list[bool] = []
    null_failed: bool = False
    null_passed: bool = False
    """Neither, where the base alone could not be graded."""
    flaky: list[str] = []
    leaks: list[str] = []
    flags: list[str] = []
    skipped: list[str] = []
    """Tests that are to pass and skip with the reference: the environment may lack something."""
    licence: str = ""
    problems: list[str] = []
    """Each a sentence; empty when the task is fit."""
    overhead_s: float = 0.0
    """The most that one grading took beside the tests."""
    tests_s: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.problems


class Report(msgspec.Struct):
    """What was found of a dataset."""

    scorer: str
    backend: str
    runs: int
    tasks: list[TaskCheck] = []
    environments: int = 0
    environments_bytes: int = 0
    duration_s: float = 0.0

    @property
    def ok(self) -> bool:
        return all(task.ok for task in self.tasks)

    def counts(self) -> dict[str, int]:
        """Of tasks, by what holds for them."""
        return {
            "tasks": len(self.tasks),
            "oracle": sum(len(task.oracle) == self.runs and all(task.oracle) for task in self.tasks),
            "null failed": sum(task.null_failed for task in self.tasks),
            "flaky": sum(bool(task.flaky) for task in self.tasks),
            "leaking": sum(bool(task.leaks) for task in self.tasks),
            "with skips": sum(bool(task.skipped) for task in self.tasks),
            "flagged": sum(bool(task.flags) for task in self.tasks),
            "without licence": sum(not task.licence for task in self.tasks),
            "fit": sum(task.ok for task in self.tasks),
        }


async def check(
    instances: Sequence[Instance],
    *,
    cache: Path,
    backend: BackendName,
    runs: int = 3,
    jobs: int = 1,
    on_task: Callable[[TaskCheck], None] = lambda _: None,
) -> Report:
    """Try all tasks, `jobs` at a time. Trouble with one is a problem of that task, no exception."""
    started = time.monotonic()
    room = asyncio.Semaphore(jobs)
    await asyncio.to_thread(sweep, cache)

    async def one(instance: Instance) -> TaskCheck:
        async with room:
            found = await check_task(instance, cache=cache, backend=backend, runs=runs)
        on_task(found)
        return found

    tasks = await asyncio.gather(*map(one, instances))
    names = {environment.key(each, backend) for each in instances if each.environment.install}
    places = [cache / "environments" / name for name in names]
    size = await asyncio.to_thread(lambda: sum(map(environment.disk, filter(Path.is_dir, places))))
    took = round(time.monotonic() - started, 1)
    return Report(scorer(), backend, runs, list(tasks), len(names), size, took)


async def check_task(instance: Instance, *, cache: Path, backend: BackendName, runs: int = 3) -> TaskCheck:
    """Try one task."""
    found = TaskCheck(instance.id, licence=instance.licence)
    try:
        patch = await reference(instance, cache=cache, backend=backend)
        found.leaks = await asyncio.to_thread(leaked, instance, cache)
        scores = [await _score(instance, patch, cache, backend, found) for _ in range(runs)]
        nothing = await _score(instance, "", cache, backend, found)
    except SandboxError as error:
        found.problems.append(error.advice)
        return found
    found.oracle = [score.resolved for score in scores]
    found.null_failed = not nothing.resolved and not nothing.error
    found.null_passed = nothing.resolved
    found.flaky = _flaky(scores)
    found.skipped = [test.id for test in scores[0].tests if test.outcome == "skipped"]
    found.flags = [
        f"{flag.rule}: {flag.detail} ({flag.path})" for flag in scores[0].flags if flag.weight == "tamper"
    ]
    _judge(found, scores, nothing)
    return found


async def _score(
    instance: Instance, patch: str, cache: Path, backend: BackendName, found: TaskCheck
) -> Score:
    # built by the first who asks: no part of grading
    await environment.obtain(instance, cache, backend)
    score = (await examine_run(instance, patch, cache=cache, backend=backend)).score
    found.overhead_s = max(found.overhead_s, round(score.duration_s - score.tests_s, 3))
    found.tests_s = max(found.tests_s, score.tests_s)
    return score


def _flaky(scores: Sequence[Score]) -> list[str]:
    seen = [outcomes(score) for score in scores]
    names = dict.fromkeys(name for each in seen for name in each)
    return [name for name in names if len({each.get(name) for each in seen}) > 1]


def _judge(found: TaskCheck, scores: Sequence[Score], nothing: Score) -> None:
    for number, score in enumerate(scores, 1):
        if score.error:
            found.problems.append(f"run {number} of the reference: {score.error}")
        elif not score.resolved:
            bad = [flag.detail for flag in score.flags if flag.rule == "killed"]
            bad += [f"{test.id} ({test.outcome})" for test in score.tests if not is_pass(test)]
            found.problems.append(f"run {number} of the reference is not resolved: {', '.join(bad[:5])}")
    if nothing.error:
        found.problems.append(f"the base alone: {nothing.error}")
    elif nothing.resolved:
        found.problems.append("the base alone is resolved: no test fails before")
    lost = [t.id for t in nothing.tests if t.group == "pass_to_pass" and not is_pass(t)]
    if lost:
        found.problems.append(f"tests that are to pass before do not: {', '.join(lost[:5])}")
    if found.flaky:
        found.problems.append(f"flaky tests, to be quarantined: {', '.join(found.flaky[:10])}")
    if found.leaks:
        found.problems.append(f"the agent's tree holds what it must not: {', '.join(found.leaks[:5])}")
    if found.flags:
        found.problems.append(f"the reference breaks a rule: {'; '.join(found.flags[:3])}")


def leaked(instance: Instance, cache: Path) -> list[str]:
    """What an agent's tree holds of the fix or of the tests. Blocking."""
    place = scratch(cache, "leaks")
    try:
        lay_out(instance, place, cache)
        found = list(leaks(instance, place))
        known: dict[str, Any] = instance.extra.get("columns") or {}
        fix = str(known.get("fix_commit") or "")
        if fix and fix in objects(place):
            found.append(f"the commit of the fix, {fix}")
        if git("remote", at=place).strip():
            found.append("a remote")
        if git("rev-list", "--all", "--count", at=place).strip() != b"1":
            found.append("more than one commit")
        if isinstance(instance.grading, Tests):
            hidden = hidden_files(instance.grading)
            found += [path for path, data in hidden.items() if _same(place / path, data)]
        return found
    finally:
        remove_path(place)


def _same(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data
