"""A run's figures, and a comparison of two runs, as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.render import visible
from evals.comparison import Comparison, Flip
from evals.summary import Group as Tasks
from evals.summary import Summary
from evals.wording import ENDS, QUANTITIES, due, excluded, figure, interval, lost, percent, power

BAR = 24
"""Columns of the longest bar."""
MOST = 20
"""Rows of a long table: repositories, flips."""


def show_report(console: Console, summary: Summary) -> None:
    """The whole report, headline first."""
    for part in _report(summary):
        console.print(part, soft_wrap=isinstance(part, Text))


def show_comparison(console: Console, found: Comparison) -> None:
    for part in _comparison(found):
        console.print(part, soft_wrap=isinstance(part, Text))


def _report(summary: Summary) -> Iterable[RenderableType]:
    run, counted = summary.run, summary.progress
    who = " · ".join(part for part in (run.agent, run.model, run.benchmark) if part)
    yield Text(visible(f"{run.name}: {who}, {counted.tasks:,} tasks × {run.attempts}"), style="bold")
    if summary.resolved is None:
        yield Text("Nothing is graded yet.", style="yellow")
        return
    found = summary.resolved
    yield Text.assemble(
        ("resolved  ", "bold"),
        (percent(found.value), "bold green"),
        f"  ({interval(found)}, {found.interval.method}) of {found.n:,} tasks",
    )
    for line in (excluded(summary), due(summary)):
        if line:
            yield Text(line, style="yellow")
    yield Text(power(summary), style="dim")
    yield _spent(summary)
    if line := lost(summary):
        yield Text(line)
    yield _ends(summary)
    if len(summary.curve) > 1:
        yield _curve(summary)
    for title, groups in (
        ("model's cut-off", summary.by_age),
        ("difficulty", summary.by_difficulty),
        ("repository", summary.by_repository),
    ):
        if groups:
            yield _groups(title, groups)
    yield from (Text(line, style=style) for line, style in _remarks(summary))


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(title)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _spent(summary: Summary) -> Table:
    table = _table("per rollout", "median", "p90", "max", "total", "per solved")
    for field, name in QUANTITIES.items():
        if (found := getattr(summary.spent, field)) is not None:
            values = (found.median, found.p90, found.max, found.total, found.per_solved)
            table.add_row(name, *map(figure, values))
    if summary.spent.cached_share is not None:
        table.add_row("read from cache", *[""] * 3, percent(summary.spent.cached_share), "")
    return table


def _ends(summary: Summary) -> Table:
    table = _table("end", "rollouts", "solved", "tokens")
    table.add_column("")
    longest = max((row.rollouts for row in summary.ends), default=1)
    for row in summary.ends:
        bar = "█" * max(1, round(BAR * row.rollouts / longest))
        name = ENDS.get(row.end, row.end)
        table.add_row(name, *map(figure, (row.rollouts, row.solved, row.tokens)), Text(bar, style="blue"))
    return table


def _curve(summary: Summary) -> Table:
    table = _table("k", "pass@k", "95 %", "pass^k", "95 %", "tasks")
    for point in summary.curve:
        table.add_row(
            str(point.k),
            percent(point.any.value),
            interval(point.any),
            percent(point.all.value),
            interval(point.all),
            str(point.any.n),
        )
    return table


def _groups(title: str, groups: Sequence[Tasks]) -> RenderableType:
    table = _table(title, "tasks", "resolved", "95 %")
    for group in groups[:MOST]:
        row = (figure(group.rate.n), percent(group.rate.value), interval(group.rate))
        table.add_row(Text(visible(group.name)), *row)
    if len(groups) > MOST:
        return Group(table, Text(f"and {len(groups) - MOST} more; --json has them all", style="dim"))
    return table


def _remarks(summary: Summary) -> Iterable[tuple[str, str]]:
    habits, flaky, signs = summary.habits, summary.flaky, summary.signs
    yield (
        f"malformed calls: {habits.malformed_calls:,} in {percent(habits.malformed_share)} of rollouts; "
        f"failed edits: {habits.failed_edits:,} in {percent(habits.failed_edits_share)}; "
        f"patches that do not apply: {habits.unapplied:,}",
        "",
    )
    if habits.claimed:
        yield (
            f"said to be verified by the agent: {habits.claimed:,}, wrongly: {habits.claimed_wrongly:,}",
            "yellow" if habits.claimed_wrongly else "",
        )
    if flaky.quarantined_tests or flaky.undecided_tasks:
        yield (
            f"quarantined as flaky: {flaky.quarantined_tests:,} of {flaky.tests:,} tests "
            f"({percent(flaky.share)}); tasks solved by some attempts only: {flaky.undecided_tasks:,}",
            "",
        )
    for rule, count in summary.flags.items():
        yield visible(f"flagged {rule}: {count:,} rollouts"), "red"
    if signs.compared:
        yield (
            f"overlap with the reference: {figure(signs.longest_median)} tokens in a row (median), "
            f"{figure(signs.longest_max)} at most; near copies: {signs.near:,} of {signs.compared:,}",
            "",
        )
    if signs.canary_said:
        yield f"models that wrote the canary: {len(signs.canary_said):,}", "red"
    if twins := signs.twins:
        yield (
            f"{twins.pairs:,} tasks with renamed identifiers: {percent(twins.original)} before, "
            f"{percent(twins.renamed)} after; drop {100 * twins.drop.value:+.1f} points "
            f"({interval(twins.drop)})",
            "",
        )


def _comparison(found: Comparison) -> Iterable[RenderableType]:
    style = {"better": "bold green", "worse": "bold red"}.get(found.verdict, "bold")
    yield Text(visible(found.words), style=style)
    yield Text(found.power, style="dim")
    if not found.same_dataset:
        yield Text("The datasets differ; tasks are paired by their ids.", style="yellow")
    if found.only_first or found.only_second:
        yield Text(
            f"{found.only_first:,} tasks only in the first run and {found.only_second:,} only in the second "
            "are left out.",
            style="yellow",
        )
    if any(found.infrastructure):
        one, two = found.infrastructure
        yield Text(f"Ended by infrastructure and unsolved: {one:,} and {two:,} rollouts.", style="yellow")
    table = _table(f"{found.tasks:,} tasks", "resolved", "95 %")
    for run, rate in ((found.first, found.first_rate), (found.second, found.second_rate)):
        table.add_row(Text(visible(run.name)), percent(rate.value), interval(rate))
    yield table
    yield Text(f"wins {found.wins:,} · losses {found.losses:,} · ties {found.ties:,}")
    yield _changes(found)
    for title, flips in (("gained", found.gained), ("lost", found.lost)):
        if flips:
            yield _flips(title, flips)


def _changes(found: Comparison) -> Table:
    table = _table("", "median, first", "second", "per solved, first", "second")
    for change in found.changes:
        values = (change.first, change.second, change.first_per_solved, change.second_per_solved)
        if any(value is not None for value in values):
            table.add_row(QUANTITIES[change.name], *map(figure, values))
    return table


def _flips(title: str, flips: Sequence[Flip]) -> RenderableType:
    table = _table(title, "first", "second")
    for flip in flips[:MOST]:
        table.add_row(Text(visible(flip.id)), percent(flip.first), percent(flip.second))
    if len(flips) > MOST:
        return Group(table, Text(f"and {len(flips) - MOST} more; --json has them all", style="dim"))
    return table
