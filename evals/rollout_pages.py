"""What the report shows of each rollout, and how all of it is packed into little room."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

import msgspec

from evals.reading import Run, read_events
from evals.rows import AttemptRow, TaskRow
from evals.trajectory import Entry, entries
from evals.types import INFRASTRUCTURE, Rollout, Score
from evals.wording import ENDS, figure, percent
from tools.output import clip

SIZES = (20_000, 12_000, 8_000, 5_000, 3_000, 2_000, 1_200, 800, 500, 300, 200, 120, 80, 24, 0)
"""Longest text of a step, tried in turn until all rollouts fit; the session logs keep the whole."""
ENTRIES = (40, 8)
"""Of a rollout, from both of its ends, where steps do not fit even without texts."""
SHORTEST_PATCH = 240
MOST_TESTS = 60
_SAMPLE = 24


class Page(msgspec.Struct, frozen=True, kw_only=True):
    task: str
    outcome: str
    siblings: tuple[str, ...]
    """Units of the same task, this one included, by attempt."""
    facts: tuple[tuple[str, str], ...]
    flags: tuple[tuple[str, str, str], ...]
    """Rule, weight, detail."""
    statement: str
    patch: str
    reference: str
    tests: tuple[tuple[str, str, str, str], ...]
    """Id, group, outcome, message; what did not pass first."""
    tested: str
    entries: tuple[Entry, ...]


def rollout_pages(run: Run, tasks: Iterable[TaskRow]) -> dict[str, Page]:
    """By unit. Raises StoreError when a session log cannot be read."""
    return {row.unit: _page(run, task, row) for task in tasks for row in task.attempts}


def outcome(row: AttemptRow) -> str:
    """In one word, which is a class of the stylesheet too."""
    if not row.graded:
        return "ungraded"
    if row.end in INFRASTRUCTURE:
        return "infrastructure"
    return "solved" if row.solved else "unsolved"


def _page(run: Run, task: TaskRow, row: AttemptRow) -> Page:
    instance = run.instances[task.id]
    rollout, score = run.rollouts.get(row.unit), run.scores.get(row.unit)
    order = {"failed": 0, "error": 0, "missing": 0, "skipped": 1}
    tests = sorted(score.tests, key=lambda test: order.get(test.outcome, 2)) if score else []
    return Page(
        task=task.id,
        outcome=outcome(row),
        siblings=tuple(other.unit for other in task.attempts),
        facts=tuple((name, value) for name, value in _facts(row, rollout, score) if value),
        flags=tuple((flag.rule, flag.weight, flag.detail) for flag in score.flags) if score else (),
        statement=instance.statement,
        patch=rollout.patch if rollout else "",
        reference=instance.reference,
        tests=tuple((test.id, test.group, test.outcome, test.message) for test in tests[:MOST_TESTS]),
        tested=_tested(score),
        entries=tuple(entries(read_events(run, row.unit))) if rollout else (),
    )


def _facts(row: AttemptRow, rollout: Rollout | None, score: Score | None) -> Iterable[tuple[str, str]]:
    yield "unit", row.unit
    if rollout is None:
        yield "end", "not run yet"
        return
    yield "end", ENDS.get(row.end, row.end) + (f": {row.detail}" if row.detail else "")
    if score:
        yield "reward", figure(row.reward)
        yield "patch applied", "yes" if score.applied else "no"
        yield "grading failed", score.error
    if row.claimed is not None:
        yield "agent's own check", "passed" if row.claimed else "failed"
    yield "steps", f"{figure(row.steps)}, {figure(row.requests)} requests"
    yield (
        "tokens",
        f"{figure(row.input_tokens)} read ({figure(row.cached_tokens)} from cache), "
        f"{figure(row.output_tokens)} written",
    )
    yield "cost", "" if row.cost_usd is None else f"US$ {figure(row.cost_usd)}"
    yield "time", f"{row.seconds:.1f} s"
    yield "malformed calls, failed edits", f"{row.malformed_calls}, {row.failed_edits}"
    yield "begun", "" if row.tries < 2 else f"{row.tries} times"
    if row.longest_run is not None:
        share = "" if row.gram_share is None else f", {percent(row.gram_share)} of 13-grams"
        yield "as in the reference", f"{row.longest_run} tokens in a row{share}"
    rewards = rollout.extra.get("step_rewards")
    yield "step rewards", msgspec.json.encode(rewards).decode() if rewards else ""


def _tested(score: Score | None) -> str:
    if score is None or not score.tests:
        return ""
    said = []
    for group, name in (("fail_to_pass", "fail to pass"), ("pass_to_pass", "pass to pass")):
        own = [test for test in score.tests if test.group == group]
        if own:
            passed = sum(test.outcome in ("passed", "xfailed") for test in own)
            said.append(f"{name}: {passed} of {len(own)} passed")
    if len(score.tests) > MOST_TESTS:
        said.append(f"the first {MOST_TESTS} are shown")
    return "; ".join(said)


def pack(pages: dict[str, Page], room: int) -> str:
    """All pages as JSON, deflated, in base64: at most `room` characters, by cutting long texts shorter.

    Every step stays, unless all of them do not fit even without texts; then the middle of long rollouts goes.
    """
    units = list(pages)
    sample = units[:: max(1, len(units) // _SAMPLE)]
    shrink = len(units) / max(len(sample), 1)
    for size in SIZES:
        if len(_packed({unit: _cut(pages[unit], size) for unit in sample})) * shrink > room * 1.1:
            continue
        data = _packed({unit: _cut(page, size) for unit, page in pages.items()})
        if len(data) <= room:
            return data
    for most in ENTRIES:
        data = _packed({unit: _cut(page, SIZES[-1], most) for unit, page in pages.items()})
        if len(data) <= room:
            break
    return data


def _packed(pages: dict[str, Page]) -> str:
    return base64.b64encode(zlib.compress(msgspec.json.encode(pages), 6)).decode()


def _cut(page: Page, size: int, most: int | None = None) -> Page:
    """Patches may be three times as long as a step's text."""
    kept = page.entries
    if most is not None and len(kept) > most:
        gap = Entry("note", f"{len(kept) - most} entries left out", "", 0.0, 0)
        kept = (*kept[: most // 2], gap, *kept[len(kept) - most // 2 :])
    return msgspec.structs.replace(
        page,
        statement=_short(page.statement, size),
        patch=_short(page.patch, max(3 * size, SHORTEST_PATCH)),
        reference=_short(page.reference, 3 * size),
        tests=tuple((*test[:3], _short(test[3], size)) for test in page.tests),
        entries=tuple(_cut_entry(one, size) for one in kept),
    )


def _cut_entry(entry: Entry, size: int) -> Entry:
    if all(len(text) <= size for _, text in entry.parts):
        return entry
    if not size:
        return msgspec.structs.replace(entry, parts=())
    return msgspec.structs.replace(
        entry, parts=tuple((kind, _short(text, size)) for kind, text in entry.parts)
    )


def _short(text: str, size: int) -> str:
    return text if len(text) <= size else clip(text, limit=size, lines=size) if size else ""
