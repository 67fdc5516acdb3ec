"""What every runner of `tools/runners/` must do, on what real runs left (`tests/golden/runners/`)."""

from __future__ import annotations

import importlib
import inspect
import random
import time

import pytest

from sandbox.base import ExecResult
from tests.support.runner_cases import RUN, Case, Cases, Recorded, cases, names, project, ran, recorded
from tools.runners import Ran, Runner, Selection, candidates, load, owner, read
from tools.testplan import OUT, parse_selection
from tools.testreport import CheckResult, TestReport, could_not_start, describe

EVERY = {"passing", "failing", "erroring", "zero", "skipped", "one", "syntax"}
ALL = [(name, title) for name in names() for title in cases(name).cases]
WITHOUT_RUNS = {"npm", "nox", "python", "tox"}
"""They start others, or are no test runner: test_commands.py and test_testreport.py."""


def made(name: str, title: str) -> tuple[Cases, Case, Recorded]:
    of = cases(name)
    return of, of.cases[title], recorded(name, title)


def report_of(name: str, title: str, *, text_only: bool = False) -> TestReport:
    report = read(ran(*made(name, title), text_only=text_only), load()[name])
    assert report is not None
    return report


def checked(report: TestReport | None, left: Recorded) -> CheckResult:
    ended = ExecResult(left.exit_code, None, False, False, False, b"", b"", 0, 0.1)
    return CheckResult(ended, report, left.output)


def test_every_runner_has_recorded_runs() -> None:
    assert set(names()) | WITHOUT_RUNS == set(load())
    for name in names():
        missing = EVERY - set(cases(name).cases)
        assert missing <= {"make": EVERY - {"syntax"}, "tap": {"one"}}.get(name, set()), name


@pytest.mark.parametrize("name", load())
def test_every_file_is_one_well_formed_runner(name: str) -> None:
    runner = load()[name]
    module = importlib.import_module(f"tools.runners.{name}")
    assert [value for value in vars(module).values() if isinstance(value, Runner)] == [runner]
    assert runner.name == name and inspect.getdoc(module)
    assert sum(other.rank == runner.rank for other in load().values()) == 1


@pytest.mark.parametrize(("name", "title"), ALL)
def test_a_project_is_known_and_its_command_is_the_recorded_one(name: str, title: str) -> None:
    of, case, left = made(name, title)
    found = project(of, case)
    if name != "tap" and title != "zero":
        assert candidates(found)[0].name == name
    if case.command:
        return
    selection = parse_selection(case.selection, found.paths) if case.selection else Selection()
    command = load()[name].command(found, selection, OUT.format(RUN))
    assert command.words == left.command
    known = owner(command.words)
    assert known is None or known.name in (name, "npm")


@pytest.mark.parametrize(("name", "title"), ALL)
def test_a_run_is_understood(name: str, title: str) -> None:
    _, case, left = made(name, title)
    report = report_of(name, title)
    assert report.runner == name
    assert {outcome: n for outcome, n in report.counts.items() if n} == case.counts
    assert len(report.failures) == sum(case.counts.get(kind, 0) for kind in ("failed", "error"))
    check = checked(report, left)
    assert check.ok is (set(case.counts) - {"skipped"} == {"passed"} and left.exit_code == 0)
    hollow = not set(case.counts) - {"skipped"}
    assert (could_not_start(check) is not None) is hollow
    if case.failure:
        first = report.failures[0]
        last = first.frames[-1] if first.frames else None
        told = {
            "id": first.id, "exception": first.exception, "message": first.message,
            "place": f"{last.path}:{last.line}" if last else "",
        }  # fmt: skip
        assert {key: told[key] for key, part in case.failure.items() if part not in told[key]} == {}
        if "place" in case.failure:
            assert last is not None and last.in_workspace
        assert first.details.strip() and first.id in describe(report)


@pytest.mark.parametrize(("name", "title"), ALL)
def test_the_text_alone_tells_how_it_ended(name: str, title: str) -> None:
    _, case, left = made(name, title)
    if not left.output.strip():
        return
    report = read(ran(*made(name, title), text_only=True), load()[name])
    assert report is not None or not case.told
    if report is None:
        return
    assert report.ok is checked(report_of(name, title), left).ok
    assert {key: n for key, n in report.counts.items() if n} == case.counts or not case.told
    for failure, told in zip(report_of(name, title).failures, report.failures, strict=case.told):
        assert {frame.path for frame in told.frames[-1:]} <= {frame.path for frame in failure.frames}


@pytest.mark.parametrize("name", names())
def test_a_failure_s_id_selects_that_test_again(name: str) -> None:
    of = cases(name)
    if "one" not in of.cases or not of.cases["one"].selection:
        return
    one, failing = report_of(name, "one"), report_of(name, "failing")
    assert of.cases["one"].selection == failing.failures[0].id
    assert [test.id for test in one.failures] == [failing.failures[0].id]
    assert one.counts.get("passed", 0) == 0


@pytest.mark.parametrize("name", names())
def test_broken_reports_and_torn_texts_are_read_without_a_fall(name: str) -> None:
    """Reports cut off at any byte, bytes exchanged, and texts torn: never an exception, never a pass."""
    chance = random.Random(7)
    of = cases(name)
    for title, case in of.cases.items():
        left = recorded(name, title)
        whole = ran(of, case, left)
        for _ in range(3):
            files = {}
            for path, data in whole.files.items():
                torn = bytearray(data[: chance.randrange(len(data) + 1)])
                for _ in range(3):
                    if torn:
                        torn[chance.randrange(len(torn))] = chance.randrange(256)
                files[path] = bytes(torn)
            at = chance.randrange(len(left.output) + 1)
            hurt = Ran(left.output[:at], left.exit_code, whole.root, files, whole.project)
            report = read(hurt, load()[name])
            if report is not None and left.exit_code:
                assert not report.ok


@pytest.mark.parametrize(
    "line",
    [
        "\n", " \n", "  at x (\n", "Tests: " + "1" * 7000 + "\n", "ok 1 - a\n ---\n", "=== RUN a\n",
        "  1) a:\n\n", "   0: a\n", "Traceback (most recent call last):\n", "---- a stdout ----\n",
        "not ok\n  a: |-\n", "Caused by: \n", "1) A::b\n", "___ a ___\n", "FAIL a\n  ● a\n", " FAIL a > b\n",
        "✖ a (1ms)\n", "/a.php:1 at a(" * 500 + "\n",
    ],
)  # fmt: skip
def test_a_hostile_text_takes_no_long_time(line: str) -> None:
    """Plenty of what patterns begin with and never end; those that backtrack would take minutes."""
    text = line * (60_000 // len(line))
    started = time.process_time()
    for left in (text, f"{text}\nRan 1 test in 0.1s\n# tests 1\n# pass 1\nfailing tests:\n{text}"):
        for runner in load().values():
            runner.read(Ran(left, 1, "/ws"))
    assert time.process_time() - started < 2
