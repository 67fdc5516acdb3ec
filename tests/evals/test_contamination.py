"""Signs of contamination: dates, canaries, overlap, twins."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.contamination import (
    added_tokens,
    canary_line,
    known_before,
    longest_run,
    new_canary,
    overlap,
    parse_date,
    says_canary,
)
from evals.twins import twin
from evals.types import Folder, Instance, Tests

PATCH = """diff --git a/m.py b/m.py
--- a/m.py
+++ b/m.py
@@ -1,3 +1,4 @@
 def f(items):
-    return len(items)
+    total = len(items)
++++ total
     pass
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-23T11:44:58+02:00", date(2026, 1, 23)),
        ("2023-01-23 04:10:47", date(2023, 1, 23)),
        ("2026-01-01T00:30:00+02:00", date(2025, 12, 31)),
        ("2026-03-31", date(2026, 3, 31)),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_as_datasets_write_them(text: str, expected: date | None) -> None:
    assert parse_date(text) == expected


def test_the_day_of_the_cut_off_counts_as_known() -> None:
    day = date(2026, 3, 31)
    told = [known_before(text, day) for text in ("2026-03-31T23:00:00Z", "2026-04-01", "")]
    assert told == [True, False, None]


def test_only_what_a_patch_adds_is_compared() -> None:
    assert added_tokens(PATCH) == ["total", "=", "len", "(", "items", ")", "+", "+", "+", "total"]
    assert added_tokens("") == [] and added_tokens("no patch\n+nothing") == []


def test_a_copy_shares_all_and_another_fix_little() -> None:
    lines = "".join(f"+    value_{n} = compute({n})\n" for n in range(6))
    reference = f"--- a/m.py\n+++ b/m.py\n@@ -0,0 +1,6 @@\n{lines}"
    copied = overlap(reference, reference)
    assert (copied.longest, copied.share, copied.tokens) == (36, 1.0, 36)
    other = overlap(reference.replace("compute", "other"), reference)
    assert other.longest == 5 and other.share == 0.0
    assert overlap(PATCH, reference).share is None


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_the_longest_run_is_the_longest_common_substring(first: list[str], second: list[str]) -> None:
    one, two = "".join(first), "".join(second)
    pieces = (one[i:j] for i in range(len(one)) for j in range(i, len(one) + 1))
    assert longest_run(first, second) == max((len(p) for p in pieces if p in two), default=0)


def test_a_canary_is_found_by_its_guid_in_any_case() -> None:
    guid = new_canary()
    assert guid != new_canary()
    assert says_canary(canary_line(guid), ["x", f"... {guid.upper()} ..."])
    assert not says_canary(canary_line(guid), ["canary GUID"])
    assert not says_canary("", ["anything"])


SOURCE = '''def mean(values):
    """Of all values."""
    total = 0
    for value in values:
        total += value
    amount = len(values) - 1
    return total / amount
'''
FIX = """--- a/stats.py
+++ b/stats.py
@@ -3,5 +3,5 @@
     total = 0
     for value in values:
         total += value
-    amount = len(values) - 1
+    amount = len(values)
     return total / amount
"""


def given_task(tree: Path, **more: str) -> Instance:
    tree.mkdir()
    (tree / "stats.py").write_text(SOURCE)
    (tree / "test_stats.py").write_text("def test_mean():\n    total = 3\n    assert total\n")
    fields = {"statement": "The mean is wrong.", "reference": FIX} | more
    grading = Tests(("pytest",), ("test_stats.py::test_mean",))
    return Instance(id="mean", benchmark="made", tree=Folder(str(tree)), grading=grading, **fields)


def test_a_twin_has_other_names_the_same_tests_and_a_reference_that_solves_it(tmp_path: Path) -> None:
    task = given_task(tmp_path / "tree")
    made = twin(task, tmp_path / "tree", tmp_path / "twin")
    assert made is not None
    assert (made.id, made.extra["twin_of"], made.grading) == ("mean.twin", "mean", task.grading)
    before = (tmp_path / "twin" / "stats.py").read_text()
    assert "total" not in before and "def mean(values)" in before
    assert (tmp_path / "twin" / "test_stats.py").read_bytes() == (
        tmp_path / "tree" / "test_stats.py"
    ).read_bytes()
    patch = tmp_path / "fix.diff"
    patch.write_text(made.reference)
    subprocess.run(["git", "apply", patch], cwd=tmp_path / "twin", check=True)
    scope: dict[str, object] = {}
    exec((tmp_path / "twin" / "stats.py").read_text(), scope)  # noqa: S102
    assert scope["mean"]([1, 2, 3]) == 2  # type: ignore[operator]
    assert overlap(made.reference, task.reference).longest < overlap(task.reference, task.reference).longest


def test_names_that_the_statement_says_stay(tmp_path: Path) -> None:
    task = given_task(tmp_path / "tree", statement="The variable total, value or amount is wrong.")
    assert twin(task, tmp_path / "tree", tmp_path / "twin") is None
    assert not (tmp_path / "twin").exists()


def test_a_reference_that_does_not_apply_makes_no_twin(tmp_path: Path) -> None:
    task = given_task(tmp_path / "tree", reference=FIX.replace("- 1", "- 2"))
    assert twin(task, tmp_path / "tree", tmp_path / "twin") is None
    outside = given_task(tmp_path / "other", reference=FIX.replace("/stats.py", "/../x.py"))
    assert twin(outside, tmp_path / "other", tmp_path / "twin") is None


def test_new_and_deleted_files_of_a_reference_are_followed(tmp_path: Path) -> None:
    new = "--- /dev/null\n+++ b/more.py\n@@ -0,0 +1,3 @@\n+def more():\n+    total = 1\n+    return total\n"
    task = given_task(tmp_path / "tree", reference=FIX + new)
    made = twin(task, tmp_path / "tree", tmp_path / "twin")
    assert made is not None
    (tmp_path / "fix.diff").write_text(made.reference)
    subprocess.run(["git", "apply", tmp_path / "fix.diff"], cwd=tmp_path / "twin", check=True)
    assert "def more()" in (tmp_path / "twin" / "more.py").read_text()


def test_links_of_a_tree_are_not_followed(tmp_path: Path) -> None:
    task = given_task(tmp_path / "tree")
    (tmp_path / "outside.py").write_text(SOURCE)
    (tmp_path / "tree" / "link.py").symlink_to(tmp_path / "outside.py")
    assert twin(task, tmp_path / "tree", tmp_path / "twin") is not None
    assert (tmp_path / "twin" / "link.py").is_symlink()
    assert (tmp_path / "outside.py").read_text() == SOURCE
