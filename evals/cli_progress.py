"""How far a run is, on stderr: a bar with the running pass rate on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.cli.progress import note
from evals.metrics import wilson
from evals.tally import Tally

QUIET_S = 10.0
"""Between two lines where there is no terminal."""


def line(tally: Tally) -> str:
    """Such as `12 of 40 scored · 41.7 % [19.3, 68.0] · 3 running`."""
    parts = [f"{tally.scored} of {tally.planned} scored"]
    if tally.scored:
        interval = wilson(tally.resolved, tally.scored)
        rate = 100 * tally.resolved / tally.scored
        parts.append(f"{rate:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]")
    if tally.running:
        parts.append(f"{tally.running} running")
    troubled = sum(count for end, count in tally.ends.items() if end.endswith("_error"))
    if troubled:
        parts.append(f"{troubled} errors")
    if tally.ungraded:
        parts.append(f"{tally.ungraded} not graded")
    if tally.retried:
        parts.append(f"{tally.retried} tried again")
    if tally.usage.cost_usd:
        parts.append(f"{tally.usage.cost_usd:.2f} USD")
    elif tally.usage.requests:
        parts.append(f"{tally.usage.input_tokens + tally.usage.output_tokens:,} tokens")
    if tally.paused:
        parts.append(f"paused: {tally.paused.replace('_', ' ')}")
    return " · ".join(parts)


@contextmanager
def shown_progress() -> Iterator[Callable[[Tally], None]]:
    """Gives what to call with each change."""
    if not sys.stderr.isatty():
        lines = _Lines()
        yield lines
        lines.last()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=None)

        def show(tally: Tally) -> None:
            bars.update(task, completed=tally.scored, total=tally.planned, description=line(tally))

        yield show


class _Lines:
    def __init__(self) -> None:
        self.tally = Tally()
        self.at = time.monotonic()
        self.shown = ""

    def __call__(self, tally: Tally) -> None:
        self.tally = tally
        if time.monotonic() - self.at >= QUIET_S:
            self.last()

    def last(self) -> None:
        self.at = time.monotonic()
        text = line(self.tally)
        if text != self.shown:
            self.shown = text
            note(text)
