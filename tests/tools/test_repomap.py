from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import mapindex, words
from tools.ignored import Ignored
from tools.mapindex import update
from tools.repomap import CHARACTERS_A_TOKEN, Ranked, rank, render, repo_map
from tools.tags import Definition

FILES = {
    "shop/cart.py": "from shop.money import rounded\nclass Cart:\n  def total(self):\n    return rounded(1)",
    "shop/money.py": "def rounded(x):\n    '''Half to even.'''\n    return round(x)\n",
    "shop/mail.py": "def send_invoice(cart):\n    return cart.total()\n",
    "shop/parse_html.py": "def tokens(text):\n    return text.split()\n",
    "tests/test_money.py": "from shop.money import rounded\ndef test_rounded():\n    assert rounded(1) == 1",
    "web/app.js": "import { send } from './mail';\nfunction sendInvoice() { send(1); }\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop-root"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def first(root: Path, task: str, cache: Path | None = None) -> list[str]:
    return [ranked.path for ranked in rank(update(root, cache), task)]


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ("`rounded` is wrong for halves", "shop/money.py"),
        ("the invoices are not sent", "shop/mail.py"),
        ("crash in shop/parse_html.py", "shop/parse_html.py"),
        ("parsing of HTML loses text", "shop/parse_html.py"),
        ("sendInvoice() of the web application", "web/app.js"),
    ],
)
def test_what_a_task_speaks_of_comes_first(shop: Path, task: str, path: str) -> None:
    assert first(shop, task)[0] == path


def test_rank_flows_to_what_is_used_and_tests_come_later(shop: Path) -> None:
    found = first(shop, "Cart.total is wrong")
    assert found[0] == "shop/cart.py" and "shop/money.py" in found
    told = first(shop, "rounded")
    assert told.index("shop/money.py") < told.index("tests/test_money.py")
    assert first(shop, "")[0] == "shop/money.py"


def test_the_map_shows_lines_and_keeps_to_its_budget(shop: Path) -> None:
    text = repo_map(shop, "rounded")
    assert text.startswith("shop/money.py:\n    1 def rounded(x):\n")
    for tokens in (0, 5, 12, 30, 100):
        assert len(repo_map(shop, "rounded", tokens=tokens)) <= tokens * CHARACTERS_A_TOKEN


@given(st.lists(st.text("ab/\n", max_size=40), max_size=8), st.integers(0, 60))
def test_no_map_is_larger_than_its_budget(names: list[str], tokens: int) -> None:
    ranked = [Ranked(name, 1.0, (Definition("f", "function", 1, name),)) for name in names]
    assert len(render(ranked, tokens)) <= tokens * CHARACTERS_A_TOKEN


def test_the_index_follows_the_tree(shop: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "map"
    update(shop, cache)
    (shop / "shop/money.py").write_text("def floored(x): pass\n")
    (shop / "shop/mail.py").unlink()
    (shop / "shop/new.rs").write_text("fn fresh() {}\n")
    index = update(shop, cache)
    assert {source.path for source in index.files} == {*FILES, "shop/new.rs"} - {"shop/mail.py"}
    known = {source.number: source.path for source in index.files}
    assert [known.get(n) for n in index.definers("rounded")] == [None]
    assert [known[n] for n in index.definers("floored")] == ["shop/money.py"]
    assert {known[n] for n, _ in index.speakers("fresh")} == {"shop/new.rs"}


def test_only_what_changed_is_read_again(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "map"
    for path in FILES:  # as if written long ago
        os.utime(shop / path, (1, 1))
    update(shop, cache)
    read: list[str] = []
    real = mapindex.read_files

    def noted(tree: object, todo: list[tuple[str, str]]) -> object:
        read.extend(path for path, _ in todo)
        return real(tree, todo)  # type: ignore[arg-type]

    monkeypatch.setattr(mapindex, "read_files", noted)
    (shop / "shop/mail.py").write_text("def changed(): pass\n")
    (shop / "shop/cart.py").touch()
    update(shop, cache)
    assert read == ["shop/mail.py"]


def test_old_numbers_are_swept(shop: Path, tmp_path: Path) -> None:
    for number in range(120):
        (shop / "shop/money.py").write_text(f"def rounded(x): return {number}\n")
        index = update(shop, tmp_path / "map")
    assert len(index.definers("rounded")) < 110
    assert len([n for n in index.definers("rounded") if n in {s.number for s in index.files}]) == 1


def test_a_damaged_cache_is_made_anew(shop: Path, tmp_path: Path) -> None:
    cache = tmp_path / "map"
    for damage in (b"", b"\xc1 nothing", b"\x96\x02\x00\x90\x80\x80"):
        cache.write_bytes(damage)
        assert first(shop, "rounded", cache)[0] == "shop/money.py"


def test_links_secrets_and_what_is_ignored_are_left_out(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("def outside(): pass\n")
    (shop / "link.py").symlink_to(tmp_path / "outside.py")
    (shop / "folder").symlink_to(tmp_path)
    os.mkfifo(shop / "pipe.py")
    (shop / ".env.py").write_text("SECRET = 1\n")
    (shop / ".gitignore").write_text("web/\n")
    (shop / "shop/.pawlignore").write_text("/mail.*\n")
    found = {source.path for source in update(shop).files}
    assert found == set(FILES) - {"web/app.js", "shop/mail.py"}


def test_many_files_are_read_apart_and_a_crash_costs_one_file(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(mapindex._FEW + 2):
        (shop / f"shop/m{number}.py").write_text(f"def f{number}(): pass\n")
    real = subprocess.run

    def deadly(command: list[str], **options: object) -> object:
        if command[1:4] == ["-P", "-m", "tools.mapworker"] and b"shop/m7.py" in options["input"]:  # type: ignore[operator]
            command = ["sh", "-c", "kill -SEGV $$"]
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(mapindex.subprocess, "run", deadly)
    index = update(shop)
    assert len(index.files) == len(FILES) + mapindex._FEW + 2
    assert index.definers("f7") == [] and len(index.definers("f8")) == 1


RULES = {
    ".gitignore": b"# text\n*.log\n!keep.log\n/build\ndocs/_x/\nfoo/**/bar\n**/tmp\n[ab].txt\n\\#odd\n[\n",
    ".pawlignore": b"big/\n",
    "sub/.gitignore": b"!z.log\n/only\n",
}


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("a.log", True), ("deep/er/a.log", True), ("keep.log", False), ("sub/z.log", False),
        ("build/x", True), ("sub/build/x", False), ("docs/_x/y", True), ("docs/_x", False),
        ("foo/bar", True), ("foo/a/b/bar/c", True), ("q/tmp/z", True), ("a.txt", True), ("c.txt", False),
        ("#odd", True), ("big/x", True), ("big", False), ("sub/only", True), ("only", False),
        (".env", True), ("x/id_rsa", True), (".env.example", False), ("a/node_modules/b.js", True),
        ("src/x.py", False),
    ],
)  # fmt: skip
def test_ignore_rules(path: str, ignored: bool) -> None:
    assert Ignored(RULES.get)(path) is ignored


@given(st.lists(st.text("ab*?[]!/\\# .", max_size=12), max_size=5), st.text("ab/.", max_size=12))
def test_no_rule_breaks_the_matcher(lines: list[str], path: str) -> None:
    Ignored({".gitignore": "\n".join(lines).encode()}.get)(path)


def test_words_of_identifiers_and_tasks() -> None:
    assert words.split("parseHTTPDate_2") == ["parse", "http", "date", "2"]
    assert words.words_of("sendInvoices") == ("send", "invoic", "sendinvoices")
    assert words.wanted("Fix the rounding of totals") == ["round", "total"]
    assert words.paths("see src/a.py, and b.js: c/de") == ["src/a.py", "b.js", "c/de"]
