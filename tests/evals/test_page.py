"""The report's page in a real Chromium: opened from a file, used with mouse and keys, printed, looked at."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from evals.comparison import compare
from evals.reading import read_run
from evals.report_html import render_comparison, render_report
from evals.summary import summarize
from tests.support.browser import Browser
from tests.support.made_run import HOSTILE, big_run

pytestmark = pytest.mark.browser

GOLDEN = Path(__file__).parents[1] / "golden" / "pages"
UPDATE = os.environ.get("PAWL_UPDATE_GOLDEN") == "1"
TASKS = 40

CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const bright = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = rgb(getComputedStyle(node).backgroundColor);
      if (found[3]) return found;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const low = [], seen = [];
  while (walker.nextNode()) {
    const text = walker.currentNode, node = text.parentElement;
    if (!text.data.trim() || !node.getClientRects().length) continue;
    if (["SCRIPT", "NOSCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const [one, two] = [bright(rgb(node.closest("svg") ? style.fill : style.color)), bright(behind(node))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    seen.push(ratio);
    if (ratio < 4.5) low.push([ratio, text.data.slice(0, 30)]);
  }
  return {low, seen: seen.length};
})()"""

INJECT = """(() => {
  const node = document.createElement("div");
  node.innerHTML = '<img src="data:," onerror="document.title=1"><b onclick="document.title=2">x</b>';
  document.body.append(node);
  node.lastChild.click();
  const script = document.createElement("script");
  script.textContent = "document.title = 3";
  document.body.append(script);
})()"""

UNLIKE = """(async () => {
  const pixels = async (data) => {
    const image = new Image();
    image.src = "data:image/png;base64," + data;
    await image.decode();
    const canvas = new OffscreenCanvas(250, 200).getContext("2d");
    canvas.drawImage(image, 0, 0, 250, 200);
    return [image.width, image.height, canvas.getImageData(0, 0, 250, 200).data];
  };
  const [one, two] = await Promise.all([pixels("FIRST"), pixels("SECOND")]);
  if (one[0] !== two[0] || one[1] !== two[1]) return 1;
  let unlike = 0;
  for (let at = 0; at < one[2].length; at += 4) {
    unlike += [0, 1, 2].some((channel) => Math.abs(one[2][at + channel] - two[2][at + channel]) > 40);
  }
  return unlike / (250 * 200);
})()"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report and a comparison; task-000 is the hostile one."""
    folder = tmp_path_factory.mktemp("pages")
    run = read_run(big_run(folder / "base", TASKS, attempts=2, steps=6).folder)
    other = read_run(big_run(folder / "tuned", TASKS, attempts=2, steps=1, seed=2).folder)
    first, second = summarize(run), summarize(other)
    paths = {"report": folder / "report.html", "compare": folder / "compare.html"}
    paths["report"].write_text(render_report(run, first))
    paths["compare"].write_text(render_comparison(compare(first, second)))
    return paths


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


@pytest.fixture
def report(browser: Browser, files: dict[str, Path]) -> Browser:
    return visit(browser, files["report"])


def visit(browser: Browser, path: Path) -> Browser:
    browser.dark(False)
    browser.open("about:blank")
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(path.as_uri())
    return browser


def open_rollout(page: Browser, row: int = 0) -> None:
    page.run(f"document.querySelectorAll('#task-table tbody a')[{row}].click()")
    page.wait("document.documentElement.dataset.ready.startsWith('#unit/')")


def column(page: Browser, name: str) -> list[str]:
    return page.run(  # type: ignore[no-any-return]
        "(() => { const table = document.getElementById('task-table');"
        "const place = [...table.tHead.rows[0].cells]"
        f".findIndex((cell) => cell.innerText.startsWith('{name}'));"
        "return [...table.tBodies[0].rows].filter((row) => !row.hidden)"
        ".map((row) => row.cells[place].dataset.v ?? row.cells[place].innerText); })()"
    )


def click_heading(page: Browser, name: str) -> str:
    return page.run(  # type: ignore[no-any-return]
        "(() => { const cell = [...document.querySelectorAll('#task-table thead th')]"
        f".find((cell) => cell.innerText.startsWith('{name}'));"
        "cell.firstElementChild.click(); return cell.ariaSort; })()"
    )


@pytest.mark.parametrize("name", ["report", "compare"])
def test_it_opens_from_a_file_and_asks_for_nothing_else(
    browser: Browser, files: dict[str, Path], name: str
) -> None:
    page = visit(browser, files[name])
    assert page.run("document.querySelectorAll('#task-table tbody tr').length") > 5
    assert page.requests == [files[name].as_uri()]
    assert page.complaints == []


def test_what_a_rollout_wrote_is_shown_and_never_run(report: Browser) -> None:
    open_rollout(report)
    report.run("[...document.querySelectorAll('details')].forEach((node) => { node.open = true; })")
    assert HOSTILE in report.run("document.getElementById('rollout').innerText")
    assert (
        report.run("document.querySelectorAll('img, iframe, object, embed, style:not(head style)').length")
        == 0
    )
    assert report.run("document.scripts.length") == 2
    assert "owned" not in report.run("document.title")
    assert report.complaints == []


def test_the_pages_policy_would_stop_what_escaping_missed(report: Browser) -> None:
    report.run(INJECT)
    report.run("new Promise((done) => setTimeout(done, 100))")
    assert report.run("document.title").endswith("pawl eval")
    assert any("Content Security Policy" in text for text in report.complaints)


def test_it_sorts_by_number_and_by_text_both_ways(report: Browser) -> None:
    assert click_heading(report, "seconds") == "ascending"
    seconds = [float(value) for value in column(report, "seconds")]
    assert seconds == sorted(seconds) and len(seconds) == TASKS and seconds[0] < seconds[-1]
    assert click_heading(report, "seconds") == "descending"
    assert [float(value) for value in column(report, "seconds")] == seconds[::-1]
    click_heading(report, "task")
    assert column(report, "task") == [f"task-{number:03d}" for number in range(TASKS)]
    assert report.run("document.querySelectorAll('th[aria-sort=none]').length") >= 10


def test_it_filters_by_words_and_by_outcome(report: Browser) -> None:
    set_value = "(() => {{ const node = document.getElementById('{}'); node.value = '{}';"
    set_value += "node.dispatchEvent(new Event('{}')); }})()"
    report.run(set_value.format("find", "repo3 EASY", "input"))
    names = column(report, "task")
    assert names == [f"task-{n:03d}" for n in range(TASKS) if n % 7 == 3 and n % 2 == 0]
    assert report.run("document.getElementById('count').innerText") == f"{len(names)} of {TASKS}"
    report.run(set_value.format("find", "", "input"))
    report.run(set_value.format("outcome", "mixed", "change"))
    assert set(column(report, "outcome")) == {"mixed"}
    assert 0 < len(column(report, "task")) < TASKS


def test_a_rollout_has_a_page_with_all_of_its_steps(report: Browser) -> None:
    open_rollout(report)
    kinds = "[...document.querySelectorAll('#rollout details')].map((node) => node.className.split(' ')[0])"
    found = report.run(kinds)
    assert [found.count(kind) for kind in ("say", "call", "result", "begin", "user")] == [6, 6, 6, 1, 1]
    text = report.run("document.getElementById('rollout').innerText")
    for wanted in ("task-000", "reward", "fail to pass", "t.py::test_0", "def count_0(items)", "tokens read"):
        assert wanted in text
    assert report.run("document.querySelectorAll('#rollout .plus').length") >= 2
    report.run("document.querySelector('.bar button').click()")
    assert report.run("document.querySelectorAll('#rollout details:not([open])').length") == 0
    assert '{"command":"pytest t1.py"}' in report.run("document.getElementById('rollout').innerText")
    report.run("document.querySelector('.bar button').click()")
    assert report.run("document.querySelectorAll('#rollout details[open]').length") == 0


def test_a_page_can_be_linked_to(browser: Browser, files: dict[str, Path]) -> None:
    page = visit(browser, files["report"])
    open_rollout(page, 5)
    address = page.run("location.href")
    page.open("about:blank")
    page.send("Page.navigate", url=address)
    page.wait("document.querySelector('#rollout h1')")
    assert page.run("document.querySelector('#rollout h1').innerText").startswith("task-005")
    page.open(files["report"].as_uri() + "#unit/none")
    assert page.run("document.getElementById('rollout').hidden") is True


def focused(page: Browser) -> str:
    return page.run("document.activeElement.id || document.activeElement.innerText")  # type: ignore[no-any-return]


def test_all_of_it_can_be_done_by_keys(report: Browser) -> None:
    report.press("Tab")
    assert focused(report) == "Skip to the tasks"
    report.press("Enter")
    reached = []
    for _ in range(8):
        report.press("Tab")
        reached.append(focused(report))
    assert reached[:2] == ["find", "outcome"]
    while focused(report) != "tokens":
        report.press("Tab")
    report.press("Enter")
    assert report.run("document.querySelector('[aria-sort=ascending]').innerText").startswith("tokens")
    outline = report.run("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    while not focused(report).startswith("task-"):
        report.press("Tab")
    name = focused(report)
    report.press("Enter")
    report.wait("document.documentElement.dataset.ready.startsWith('#unit/')")
    assert report.run("document.activeElement.id") == "rollout"
    assert report.run("document.querySelector('#rollout h1').innerText").startswith(name)
    report.press("Escape")
    report.wait("document.documentElement.dataset.ready === '#'")
    assert focused(report) == name


def test_controls_and_pictures_have_names(report: Browser) -> None:
    nodes = report.send("Accessibility.getFullAXTree")["nodes"]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            role, name = node["role"]["value"], node.get("name", {}).get("value", "")
            roles.setdefault(role, []).append(name)
    for role in ("button", "link", "searchbox", "combobox", "image", "region", "columnheader"):
        assert roles.get(role), role
        assert all(roles[role]), role
    assert roles["main"] and roles["RootWebArea"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_has_enough_contrast(browser: Browser, files: dict[str, Path], dark: bool) -> None:
    for name in ("report", "compare"):
        page = visit(browser, files[name])
        page.dark(dark)
        found = page.run(CONTRAST)
        assert found["low"] == [] and found["seen"] > 50
    page = visit(browser, files["report"])
    page.dark(dark)
    open_rollout(page)
    page.run("document.querySelector('.bar button').click()")
    found = page.run(CONTRAST)
    assert found["low"] == [] and found["seen"] > 50


def test_it_prints_with_every_fold_open(report: Browser) -> None:
    overview = PdfReader(io.BytesIO(report.pdf()))
    text = " ".join(page.extract_text() for page in overview.pages)
    assert "resolved" in text and f"task-{TASKS - 1:03d}" in text and "Outcome" not in text
    open_rollout(report)
    rollout = PdfReader(io.BytesIO(report.pdf()))
    text = " ".join(page.extract_text() for page in rollout.pages)
    assert "pytest t6.py" in text.replace("\n", " ") and "All tasks" not in text
    assert report.run("document.querySelectorAll('#rollout details:not([open])').length") > 5


def unlike(browser: Browser, first: bytes, second: bytes) -> float:
    """Share of pixels, at a quarter of the size, that differ clearly."""
    browser.send("Page.navigate", url="about:blank")
    browser.wait("location.href === 'about:blank'")
    one, two = (base64.b64encode(data).decode() for data in (first, second))
    return browser.run(UNLIKE.replace("FIRST", one).replace("SECOND", two))  # type: ignore[no-any-return]


def test_it_looks_as_it_did(browser: Browser, files: dict[str, Path]) -> None:
    """`PAWL_UPDATE_GOLDEN=1` keeps what it looks like now."""
    taken: dict[str, bytes] = {}
    for name, path, dark, rollout in (
        ("report", "report", False, False),
        ("rollout-dark", "report", True, True),
        ("compare", "compare", False, False),
    ):
        page = visit(browser, files[path])
        page.dark(dark)
        if rollout:
            open_rollout(page)
        taken[name] = page.screenshot()
    if UPDATE:
        GOLDEN.mkdir(exist_ok=True)
        for name, picture in taken.items():
            (GOLDEN / f"{name}.png").write_bytes(picture)
    differences: dict[str, Any] = {
        name: unlike(browser, picture, (GOLDEN / f"{name}.png").read_bytes())
        for name, picture in taken.items()
    }
    assert {name: share for name, share in differences.items() if share > 0.02} == {}
    assert unlike(browser, taken["report"], taken["compare"]) > 0.05
