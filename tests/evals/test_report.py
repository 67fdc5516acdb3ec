"""The report's files and tables, and the commands that make them."""

from __future__ import annotations

import base64
import io
import json
import re
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from agent.cli.main import _run
from evals import cli_report
from evals.comparison import compare
from evals.reading import read_run
from evals.report_html import MAX_BYTES, render_comparison, render_report
from evals.report_text import show_comparison, show_report
from evals.rollout_pages import ENTRIES, pack, rollout_pages
from evals.rows import task_rows
from evals.summary import Summary, summarize
from evals.trajectory import entries
from tests.support.made_run import HOSTILE, MadeRun, big_run, events, task


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return big_run(tmp_path_factory.mktemp("big") / "run", 500, steps=20)


def unpacked(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="text/plain" id="rollouts">([A-Za-z0-9+/=]*)</script>', page)
    assert found is not None
    value: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return value


def test_five_hundred_tasks_fit_into_a_megabyte_and_two_seconds(big: MadeRun) -> None:
    started = time.process_time()
    run = read_run(big.folder)
    page = render_report(run, summarize(run))
    assert time.process_time() - started < 2.0
    assert len(page.encode()) < MAX_BYTES
    pages = unpacked(page)
    assert set(pages) == {unit.id for unit in big.units}
    for one in pages.values():
        kinds = [entry[0] for entry in one["entries"]]
        assert (kinds.count("say"), kinds.count("call"), kinds.count("result")) == (20, 20, 20)
        assert bool(one["patch"]) is (["end", "changed nothing"] not in one["facts"])


def test_a_small_run_keeps_its_texts_whole(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(0)])
    text = "".join(f"line {number} of a long output\n" for number in range(600))
    run.roll(run.units[0], events=events(0, 2, lambda step: text))
    read = read_run(run.folder)
    page = unpacked(render_report(read, summarize(read)))[run.units[0].id]
    assert page["entries"][-1][0] == "end"
    assert [["output", text]] in [entry[5] for entry in page["entries"]]


def test_what_does_not_fit_is_cut_in_the_middle_and_says_so(big: MadeRun) -> None:
    run = read_run(big.folder)
    pages = rollout_pages(run, task_rows(run)[:40])
    whole, cut, least = (pack(pages, room) for room in (10**8, 200_000, 10))
    assert len(cut) <= 200_000 < len(whole)
    assert "left out" in zlib.decompress(base64.b64decode(cut)).decode()
    for page in json.loads(zlib.decompress(base64.b64decode(least))).values():
        assert len(page["entries"]) == ENTRIES[-1] + 1
        assert any(entry[1] == "55 entries left out" for entry in page["entries"])


def test_every_step_stays_where_texts_must_go(tmp_path: Path) -> None:
    run = read_run(big_run(tmp_path / "run", 100, attempts=4, steps=20).folder)
    page = pack(rollout_pages(run, task_rows(run)), 150_000)
    assert len(page) <= 150_000
    for one in json.loads(zlib.decompress(base64.b64decode(page))).values():
        assert [entry[0] for entry in one["entries"]].count("call") == 20


def test_the_page_names_no_address_and_escapes_what_it_shows(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(0, id="a-b", repo=HOSTILE, difficulty=HOSTILE)])
    run.roll(run.units[0], detail=HOSTILE)
    run.grade(run.units[0], True)
    read = read_run(run.folder)
    page = render_report(read, summarize(read))
    assert "<img" not in page and "owned'</script>" not in page
    assert "&lt;/script&gt;" in page
    assert re.findall(r"(?:https?:)?//[a-z]", re.sub(r'id="rollouts">[^<]*', "", page)) == []
    assert page == render_report(read, summarize(read))


def test_a_comparison_is_a_page_of_its_own(big: MadeRun, tmp_path: Path) -> None:
    first = summarize(read_run(big.folder))
    second = summarize(read_run(big_run(tmp_path / "new", 500, steps=1, seed=9).folder))
    found = compare(first, second)
    page = render_comparison(found)
    assert f"<strong>{found.words}</strong>" in page
    assert page.count('<tr data-outcome="gained">') == found.wins > 50
    assert len(page.encode()) < MAX_BYTES


def shown(*, width: int = 120, **what: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width)
    if "summary" in what:
        show_report(console, what["summary"])
    else:
        show_comparison(console, what["found"])
    return out.getvalue()


def test_the_terminal_says_the_rate_with_its_interval_and_the_second_number(big: MadeRun) -> None:
    text = shown(summary=summarize(read_run(big.folder)))
    lines = text.splitlines()
    assert lines[0] == "run: pawl · local/tiny · made, 500 tasks × 1"
    assert re.fullmatch(r"resolved  \d+\.\d %  \(\d+\.\d to \d+\.\d %, Wilson\) of 500 tasks", lines[1])
    assert re.fullmatch(r"If excluded: .* of \d+ tasks; \d+ ended by infrastructure\.", lines[2])
    assert "This set can show a difference of 6 points" in lines[3]
    for wanted in (
        "per solved",
        "provider failed",
        "owner/repo3",
        "flagged conftest: 1 rollouts",
        "wrongly: ",
    ):
        assert wanted in text


def test_a_partial_run_says_so(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(number) for number in range(3)])
    run.roll(run.units[0])
    assert "Nothing is graded yet." in shown(summary=summarize(read_run(run.folder)))
    run.grade(run.units[0], True)
    run.roll(run.units[1])
    summary = summarize(read_run(run.folder))
    text = shown(summary=summary)
    assert "Not whole: 2 of 3 rollouts have no outcome yet (1 wait for grading)" in text
    assert "Not whole" in render_report(read_run(run.folder), summary)


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", [task(0, repo="\x1b[2J[red]x")])
    run.roll(run.units[0])
    run.grade(run.units[0], True)
    text = shown(summary=summarize(read_run(run.folder)))
    assert "\x1b" not in text and "\\x1b[2J[red]x" in text


def test_log_entries_bear_any_nonsense() -> None:
    good = entries(events(0, 1, lambda step: "text")[1:])
    assert [entry.kind for entry in good] == ["begin", "user", "say", "call", "result", "end"]
    assert good[2].detail.startswith("901 tokens read (800 cached), 40 written")
    assert good[-1].at > 0
    kinds = {entry.kind for entry in good}
    for value in (None, 3, "x", [], {}, [None], {"text": 3}):
        for name in ("tool_finished", "assistant_replied", "check_ran", "conversation_started", "setup_ran"):
            fields = ("result", "message", "usage", "tests", "command", "tools", "duration_s", "at", "step")
            made = entries([{"type": name} | dict.fromkeys(fields, value)])
            assert len(made) == 1 and made[0].kind in kinds | {"check", "note"}
    assert entries([{"type": "nothing known"}]) == []


# --- the commands


def pawl_eval(*args: str | Path) -> int:
    app = typer.Typer(add_completion=False)
    app.command()(cli_report.report)
    app.command()(cli_report.compare)
    return _run(app, "pawl eval", [str(arg) for arg in args])


def test_report_leaves_both_files_and_says_it_as_json(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run = big_run(tmp_path / "run", 12, steps=1)
    assert pawl_eval("report", run.folder, "--json", "--html", tmp_path / "page.html") == 0
    said = capfdbinary.readouterr().out
    assert said == (run.folder / "report.json").read_bytes()
    assert Summary(**json.loads(said)).progress["tasks"] == 12  # type: ignore[index]
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert not list(run.folder.glob(".*"))


def test_report_ends_with_3_when_too_little_is_resolved(tmp_path: Path) -> None:
    run = big_run(tmp_path / "run", 12, steps=1)
    assert pawl_eval("report", run.folder, "--fail-under", "0") == 0
    assert pawl_eval("report", run.folder, "--fail-under", "99") == 3
    assert (run.folder / "report.html").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("report", "{empty}"), "has no run.json"),
        (("report", "{run}", "--cutoff", "soon"), "--cutoff 'soon' is no date; it goes like 2026-03-31"),
        (("report", "{run}", "--scorer", "x"), "nothing is graded by 'x'"),
        (("report", "{run}", "--html", "{empty}/no/page.html"), "cannot write"),
        (("compare", "{run}", "{empty}"), "has no run.json"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    run = big_run(tmp_path / "run", 2, steps=1)
    (tmp_path / "empty").mkdir()
    given = [arg.format(run=run.folder, empty=tmp_path / "empty") for arg in args]
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        pawl_eval(*given)
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]


def test_compare_says_the_verdict(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = big_run(tmp_path / "a", 30, steps=1), big_run(tmp_path / "b", 30, steps=1, seed=2)
    assert pawl_eval("compare", first.folder, second.folder, "--html", tmp_path / "page.html") == 0
    text = capfd.readouterr().out
    assert text.startswith(("No difference between a and b is shown", "b is better", "b is worse"))
    assert "tasks can show a difference of" in text
    assert "b against a" in (tmp_path / "page.html").read_text()
    assert pawl_eval("compare", first.folder, second.folder, "--json") == 0
    assert json.loads(capfd.readouterr().out)["tasks"] == 30
