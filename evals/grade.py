"""Grading: from the patch alone, in a fresh sandbox, by tests whose results the patch does not write.

1. A tree is made from the base; the patch is put in; what it truly did is read by git on the host.
2. `evals.integrity` judges that. Files that are loaded unasked are taken away or put back; so are the tests.
3. The hidden tests are laid over it, and the command is run with `probes/pawl_grade.py` loaded.
4. The signed records are compared with the ids that must pass, with the exit code and with the session's end.

A result with a `tamper` flag is not resolved, whatever the tests said.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import secrets
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from evals import crosscheck, readback, verdict
from evals.integrity import Facts, Verdict, escapes, examine
from evals.lab import LOGS, PLUGIN_SOURCE, PLUGIN_TARGET, Lab, TestPatchFailed, open_lab
from evals.patches import paths
from evals.readback import Ended, Readback
from evals.types import Flag, Instance, Reported, Score, Script, TestOutcome, Tests
from sandbox.base import BackendName, ExecResult, SandboxError
from tools.ending import how_ended
from tools.output import readable
from tools.probe import Reports, place_of
from tools.runners import Command, Ran, load, read
from tools.testplan import Planned, by_command
from tools.testreport import TestReport, is_test_path

_SOURCES = (
    *(
        "grade.py",
        "verdict.py",
        "crosscheck.py",
        "integrity.py",
        "codescan.py",
        "patches.py",
        "readback.py",
        "lab.py",
    ),
    *("place.py", "environment.py", "editable.py"),
)
_REWARD_BYTES = 64 * 1024


@functools.cache
def scorer() -> str:
    """Name and hash of what grades here: it changes when the code does."""
    whole = hashlib.sha256()
    here = Path(__file__).parent
    for path in (*(here / name for name in _SOURCES), here / "probes" / "pawl_grade.py"):
        whole.update(path.read_bytes())
    return f"pawl-{whole.hexdigest()[:12]}"


class Graded(msgspec.Struct):
    """A score, and what is kept beside it."""

    score: Score
    output: bytes = b""
    """What the test command printed."""
    exit_code: int | None = None
    collected: tuple[str, ...] = ()
    patch: str = ""
    """What the patch did to the tree."""
    ended: dict[str, Ended] = {}
    """How every test ended, those that nobody named too."""
    broken: dict[str, str] = {}
    """Files of tests that could not be read, and what was said."""


async def grade(
    instance: Instance,
    patch: str,
    *,
    cache: Path,
    backend: BackendName,
    unit: str = "",
    keep: Path | None = None,
) -> Score:
    """Grade one patch. `keep` is a folder for `test_output.txt`.

    `Score.error` is set when grading itself failed. Only a defect of pawl is raised.
    """
    graded = await examine_run(instance, patch, cache=cache, backend=backend, unit=unit)
    if keep is not None:
        await asyncio.to_thread(_keep, keep, graded)
    return graded.score


def _keep(place: Path, graded: Graded) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "test_output.txt").write_bytes(graded.output)


async def examine_run(
    instance: Instance, patch: str, *, cache: Path, backend: BackendName, unit: str = ""
) -> Graded:
    """As `grade`, with all that is known about the run."""
    started = time.monotonic()
    score = functools.partial(Score, unit=unit, instance=instance.id, scorer=scorer())
    try:
        async with open_lab(instance, cache, backend) as lab:
            graded = await _grade(instance, patch, lab, score)
    except SandboxError as error:
        graded = Graded(score(resolved=False, reward=0.0, applied=False, error=error.advice))
    took = round(time.monotonic() - started, 3)
    graded.score = msgspec.structs.replace(graded.score, duration_s=took)
    return graded


async def _grade(instance: Instance, patch: str, lab: Lab, score: Any) -> Graded:
    if outside := escapes(patch):
        return Graded(score(resolved=False, reward=0.0, applied=False, flags=outside))
    if not await lab.apply(patch.encode("utf-8", "surrogateescape")):
        flags = (Flag("patch", "notice", "the patch does not apply"),)
        return Graded(score(resolved=False, reward=0.0, applied=False, flags=flags))
    done = await asyncio.to_thread(lab.diff)
    facts = _facts(instance, lab)
    judged = await asyncio.to_thread(examine, done, facts)
    try:
        await lab.settle(judged.remove, (*judged.restore, *facts.protected))
    except TestPatchFailed as error:
        if judged.tampered:
            return Graded(score(resolved=False, reward=0.0, applied=True, flags=judged.flags), patch=done)
        return Graded(score(resolved=False, reward=0.0, applied=True, error=str(error)), patch=done)
    if isinstance(instance.grading, Script):
        return await _by_script(instance.grading, judged, lab, score, done)
    return await _by_tests(instance, instance.grading, judged, lab, score, done)


def _facts(instance: Instance, lab: Lab) -> Facts:
    tests = instance.grading
    known = isinstance(tests, Tests)
    return Facts(
        base=lambda path: lab.content(path, base=True),
        after=lambda path: lab.content(path, base=False),
        reference=instance.reference,
        test_patch=tests.test_patch if isinstance(tests, Tests) else "",
        tests=(*tests.fail_to_pass, *tests.pass_to_pass) if isinstance(tests, Tests) else (),
        protected=verdict.protected(tests) if known and isinstance(tests, Tests) else (),
        steers=_steers(tests),
    )


def _steers(tests: Tests | Script) -> Callable[[str], bool]:
    """Whether a file is one of the tests, or decides what they do; ids of most runners name no file."""
    if not isinstance(tests, Reported):
        return lambda _: False
    runner = load()[tests.runner]
    return lambda path: is_test_path(path) or runner.steered_by(path)


async def _by_tests(
    instance: Instance, tests: Tests, judged: Verdict, lab: Lab, score: Any, patch: str
) -> Graded:
    result, records, text = await _run(tests, lab)
    seconds = round(result.duration_s, 3)
    output = result.output
    own = {*verdict.protected(tests), *paths(instance.reference)}
    found = verdict.judge(
        tests,
        instance.quarantined,
        records,
        exit_code=result.exit_code,
        output=readable(output),
        text=text,
        killed=how_ended(result, lab.sandbox.limits.timeout_s, lab.sandbox.limits)
        if result.exit_code is None
        else "",
        allowed_plugins=lambda path: path in own or lab.content(path, base=True) is not None,
        patched=frozenset(paths(patch)),
        root=lab.sandbox.root,
    )
    flags = (*judged.flags, *found.flags)
    if found.resolved:
        crossed, seconds = await _crossed(instance, tests, seconds, lab)
        flags += crossed
    tampered = any(flag.weight == "tamper" for flag in flags)
    resolved = found.resolved and not tampered
    return Graded(
        score(
            resolved=resolved,
            reward=float(resolved),
            applied=True,
            tests=found.tests,
            flags=flags,
            error="" if tampered else found.error,
            tests_s=seconds,
        ),
        output,
        result.exit_code,
        records.collected,
        patch,
        found.ended,
        records.collect_errors or _broken(text),
    )


def _broken(text: TestReport | None) -> dict[str, str]:
    tests = text.tests if text is not None else ()
    return {each.id: f"{each.message}\n{each.details}" for each in tests if each.outcome == "error"}


async def _crossed(
    instance: Instance, tests: Tests, seconds: float, lab: Lab
) -> tuple[tuple[Flag, ...], float]:
    """What the cross-checks of a good result say, and the seconds that all its tests took."""
    alone = None
    command = crosscheck.isolated(tests, _plugins(lab))
    if command is not None:
        result, records, _ = await _run(msgspec.structs.replace(tests, command=command), lab)
        alone, seconds = crosscheck.differs(tests, records), round(seconds + result.duration_s, 3)
    fast = crosscheck.too_fast(seconds, instance.extra.get("reference_s"))
    return tuple(flag for flag in (fast, alone) if flag is not None), seconds


def _plugins(lab: Lab) -> str:
    return PLUGIN_SOURCE if lab.sandbox.caps.backend == "local" else PLUGIN_TARGET


def _planned(tests: Tests) -> Planned:
    if isinstance(tests, Reported):
        return Planned(Command(tests.command, tests.reports), load()[tests.runner], own=False)
    return by_command(tests.command)


async def _run(tests: Tests, lab: Lab) -> tuple[ExecResult, Readback, TestReport | None]:
    """Run the command with the plugin, and read its records from a file that is new each time.

    Where the plugin saw no session, the third is what the runner's own reports say, or else its text.
    """
    key = secrets.token_bytes(32)
    out = f"/tmp/pawl-grade-{uuid.uuid4().hex}"
    env = {
        "PYTHONPATH": _plugins(lab),
        "PYTEST_ADDOPTS": "-p pawl_grade -p no:cacheprovider",
        "PYTHONPYCACHEPREFIX": "/tmp/pawl-pycache",
        "PAWL_GRADE_OUT": out,
    }
    planned = _planned(tests)
    reports = Reports(lab.sandbox, planned, f"{out}.begin")
    await reports.begin()
    printed: list[bytes] = []
    result = await lab.sandbox.run(tests.command, env=env, stdin=key, on_output=printed.append)
    chunks: list[bytes] = []
    await lab.sandbox.run(("cat", "--", out), on_output=chunks.append, timeout_s=60)
    data = b"".join(chunks) if chunks and not chunks[0].startswith(b"cat: ") else b""
    records = readback.read(data, key)
    whole = b"".join(printed)
    result = msgspec.structs.replace(result, head=whole, tail=b"", total_bytes=len(whole))
    if records.started:
        return result, records, None
    files, place = await reports.take(), await place_of(lab.sandbox, planned)
    ran = Ran(readable(whole), result.exit_code, lab.sandbox.root, files, place)
    return result, records, read(ran, planned.runner)


async def _by_script(script: Script, judged: Verdict, lab: Lab, score: Any, patch: str) -> Graded:
    """The reward is what the script leaves in /logs/verifier; missing or no number is an error, not 0."""
    sandbox = lab.sandbox
    await sandbox.run(("sh", "-c", f"rm -rf {LOGS}; mkdir -p {LOGS}"), timeout_s=60)
    result = await sandbox.run(script.command)
    chunks: list[bytes] = []
    show = f"cat {LOGS}/reward.json 2>/dev/null || cat {LOGS}/reward.txt"
    read_back = await sandbox.run(("sh", "-c", show), on_output=chunks.append, timeout_s=60)
    reward = verdict.reward(b"".join(chunks)[:_REWARD_BYTES]) if read_back.ok else None
    done = functools.partial(score, applied=True, flags=judged.flags, tests_s=round(result.duration_s, 3))
    if reward is None:
        why = f"the script left no reward (exit {result.exit_code}): {readable(result.output).strip()[-500:]}"
        return Graded(done(resolved=False, reward=0.0, error=why), result.output, patch=patch)
    kept = 0.0 if judged.tampered else min(max(reward, 0.0), 1.0)
    return Graded(done(resolved=kept >= 1.0, reward=kept), result.output, patch=patch)


def outcomes(score: Score) -> dict[str, str]:
    """Test id -> outcome."""
    return {test.id: test.outcome for test in score.tests}


def failures(score: Score) -> tuple[TestOutcome, ...]:
    """The tests that keep a result from being resolved."""
    return tuple(test for test in score.tests if not verdict.is_pass(test))
