"""Where the fault of a failing command may be; measured by coverage where reading leaves it open."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.bus import Branch
from agent.events import Noted
from agent.workbench import Workbench
from sandbox.base import SandboxError
from tools.localize import Suspect, is_weak, suspects
from tools.probe import run_check
from tools.testreport import CheckResult, TestReport

MAX_RUN_S = 20.0
"""A check that takes longer is not run once more to measure it."""
SLOWER = 5.0
"""Tests that are traced may take so many times as long before it is given up."""
START_S = 5.0


async def located(
    bench: Workbench,
    command: tuple[str, ...],
    before: CheckResult,
    sources: Mapping[str, bytes],
    branch: Branch,
) -> tuple[Suspect, ...]:
    """The suspects, likeliest first.

    The tests are run once more, traced, only when coverage.py is where they ran, the first run was short and
    `is_weak` says that the failure alone points nowhere clearly.
    """
    report = before.report
    if report is None:
        return ()
    found = tuple(suspects(report, sources))
    taken = before.exec.duration_s
    if not report.measurable or before.killed or taken > MAX_RUN_S or not is_weak(report, found):
        return found
    branch.emit(Noted("info", "the failure points at no function clearly; measuring what the tests run"))
    measured = await _measure(bench, command, START_S + SLOWER * taken)
    if measured is None or not measured.lines:
        branch.emit(Noted("info", "measuring told nothing; going by the failure alone"))
        return found
    return tuple(suspects(msgspec.structs.replace(report, lines=measured.lines), sources)) or found


async def _measure(bench: Workbench, command: tuple[str, ...], seconds: float) -> TestReport | None:
    """The report of a traced run in a fork of its own; None when there is none in time."""
    try:
        async with bench.candidate() as candidate:
            check = await run_check(candidate.sandbox, command, timeout_s=seconds, coverage=True)
    except SandboxError:
        return None
    return check.report
