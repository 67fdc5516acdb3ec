"""Where the fault of a failing command may be; where reading leaves it open it is measured by coverage, and
by trial changes (`tools/trying.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from agent.bus import Branch
from agent.events import Noted
from agent.workbench import Workbench
from sandbox.base import Sandbox, SandboxError
from tools.localize import Suspect, is_weak, most_telling, suspects
from tools.probe import run_check
from tools.testreport import CheckResult, TestReport, TestResult
from tools.trying import MOST_SECONDS, settled

MAX_RUN_S = 20.0
"""A check that takes longer is not run once more to measure it."""
SLOWER = 5.0
"""Tests that are traced may take so many times as long before it is given up."""
START_S = 5.0
TRIED = 40
"""So many suspects have changes tried in them."""
SHOWN = 10


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
    `is_weak` says that the failure alone points nowhere clearly. Then small changes are tried as well, by
    pytest, in the same fork; the changes themselves are not told.
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
    try:
        async with bench.candidate() as candidate:
            ranked = await _measured(candidate.sandbox, command, report, sources, taken, branch)
    except SandboxError:
        ranked = []
    if not ranked:
        branch.emit(Noted("info", "measuring told nothing; going by the failure alone"))
    return msgspec.structs.replace(found, suspects=tuple(ranked[:SHOWN])) if ranked else found


async def _measured(
    sandbox: Sandbox,
    command: tuple[str, ...],
    report: TestReport,
    sources: Mapping[str, bytes],
    taken: float,
    branch: Branch,
) -> list[Suspect]:
    """The suspects by a traced run and by trials; none when the run told nothing."""
    slowest = START_S + SLOWER * taken
    check = await run_check(sandbox, command, timeout_s=slowest, coverage=True)
    if check.report is None or not check.report.lines:
        return []
    report = msgspec.structs.replace(report, lines=check.report.lines)
    found = await asyncio.to_thread(suspects, report, sources, limit=TRIED)
    branch.emit(Noted("info", "trying small changes of what they run"))
    return await settled(sandbox, command, report, sources, found, timeout_s=slowest + MOST_SECONDS)


def _read(report: TestReport, sources: Mapping[str, bytes]) -> Located:
    return Located(tuple(suspects(report, sources)), most_telling(report, sources))
