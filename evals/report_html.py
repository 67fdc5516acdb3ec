"""A run, or a comparison of two, as ONE file that opens without a server and without a network.

What rollouts say is hostile. On the page it is escaped by the template or stands, packed, in a block that no
browser runs; the script shows it as text nodes only, and the page's policy lets nothing run or load but the
script and the style whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evals.charts import charts
from evals.comparison import Comparison
from evals.metrics import percentile
from evals.reading import Run
from evals.rollout_pages import outcome, pack, rollout_pages
from evals.rows import AttemptRow, TaskRow
from evals.summary import Summary
from evals.wording import ENDS, QUANTITIES, due, excluded, figure, interval, lost, percent, power

MAX_BYTES = 1_000_000
"""Of the whole file, for up to 500 tasks; beyond that in proportion."""
_FOLDER = Path(__file__).parent / "page"
_SLACK = 200


class Row(NamedTuple):
    """A line of the table of tasks."""

    id: str
    unit: str
    """The first attempt's, where the link goes."""
    repo: str
    difficulty: str
    outcome: str
    rate: float
    solved: str
    end: str
    figures: list[float | None]
    """Medians over the attempts, as the columns come; None for unknown."""
    flags: str


def render_report(run: Run, summary: Summary) -> str:
    """The report's page. Raises StoreError when a session log cannot be read."""
    fields = _report_fields(summary)
    bare = len(_render("report.html.j2", data="", **fields).encode())
    room = max(MAX_BYTES, MAX_BYTES * len(summary.tasks) // 500) - bare - _SLACK
    data = pack(rollout_pages(run, summary.tasks), room)
    return _render("report.html.j2", data=data, **fields)


def render_comparison(found: Comparison) -> str:
    warnings = []
    if not found.same_dataset:
        warnings.append("The datasets differ; tasks are paired by their ids.")
    if found.only_first or found.only_second:
        warnings.append(
            f"Left out: {found.only_first} tasks only in the first run, "
            f"{found.only_second} only in the second."
        )
    if any(found.infrastructure):
        one, two = found.infrastructure
        warnings.append(f"Ended by infrastructure and unsolved: {one} and {two} rollouts.")
    changes = [
        (QUANTITIES[one.name], (one.first, one.second, one.first_per_solved, one.second_per_solved))
        for one in found.changes
        if one.first is not None or one.second is not None
    ]
    runs = [(found.first, found.first_rate), (found.second, found.second_rate)]
    return _render("compare.html.j2", found=found, warnings=warnings, changes=changes, runs=runs, data="")


def _render(template: str, **fields: Any) -> str:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"percent": percent, "figure": figure, "interval": interval}
    style = (_FOLDER / "page.css").read_text("utf-8")
    script = (_FOLDER / "page.js").read_text("utf-8")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # both are files of ours and hold nothing of a run
    return environment.get_template(template).render(
        policy=policy, style=Markup(style), script=Markup(script), **fields
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _report_fields(summary: Summary) -> dict[str, Any]:
    tasks = summary.tasks
    run = summary.run
    about = (f"{run.agent} {run.agent_version}".strip(), run.model, run.benchmark, run.backend)
    rows = [_row(task) for task in tasks]
    return {
        "summary": summary,
        "facts": " · ".join(
            [part for part in about if part] + [f"{len(tasks):,} tasks × {run.attempts}", run.created_at]
        ),
        "warnings": [line for line in (excluded(summary), due(summary)) if line],
        "power": power(summary),
        "lost": lost(summary),
        "charts": charts(summary) if summary.resolved else [],
        "spent": [
            (name, found) for field, name in QUANTITIES.items() if (found := getattr(summary.spent, field))
        ],
        "ends": ENDS,
        "groupings": [
            (title, groups)
            for title, groups in (
                ("cut-off", summary.by_age),
                ("difficulty", summary.by_difficulty),
                ("repository", summary.by_repository),
            )
            if groups
        ],
        "habits": list(_habits(summary)),
        "trust": list(_trust(summary)),
        "rows": rows,
        "outcomes": sorted({row.outcome for row in rows}),
        "has": {
            "repo": any(task.repo for task in tasks),
            "difficulty": any(task.difficulty for task in tasks),
            "cost": summary.spent.cost_usd is not None,
        },
    }


def _row(task: TaskRow) -> Row:
    known = task.known
    outcomes = {outcome(row) for row in task.attempts}
    ends = {ENDS.get(row.end, row.end) for row in task.attempts}

    def median(value: Callable[[AttemptRow], float | None]) -> float | None:
        there = [found for row in task.attempts if row.end and (found := value(row)) is not None]
        return percentile(there, 0.5) if there else None

    columns: list[Callable[[AttemptRow], float | None]] = [lambda row: row.steps, lambda row: row.tokens]
    if any(row.cost_usd is not None for row in task.attempts):
        columns.append(lambda row: row.cost_usd)
    columns += [lambda row: row.seconds, lambda row: row.malformed_calls, lambda row: row.failed_edits]
    return Row(
        id=task.id,
        unit=task.attempts[0].unit,
        repo=task.repo,
        difficulty=task.difficulty,
        outcome=outcomes.pop() if len(outcomes) == 1 else "mixed",
        rate=task.rate if known else -1.0,
        solved=f"{task.solved} of {len(known)}",
        end=ends.pop() if len(ends) == 1 else "several",
        figures=[median(column) for column in columns],
        flags=", ".join(sorted({rule for row in task.attempts for rule in row.flags})),
    )


def _habits(summary: Summary) -> Iterator[tuple[str, str]]:
    habits = summary.habits
    yield "malformed calls", f"{habits.malformed_calls:,} in {percent(habits.malformed_share)} of rollouts"
    yield "failed edits", f"{habits.failed_edits:,} in {percent(habits.failed_edits_share)} of rollouts"
    yield "patches that do not apply", f"{habits.unapplied:,}"
    if habits.claimed:
        yield "said to be verified", f"{habits.claimed:,}, wrongly {habits.claimed_wrongly:,}"


def _trust(summary: Summary) -> Iterator[tuple[str, str]]:
    flaky, signs = summary.flaky, summary.signs
    yield "flags", ", ".join(f"{rule} {count:,}" for rule, count in summary.flags.items()) or "none"
    yield (
        "flaky tests, quarantined",
        f"{flaky.quarantined_tests:,} of {flaky.tests:,} ({percent(flaky.share)})",
    )
    yield "tasks solved by some attempts only", f"{flaky.undecided_tasks:,}"
    if signs.compared:
        yield (
            "tokens in a row as in the reference",
            f"{figure(signs.longest_median)} (median), {figure(signs.longest_max)} (most)",
        )
        yield "near copies of the reference", f"{signs.near:,} of {signs.compared:,}"
    if signs.canaries:
        yield "models that wrote the canary", f"{len(signs.canary_said):,} of {signs.canaries:,}"
    if twins := signs.twins:
        yield (
            f"drop on {twins.pairs:,} tasks with renamed identifiers",
            f"{100 * twins.drop.value:+.1f} points ({interval(twins.drop)})",
        )
