"""Tries candidates one after the other, some at a time, until there are enough tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from evals.gitrun import GitFailed
from evals.mining.journal import TASK, Entry, Journal
from evals.mining.rejected import Rejected
from sandbox.base import SandboxError

Row = dict[str, Any]
TROUBLES = 3
"""Failing sandboxes in a row: it is not the candidates."""
PUT_OFF = "put off, the sandbox failed"


class Candidate(NamedTuple):
    """`attempt` gives the task's row, or raises Rejected."""

    key: str
    title: str
    attempt: Callable[[], Awaitable[Row]]


async def collect(
    journal: Journal,
    candidates: Iterable[Candidate],
    *,
    jobs: int = 1,
    limit: int | None = None,
    on_entry: Callable[[Entry], None] = lambda _: None,
) -> None:
    """Try those that the journal has not, `jobs` at a time, until it has `limit` tasks.

    A candidate whose sandbox fails is put off: it is not in the journal, so a later start tries it again;
    `TROUBLES` in a row end it, as does any other exception but Rejected and GitFailed. What was found stays.
    """
    troubles = 0
    waiting = iter([each for each in candidates if each.key not in journal.entries])

    def enough() -> bool:
        return limit is not None and journal.counts()[TASK] >= limit

    async def work() -> None:
        nonlocal troubles
        for candidate in waiting:
            if enough():
                return
            try:
                entry = await _try(candidate)
            except SandboxError as error:
                troubles += 1
                if troubles >= TROUBLES:
                    raise
                on_entry(Entry(candidate.key, PUT_OFF, candidate.title, str(error)))
                continue
            troubles = 0
            if entry.row is None or not enough():
                journal.add(entry)
                on_entry(entry)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(jobs):
                group.create_task(work())
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None


async def _try(candidate: Candidate) -> Entry:
    started = time.monotonic()
    row: Row | None = None
    outcome, detail = TASK, ""
    try:
        row = await candidate.attempt()
    except Rejected as rejected:
        outcome, detail = rejected.reason, rejected.detail
    except GitFailed as error:  # a history that is cut off, or wrong on purpose
        outcome, detail = "cannot be read", str(error)
    took = round(time.monotonic() - started, 1)
    return Entry(candidate.key, outcome, candidate.title, detail, took, row)
