"""Proof: the check is run by pawl itself, in a clean fork made from the base plus the patch alone.

A change to the tests, or to what steers them, proves nothing: such files are left as they were before, and
the receipt names them.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from agent.bus import Branch
from agent.events import CheckRan, OutputStreamed
from agent.result import Receipt
from agent.workbench import Workbench
from sandbox.base import Sandbox
from sandbox.patch import FileChange, Patch
from tools.probe import run_check
from tools.runners import steers
from tools.testreport import CheckResult, is_test_path

_STEERING = {
    "conftest.py",
    "pytest.ini",
    ".pytest.ini",
    "tox.ini",
    "noxfile.py",
    "setup.cfg",
    "pyproject.toml",
    "sitecustomize.py",
    "usercustomize.py",
}
_RUNNERS = {"pytest", "_pytest", "pluggy", "iniconfig", "xdist", "pawl_probe", "tox", "nox", "coverage"}


class Verdict(msgspec.Struct, frozen=True):
    """What the clean run proved of a patch."""

    patch: Patch
    """What was verified: the candidate's patch without protected files."""
    check: CheckResult
    receipt: Receipt
    lost: str = ""
    """Why a check that passes still proves nothing; empty when it does."""

    @property
    def verified(self) -> bool:
        return self.check.ok and not self.patch.empty and not self.lost


def lost_tests(before: CheckResult, after: CheckResult) -> str:
    """What the clean run no longer tells of the tests that ran before; empty when nothing.

    An exit code 0 alone can also come from a module that shadows the runner, or from tests that skip.
    """
    if before.report is None or before.report.runner == "python":
        return ""
    if after.report is None:
        return "the tests no longer run"
    passed, passes = (report.counts.get("passed", 0) for report in (before.report, after.report))
    if passes < passed:
        return f"only {passes} tests pass where {passed} did"
    seen = {test.id for test in after.report.tests if test.outcome == "passed"}
    for test in before.report.tests:
        if test.outcome == "passed" and test.id not in seen:
            return f"{test.id} passed and is no longer seen to"
    failed = {test.id for test in before.report.failures}
    skipped = [test.id for test in after.report.tests if test.outcome == "skipped" and test.id in failed]
    return f"{skipped[0]} failed and is now skipped" if skipped else ""


def shadows(change: FileChange) -> bool:
    """True for a new top-level module that would be imported in place of the test runner or the library."""
    name = PurePosixPath(change.path).parts[0].removesuffix(".py")
    return change.kind == "add" and (name in _RUNNERS or name in sys.stdlib_module_names)


def is_protected(path: str, check: tuple[str, ...] = ()) -> bool:
    """True for tests, what configures or is loaded by their run, and scripts that `check` itself starts."""
    pure = PurePosixPath(path)
    if pure.name in _STEERING or pure.suffix == ".pth" or is_test_path(path) or steers(path, check):
        return True
    words = {str(PurePosixPath(word)) for part in check for word in _words(part)}
    return str(pure) in words and (pure.suffix in ("", ".sh", ".bash") or (bool(check) and path == check[0]))


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


async def verify(
    bench: Workbench,
    patch: Patch,
    command: tuple[str, ...],
    before: CheckResult,
    *,
    branch: Branch,
    timeout_s: float,
    limit_s: float | None = None,
    allow_test_edits: bool = False,
) -> Verdict:
    """Run the check on the base plus `patch` without its protected files, and write the receipt."""
    touched = tuple(c.path for c in patch.changes if is_protected(c.path, command) or shadows(c))
    judged = patch if allow_test_edits else patch.without(touched)
    async with bench.candidate(judged, last=True) as candidate:  # mostly, for mostly it is verified
        check, log = await run_and_log(
            candidate.sandbox, command, "clean", branch=branch, timeout_s=timeout_s, limit_s=limit_s
        )
        caps = candidate.sandbox.caps
    receipt = Receipt(
        command=command,
        exit_before=before.exec.exit_code,
        exit_after=check.exec.exit_code,
        tests_before=counts(before),
        tests_after=counts(check),
        protected_files_touched=touched,
        sandbox=caps.backend,
        image=caps.image,
        log=str(log),
    )
    return Verdict(judged, check, receipt, lost_tests(before, check))


async def run_and_log(
    sandbox: Sandbox,
    command: tuple[str, ...],
    where: Literal["base", "attempt", "clean"],
    *,
    branch: Branch,
    timeout_s: float,
    limit_s: float | None,
) -> tuple[CheckResult, Path]:
    """Run the check, keep its whole output as an artifact and say so in the session."""
    log = branch.bus.log.artifacts / f"check-{len(branch.bus.log.records) + 1}-{where}.log"
    with log.open("wb") as whole:

        def hear(data: bytes) -> None:
            whole.write(data)
            branch.emit(OutputStreamed(data))

        check = await run_check(sandbox, command, timeout_s=timeout_s, limit_s=limit_s, on_output=hear)
    branch.emit(
        CheckRan(
            where=where,
            command=command,
            exit_code=check.exec.exit_code,
            timed_out=check.exec.timed_out,
            duration_s=check.exec.duration_s,
            tests=counts(check),
            artifact=str(log),
            killed=check.killed,
        )
    )
    return check, log


def counts(check: CheckResult) -> dict[str, int]:
    return dict(check.report.counts) if check.report else {}
