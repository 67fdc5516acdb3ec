"""Where the fault of a failing command may be; measured by coverage where reading leaves it open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from agent.bus import Branch
from agent.events import Noted
from agent.workbench import Workbench
from sandbox.base import SandboxError
from tools.localize import Suspect, is_weak, most_telling, suspects
from tools.probe import run_check
from tools.testreport import CheckResult, TestReport, TestResult

MAX_RUN_S = 20.0
"""A check that takes longer is not run once more to measure it."""
SLOWER = 5.0
"""Tests that are traced may take so many times as long before it is given up."""
START_S = 5.0


class Located(msgspec.Struct, frozen=True):
    """What is known of the fault."""

    suspects: tuple[Suspect, ...] = ()
    """Likeliest first."""
    failures: tuple[TestResult, ...] = ()
    """The failed tests, most telling first; empty when none is known by name."""


async def located(
    bench: Workbench,
    command: tuple[str, ...],
    before: CheckResult,
    sources: Mapping[str, bytes],
    branch: Branch,
) -> Located:
    """Where the failure points.

    The tests are run once more, traced, only when coverage.py is where they ran, the first run was short and
    `is_weak` says that the failure alone points nowhere clearly.
    """
    report = before.report
    if report is None:
        return Located()
    # the texts of a large tree take seconds to read
    found = await asyncio.to_thread(_read, report, sources)
    taken = before.exec.duration_s
    if not report.measurable or before.killed or taken > MAX_RUN_S or not is_weak(report, found.suspects):
        return found
    branch.emit(Noted("info", "the failure points at no function clearly; measuring what the tests run"))
    measured = await _measure(bench, command, START_S + SLOWER * taken)
    if measured is None or not measured.lines:
        branch.emit(Noted("info", "measuring told nothing; going by the failure alone"))
        return found
    report = msgspec.structs.replace(report, lines=measured.lines)
    return Located(
        tuple(await asyncio.to_thread(suspects, report, sources)) or found.suspects, found.failures
    )


def _read(report: TestReport, sources: Mapping[str, bytes]) -> Located:
    return Located(tuple(suspects(report, sources)), most_telling(report, sources))


async def _measure(bench: Workbench, command: tuple[str, ...], seconds: float) -> TestReport | None:
    """The report of a traced run in a fork of its own; None when there is none in time."""
    try:
        async with bench.candidate() as candidate:
            check = await run_check(candidate.sandbox, command, timeout_s=seconds, coverage=True)
    except SandboxError:
        return None
    return check.report
