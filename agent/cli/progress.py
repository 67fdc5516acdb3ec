"""How far something has come, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from agent.models.fetching import OnProgress


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def pull_progress(name: str) -> Iterator[OnProgress]:
    """A progress bar on stderr, or a line every tenth of the way when that is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines(name)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None, visible=False)

        def show(done: int, total: int | None) -> None:
            bars.update(task, completed=done, total=total, visible=True)

        yield show


class _Lines:
    """Progress as plain lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shown = -1

    def __call__(self, done: int, total: int | None) -> None:
        tenth = done * 10 // total if total else done // 10**8
        if tenth > self.shown:
            self.shown = tenth
            share = f"{tenth * 10:3d} % of {total / 1e6:,.0f} MB" if total else f"{done / 1e6:,.0f} MB"
            note(f"{self.name}: {share}")
