"""From a run's folder to report.json, and from two to a verdict."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from agent.messages import Usage
from evals.comparison import compare
from evals.metrics import Spread
from evals.reading import read_events, read_run
from evals.store import Ended, Run, StoreError
from evals.summary import Lost, Summary, encode, summarize
from evals.types import AgentSpec, End, Flag, Instance, TestOutcome
from evals.wording import excluded
from tests.support.made_run import HOSTILE, SCORER, MadeRun, big_run, diff, events, task

GUID = "0f0e0d0c-1111-2222-3333-444455556666"


def summary_of(run: MadeRun) -> Summary:
    return summarize(read_run(run.folder))


def graded(folder: Path, outcomes: list[list[bool]], **more: object) -> MadeRun:
    """A run with these outcomes, a list a task."""
    tasks = [task(number) for number in range(len(outcomes))]
    run = MadeRun(folder, tasks, attempts=len(outcomes[0]), **more)  # type: ignore[arg-type]
    for number, row in enumerate(outcomes):
        for attempt, resolved in enumerate(row):
            unit = run.unit(f"task-{number:03d}", attempt)
            run.roll(unit, patch=diff(number, "right"))
            run.grade(unit, resolved)
    return run


def test_the_rate_is_the_mean_over_tasks(tmp_path: Path) -> None:
    found = summary_of(graded(tmp_path / "run", [[True, True], [True, False], [False, False]]))
    assert found.resolved is not None
    assert (found.resolved.value, found.resolved.n) == (pytest.approx(0.5), 3)
    assert [(point.k, point.any.value, point.all.value) for point in found.curve] == [
        (1, pytest.approx(1 / 2), pytest.approx(1 / 2)),
        (2, pytest.approx(2 / 3), pytest.approx(1 / 3)),
    ]
    assert found.flaky.undecided_tasks == 1
    assert found.if_excluded is None


def test_infrastructure_stays_in_the_denominator_and_is_shown_beside(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(number) for number in range(4)])
    ends: list[End] = ["submitted", "provider_error", "submitted", "submitted"]
    for unit, end in zip(run.units, ends, strict=True):
        run.roll(unit, end)
    run.grade(run.units[0], True)
    run.grade(run.units[2], False, error="the tests could not be started")
    run.grade(run.units[3], False)
    found = summary_of(run)
    assert found.resolved is not None and found.if_excluded is not None
    assert (found.resolved.value, found.resolved.n) == (0.25, 4)
    assert (found.if_excluded.value, found.if_excluded.n) == (0.5, 2)
    assert (found.infrastructure, found.verifier_errors) == (1, 1)
    assert found.progress.graded == 4


def test_where_nothing_is_the_agents_own_the_report_says_so(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(number) for number in range(2)])
    run.roll(run.units[0], "sandbox_error")
    run.roll(run.units[1])
    run.grade(run.units[1], False, error="collected nothing")
    found = summary_of(run)
    assert (found.resolved and found.resolved.value, found.if_excluded) == (0.0, None)
    assert excluded(found) == (
        "Nothing here is the agent's own: 1 ended by infrastructure, 1 could not be graded."
    )


def test_what_has_no_outcome_yet_is_counted_as_due_and_not_as_failed(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(number) for number in range(3)])
    run.roll(run.units[0])
    run.grade(run.units[0], True)
    run.roll(run.units[1])
    found = summary_of(run)
    assert found.resolved is not None and found.resolved.value == 1.0
    progress = found.progress
    assert (progress.units, progress.rollouts, progress.graded, progress.tasks_counted) == (3, 2, 1, 1)


def test_a_run_with_nothing_graded_has_no_rate(tmp_path: Path) -> None:
    found = summary_of(MadeRun(tmp_path / "run", [task(0)]))
    assert (found.resolved, found.can_show, found.curve) == (None, 1.0, ())


def test_tampering_resolves_nothing(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(0)])
    run.roll(run.units[0])
    run.grade(run.units[0], True, flags=(Flag("conftest", "tamper", "new"), Flag("slow", "notice", "")))
    found = summary_of(run)
    assert found.resolved is not None and found.resolved.value == 0
    assert (found.tampered, found.flags) == (1, {"conftest": 1, "slow": 1})


def test_grading_again_gives_the_same_bytes(tmp_path: Path) -> None:
    run = big_run(tmp_path / "run", 30, steps=2)
    first = encode(summary_of(run))
    for path in (run.folder / "scores").iterdir():
        score = msgspec.json.decode(path.read_bytes())
        path.unlink()
        score["duration_s"] = score["tests_s"] = 99.0
        path.write_bytes(msgspec.json.encode(score))
    assert encode(summary_of(run)) == first
    assert msgspec.json.decode(first, type=Summary).progress.units == 30


def test_spent_counts_all_and_is_divided_by_what_was_solved(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(0), task(1)])
    run.roll(run.units[0], usage=Usage(1000, 400, 50, 3, 0.5), duration_s=10, malformed_calls=2)
    run.roll(run.units[1], usage=Usage(3000, 0, 150, 5, None), duration_s=30, verified=True)
    run.grade(run.units[0], True)
    run.grade(run.units[1], False, applied=False)
    found = summary_of(run)
    spent, habits = found.spent, found.habits
    assert spent.tokens is not None and spent.cost_usd is not None
    assert (spent.tokens.total, spent.tokens.per_solved) == (4200, 4200)
    assert (spent.cost_usd.total, spent.cost_usd.per_solved) == (0.5, 0.5)
    assert spent.cached_share == 0.1
    assert (habits.malformed_calls, habits.malformed_share, habits.unapplied) == (2, 0.5, 1)
    assert (habits.claimed, habits.claimed_wrongly) == (1, 1)


def test_tries_that_came_to_nothing_are_paid_for_too(tmp_path: Path) -> None:
    run = graded(tmp_path / "run", [[True]])
    place = run.folder / "attempts" / run.units[0].id
    ended = Ended("sandbox_error", "why", Usage(700, 0, 50, 2, 0.25))
    (place / "1.ended").write_bytes(msgspec.json.encode(ended))
    (late,) = Run.open(run.folder).rollouts()
    late = msgspec.structs.replace(late, usage=Usage(input_tokens=50))
    (place / "dup-2.json").write_bytes(msgspec.json.encode(late))
    (place / "3.started").write_bytes(b"{}")
    assert summary_of(run).lost == Lost(2, 800, 0.25)
    assert summary_of(run).spent.tokens == Spread(0, 0, 0, 0, 0)


def test_quarantined_tests_are_a_share_of_all(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(0, quarantined=("t.py::test_flaky",)), task(1)])
    flaky = summary_of(run).flaky
    assert (flaky.quarantined_tests, flaky.tests, flaky.tasks_with_quarantine) == (1, 5, 1)


def test_before_and_after_the_cut_off(tmp_path: Path) -> None:
    run = graded(tmp_path / "run", [[True], [True], [False], [False]])
    found = summarize(read_run(run.folder), date(2026, 2, 3))
    assert [(group.name, group.rate.value, group.rate.n) for group in found.by_age] == [
        ("after 2026-02-03", 0.0, 2),
        ("until 2026-02-03", 1.0, 2),
    ]
    assert summary_of(run).by_age == ()


def test_the_cut_off_may_be_a_setting_of_the_agent(tmp_path: Path) -> None:
    agent = AgentSpec(name="pawl", settings={"cutoff": "2026-02"})
    with pytest.raises(StoreError, match="cutoff is no date: '2026-02'"):
        summary_of(graded(tmp_path / "a", [[True]], agent=agent))
    agent = AgentSpec(name="pawl", settings={"cutoff": "2026-02-01"})
    assert summary_of(graded(tmp_path / "b", [[True]], agent=agent)).by_age[0].name == "until 2026-02-01"


def test_a_canary_in_the_models_words_is_found_and_one_in_a_result_is_not(tmp_path: Path) -> None:
    marked = [task(number, canary=f"canary GUID {GUID}") for number in range(4)]
    run = MadeRun(tmp_path / "run", marked)
    said = events(0, 1, lambda step: f"I know {GUID.upper()}" if step > 0 else "")
    read = events(1, 1, lambda step: f"file: {GUID}" if step < 0 else "")
    run.roll(run.units[0], events=said)
    run.roll(run.units[1], events=read)
    run.roll(run.units[2], patch=f"+# {GUID}\n")
    run.roll(run.units[3], patch="+#\n")
    other = run.folder / "attempts" / run.units[3].id
    other.mkdir(parents=True, exist_ok=True)
    (other / "output.txt").write_bytes(f"another program \xff: {GUID}".encode("latin-1"))
    for unit in run.units:
        run.grade(unit, False)
    signs = summary_of(run).signs
    assert (signs.canaries, signs.canary_said) == (4, tuple(run.units[n].id for n in (0, 2, 3)))


def test_twins_give_the_paired_drop_and_do_not_count_twice(tmp_path: Path) -> None:
    originals = [task(number) for number in range(12)]
    twins = [
        msgspec.structs.replace(one, id=f"{one.id}.twin", extra={"twin_of": one.id}) for one in originals
    ]
    run = MadeRun(tmp_path / "run", originals + twins)
    for unit in run.units:
        run.roll(unit)
        run.grade(unit, not unit.instance.endswith(".twin") or unit.instance < "task-006")
    found = summary_of(run)
    assert found.signs.twins is not None and found.resolved is not None
    assert found.signs.twins.pairs == 12
    assert found.signs.twins.drop.value == pytest.approx(0.5)
    assert found.signs.twins.drop.interval.low > 0
    assert (found.resolved.value, found.resolved.n) == (1.0, 12)
    assert compare(found, found).tasks == 12


# --- two runs


def test_many_wins_are_better_and_the_words_say_by_what(tmp_path: Path) -> None:
    first = summary_of(graded(tmp_path / "old", [[n % 3 == 0] for n in range(30)]))
    second = summary_of(graded(tmp_path / "new", [[n % 3 != 1] for n in range(30)]))
    found = compare(first, second)
    assert (found.wins, found.losses, found.ties, found.verdict) == (10, 0, 20, "better")
    assert found.mcnemar is not None and found.mcnemar.p == pytest.approx(2 / 2**10)
    assert found.words.startswith("new is better than old: +33.3 points (95 % interval +")
    assert "exact McNemar p = 0.00195" in found.words
    assert found.gained[0].id == "task-002" and not found.lost
    assert compare(second, first).verdict == "worse"
    assert compare(first, first).verdict == "no difference shown"


def test_few_flips_show_nothing_and_the_power_line_says_why(tmp_path: Path) -> None:
    first = summary_of(graded(tmp_path / "old", [[n < 28] for n in range(56)]))
    second = summary_of(graded(tmp_path / "new", [[n < 31] for n in range(56)]))
    found = compare(first, second)
    assert found.verdict == "no difference shown"
    assert found.words.startswith("No difference between old and new is shown: +5.4 points")
    assert "These 56 tasks can show a difference of 17 points or more" in found.power
    assert "628 tasks" in found.power


def test_a_small_set_can_show_no_more_than_its_tasks_allow(tmp_path: Path) -> None:
    """Five wins of five are no proof: McNemar's p is 0.0625."""
    words = {
        n: compare(*[summary_of(graded(tmp_path / f"{n}{good}", [[good]] * n)) for good in (False, True)])
        for n in (5, 24)
    }
    assert words[5].power.startswith("These 5 tasks cannot show any difference")
    assert words[24].power.startswith("These 24 tasks can show a difference of 57 points or more")


def test_several_attempts_are_judged_by_the_paired_interval(tmp_path: Path) -> None:
    first = summary_of(graded(tmp_path / "old", [[n % 2 == 0, False] for n in range(40)]))
    second = summary_of(graded(tmp_path / "new", [[True, n % 2 == 0] for n in range(40)]))
    found = compare(first, second)
    assert (found.mcnemar, found.verdict) == (None, "better")
    assert "paired bootstrap over 40 tasks" in found.words


def test_runs_without_a_common_task_cannot_be_compared(tmp_path: Path) -> None:
    first = summary_of(graded(tmp_path / "old", [[True]]))
    second = summary_of(MadeRun(tmp_path / "new", [task(0)]))
    with pytest.raises(StoreError, match="no task in common"):
        compare(first, second)


# --- a folder that is not right


def one_task(folder: Path) -> MadeRun:
    return graded(folder / "run", [[True]])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"it has no run\.json"):
        read_run(tmp_path)


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    run = one_task(tmp_path)
    (run.folder / "run.json").write_text('{"format": 7}')
    with pytest.raises(StoreError, match="has format 7, this pawl reads format 1"):
        read_run(run.folder)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    run = one_task(tmp_path)
    with (run.folder / "instances.jsonl").open("a") as file:
        file.write('{"id": 3}\n{"torn": ')
    with pytest.raises(StoreError, match=r"instances\.jsonl:2: .*`\$\.id`"):
        read_run(run.folder)


def test_a_result_of_another_unit_is_refused(tmp_path: Path) -> None:
    run = one_task(tmp_path)
    path = run.folder / "results" / f"{run.units[0].id}.json"
    path.write_bytes(path.read_bytes().replace(run.units[0].id.encode(), b"other"))
    with pytest.raises(StoreError, match="is the result of another unit, 'other'"):
        read_run(run.folder)


def test_a_unit_without_its_task_is_refused(tmp_path: Path) -> None:
    run = one_task(tmp_path)
    (run.folder / "instances.jsonl").write_bytes(b"")
    with pytest.raises(StoreError, match="no instance is called 'task-000'"):
        read_run(run.folder)


def test_which_scorer_counts(tmp_path: Path) -> None:
    run = one_task(tmp_path)
    run.grade(run.units[0], False, scorer="other-2")
    assert read_run(run.folder).scorer == SCORER
    assert not read_run(run.folder, "other-2").scores[run.units[0].id].resolved
    with pytest.raises(StoreError, match=r"nothing is graded by 'third'; there is other-2, tests-1"):
        read_run(run.folder, "third")
    run.grade(run.units[0], False, scorer="other-3")
    (run.folder / "scores" / f"{run.units[0].id}.{SCORER}.json").unlink()
    with pytest.raises(StoreError, match="--scorer says whose"):
        read_run(run.folder)


def test_a_torn_session_log_gives_what_is_there(tmp_path: Path) -> None:
    run = one_task(tmp_path)
    unit = run.units[0].id
    whole = MadeRun(tmp_path / "whole", [task(0)])
    whole.roll(whole.units[0], events=events(0, 50, lambda step: f"{step} {HOSTILE}"))
    data = (whole.folder / "attempts" / whole.units[0].id / "events.jsonl.gz").read_bytes()
    assert read_events(read_run(run.folder), unit) == []
    path = run.folder / "attempts" / unit / "events.jsonl.gz"
    path.write_bytes(data[: len(data) // 2])
    found = read_events(read_run(run.folder), unit)
    assert 0 < len(found) < 152 and found[0]["type"] == "conversation_started"
    path.write_bytes(b"no gzip")
    assert read_events(read_run(run.folder), unit) == []


def test_scores_with_thousands_of_tests_are_counted(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(0)])
    run.roll(run.units[0])
    run.grade(
        run.units[0], True, tests=tuple(TestOutcome(f"t{n}", "pass_to_pass", "passed") for n in range(5000))
    )
    row = summary_of(run).tasks[0].attempts[0]
    assert (row.tests_passed, row.tests) == (5000, 5000)


def test_instances_come_back_as_they_were(tmp_path: Path) -> None:
    tasks: list[Instance] = [task(number) for number in range(3)]
    run = MadeRun(tmp_path / "run", tasks)
    assert list(read_run(run.folder).instances.values()) == tasks
