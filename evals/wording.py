"""Figures as words, alike in the terminal and on the page."""

from __future__ import annotations

from evals import metrics
from evals.metrics import Estimate
from evals.summary import Summary

QUANTITIES = {
    "tokens": "tokens",
    "input_tokens": "tokens read",
    "output_tokens": "tokens written",
    "cost_usd": "cost, US$",
    "seconds": "time, s",
    "requests": "requests",
    "steps": "steps",
}
"""Field of `Spent` -> what it is called."""

ENDS = {
    "submitted": "ended by itself",
    "no_change": "changed nothing",
    "limit": "reached a limit",
    "loop": "went in circles",
    "refused": "refused",
    "agent_error": "agent crashed",
    "sandbox_error": "sandbox failed",
    "provider_error": "provider failed",
    "key_refused": "key refused",
    "quota_used_up": "quota used up",
    "engine_error": "engine failed",
    "verifier_error": "grading failed",
    "cancelled": "cancelled",
}


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def figure(value: float | None) -> str:
    """Three digits that count, thousands apart; a dash for unknown."""
    if value is None:
        return "–"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def interval(found: Estimate) -> str:
    return f"{100 * found.interval.low:.1f} to {100 * found.interval.high:.1f} %"


def due(summary: Summary) -> str:
    """What is missing of the run; empty when it is whole."""
    progress = summary.progress
    missing = progress.units - progress.graded
    if not missing:
        return ""
    ungraded = progress.rollouts - progress.graded
    return (
        f"Not whole: {missing:,} of {progress.units:,} rollouts have no outcome yet"
        + (f" ({ungraded:,} wait for grading)" if ungraded else "")
        + f"; the rates are over the {progress.tasks_counted:,} tasks of {progress.tasks:,} with one."
    )


def excluded(summary: Summary) -> str:
    """What is not the agent's own and the number without it; empty without trouble."""
    causes = [
        (summary.infrastructure, "ended by infrastructure"),
        (summary.verifier_errors, "could not be graded"),
        (sum(row.rollouts for row in summary.ends if row.end == "cancelled"), "cancelled"),
    ]
    named = ", ".join(f"{count:,} {cause}" for count, cause in causes if count)
    found = summary.if_excluded
    if found is None:
        return f"Nothing here is the agent's own: {named}." if named else ""
    return f"If excluded: {percent(found.value)} ({interval(found)}) of {found.n:,} tasks; {named}."


def lost(summary: Summary) -> str:
    """What was paid for nothing; empty when nothing was."""
    if not summary.lost.tries:
        return ""
    cost = "" if summary.lost.cost_usd is None else f", US$ {figure(summary.lost.cost_usd)}"
    return f"Besides, {summary.lost.tries:,} lost tries took {summary.lost.tokens:,} tokens{cost}."


def power(summary: Summary) -> str:
    found = can_show(summary.can_show, metrics.DISCORDANT, "to another run")
    return f"This set {found}."


def can_show(smallest: float, discordant: float, than: str, how: str = "") -> str:
    """What a set of tasks can show; a difference is at most the share of tasks that differ."""
    if smallest >= 1:
        return "cannot show any difference (80 % power, 5 % level)"
    share = f"{100 * max(discordant, smallest):.0f} % of tasks differ{how}"
    return f"can show a difference of {100 * smallest:.0f} points {than} (80 % power, 5 % level, {share})"
