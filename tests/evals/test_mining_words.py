"""The words of mined tasks: from messages and failures, what gives a fix away, licences, ids, splits."""

from __future__ import annotations

import asyncio
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.models.transport import HttpModel
from evals.benchmark import DatasetError
from evals.benchmarks.swebench import instance, load
from evals.mining.licence import licence, of_interest
from evals.mining.rejected import Rejected
from evals.mining.row import ADDRESS, identity, row
from evals.mining.splits import by_time
from evals.mining.statement import from_failures, from_message, leaks, missing, repeats, said, unnamed
from evals.mining.writer import TRIES, Writer, about_commit
from tests.evals.tasks import FIXED, REFERENCE, changed
from tests.support.model_server import Answer, ModelServer

FIX = changed(
    {"shop/prices.py": FIXED.replace("sum(prices)", "_whole_sum(list(prices), start=0)  # no slice")}
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Sum loses the first price (#12)\n\nSigned-off-by: A <a@b>\n", "Sum loses the first price"),
        (
            "Sum loses its first price\n\nSee more.\n\n\n\nCo-Authored-By: B <b@c>",
            "Sum loses its first price\n\nSee more.",
        ),
        ("Count empty lists right https://example.org/1 (gh-3)", "Count empty lists right"),
        ("Cc of a letter is lost\n\nCc: all\n(cherry picked from commit 1)", "Cc of a letter is lost"),
        ("Count empty lists\r\n\r\nCloses: https://example.org/1\r\n", "Count empty lists"),
        ("fix tests", ""),
        ("fix #365 - added a regression test and a fix based on pull request #393", ""),
        ("Merge branch 'x' into y", ""),
        ("", ""),
    ],
)
def test_a_message_as_a_statement(message: str, expected: str) -> None:
    assert from_message(message) == expected


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("total() forgets the first price", ""),
        ("total([1, 2]) is 2; it should be 3", ""),
        ("diff --git a/x b/x", "it holds a diff"),
        ("Do this:\n+    return sum(prices)", "it holds a diff"),
        ("Use return _other(list(prices), start=0) instead", "it has 10 tokens in a row of the fix"),
        ("The _whole_sum is wrong", "it names what only the fix has: _whole_sum"),
        ("See prices.py.", "it names a file of the fix: prices.py"),
        ("See `shop/prices.py`", "it names a file of the fix: shop/prices.py"),
        ("See tests/test_prices.py and tests/prices.py", ""),
        ("As in abcdef1 it was", "it names the commit of the fix"),
        ("test_total fails", "it names a hidden test: test_total"),
    ],
)
def test_what_gives_a_fix_away(statement: str, rule: str) -> None:
    found = leaks(statement, FIX, commit="abcdef1" + "0" * 33, hidden=["test_total"])
    assert (rule in found) if rule else found == []


def test_what_may_be_said() -> None:
    """A path where places do not count, and a name that the tests or the code have already."""
    assert leaks("See shop/prices.py", FIX, places=False) == []
    for known in ({"tests": "+ _whole_sum(1)"}, {"before": ["def _whole_sum(): ..."]}):
        assert leaks("The _whole_sum is wrong", FIX, **known) == []  # type: ignore[arg-type]
    message = changed(
        {"shop/prices.py": FIXED + 'raise ValueError("the list of prices must not be empty at all")\n'}
    )
    assert leaks('Say "the list of prices must not be empty at all"', message) == []


def test_a_short_line_of_a_fix_is_seen() -> None:
    fix = changed({"shop/prices.py": FIXED + "start = sum(prices)\nx = 1\n"})
    assert leaks("Set start = sum(prices).", fix) == ["it has a line of the fix: start = sum(prices)"]
    assert leaks("With x = 1 it is wrong.", fix) == []


def test_what_a_fix_begins_to_use_is_seen() -> None:
    fix = changed({"shop/prices.py": FIXED + "\nx = functools.partial(total)\n"})
    told = "It should use functools.partial."
    assert leaks(told, fix) == ["it names what the fix uses: functools.partial"]
    assert leaks(told, fix, places=False) == leaks(told, fix, tests="+functools.partial(f)") == []


def test_names_that_a_statement_must_have() -> None:
    said_before = [
        "E   ImportError: cannot import name 'total' from 'shop'",
        "E   ModuleNotFoundError: No module named 'shop.tax'",
        "E   AttributeError: 'list' object has no attribute 'decode'",
        "E   TypeError: f() got an unexpected keyword argument 'start'",
    ]
    tests = "from shop.tax import total\nf(start=1)"
    assert missing(said_before, tests) == ["total", "tax", "start"]
    assert unnamed("The total with start", ["total", "tax", "start"]) == ["tax"]


def test_a_message_said_again_is_no_issue() -> None:
    message = "Fix #218: Fix and properly document cache_key handling (#219)"
    assert repeats("Fix #218: Fix and properly document cache_key handling.", message)
    assert not repeats("The cache_key handling is wrong", message)


def test_what_failures_say() -> None:
    text = "tests/t.py:3: in test_a\n    assert f(1) == 2\nE   assert 1 == 2\nE    +  where 1 = f(1)\n"
    assert said(text) == "assert 1 == 2 / +  where 1 = f(1)"
    assert said("shop/prices.py:12: in f\nE   shop/prices.py:12: Boom") == ""
    assert said("") == ""
    many = from_failures({f"t.py::test_{n}": text for n in range(7)})
    assert many.startswith("7 tests fail") and "2 more tests fail" in many and "prices.py" not in many
    assert from_failures({"t.py::a": ""}).endswith("- `t.py::a`")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pyproject.toml": '[project]\nlicense = "MIT OR Apache-2.0"\n'}, "MIT OR Apache-2.0"),
        ({"pyproject.toml": '[project]\nlicense = {text = "BSD-3-Clause"}\n'}, "BSD-3-Clause"),
        ({"LICENSE": "Permission is hereby granted, free of\ncharge, to any person obtaining a copy"}, "MIT"),
        ({"COPYING.txt": "GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007"}, "GPL-3.0"),
        ({"LICENCE": "Apache License\n   Version 2.0, January 2004"}, "Apache-2.0"),
        (
            {"LICENSE": "Redistribution and use in source and binary forms, ...\nNeither the name of"},
            "BSD-3-Clause",
        ),
        ({"LICENSE": "Redistribution and use in source and binary forms"}, "BSD-2-Clause"),
        ({"package.json": '{\n  "license": "ISC",\n}'}, "ISC"),
        ({"package.json": '{"name":"a","license":"ISC","private":true}'}, "ISC"),
        ({"setup.py": "classifiers=['License :: OSI Approved :: MIT License']"}, "MIT License"),
        ({"LICENSE": "All rights reserved", "pyproject.toml": "[[["}, ""),
        ({}, ""),
    ],
)
def test_licences(files: dict[str, str], expected: str) -> None:
    assert licence({path: text.encode() for path, text in files.items()}) == expected


def test_pawls_own_licence_is_known() -> None:
    root = Path(__file__).resolve().parents[2]
    names = of_interest(path.name for path in root.iterdir() if path.is_file())
    assert names[0] == "LICENSE"
    assert licence({"LICENSE": (root / "LICENSE").read_bytes()}) == "Apache-2.0"


@pytest.mark.parametrize(
    ("repo", "expected"),
    [
        ("hukkin/tomli", "hukkin__tomli-1"),
        ("/home/a/my project/", "my-project-1"),
        ("https://example.org/a/b.git", "b-1"),
    ],
)
def test_ids_can_be_file_names(repo: str, expected: str) -> None:
    assert identity(repo, "1") == expected


def test_addresses_in_ids_are_seen() -> None:
    assert ADDRESS.search("t.py::test[<function f at 0x7f3a2b1c>]")
    assert not ADDRESS.search("t.py::test[0x1f]")


def made(number: int, at: datetime) -> dict[str, Any]:
    return {"instance_id": f"{number}", "created_at": at.isoformat(), "extra": {}}


@given(st.lists(st.integers(0, 20), max_size=30), st.floats(0, 1))
def test_nothing_that_is_learnt_from_is_younger_than_what_is_held_out(days: list[int], share: float) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = by_time([made(n, start + timedelta(days=day)) for n, day in enumerate(days)], share)
    split = [row["extra"]["split"] for row in rows]
    assert split == sorted(split, reverse=True) and len(rows) == len(days)
    assert split.count("heldout") <= share * len(days)
    moments = {name: {r["created_at"] for r in rows if r["extra"]["split"] == name} for name in set(split)}
    assert moments.get("train", set()).isdisjoint(moments.get("heldout", set()))


def test_the_newest_are_held_out_whatever_their_zone() -> None:
    east, west = "2024-01-05T00:00:00+05:00", "2024-01-04T23:00:00-05:00"
    rows = [made(number, datetime.fromisoformat(at)) for number, at in enumerate((west, east))]
    assert [(r["created_at"], r["extra"]["split"]) for r in by_time(rows, 0.5)] == [
        (east, "train"),
        (west, "heldout"),
    ]


def a_row(**extra: object) -> dict[str, Any]:
    return row(
        repo="a/b",
        instance_id="a__b-1",
        base="0" * 40,
        patch=REFERENCE,
        test_patch="diff --git a/t b/t\n--- a/t\n+++ b/t\n@@ -1 +1 @@\n-a\n+EOF\n",
        statement="x",
        created_at="2024-01-01T00:00:00+00:00",
        fail=["t::a b"],
        keep=[],
        extra={"test_cmd": "python -m pytest", **extra},
    )


def test_a_row_is_read_back(tmp_path: Path) -> None:
    own = {"environment_commits": ["1" * 40, "2" * 40], "install": "pip install -e .", "bug_patch": REFERENCE}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(a_row(**own)) + "\n")
    task = load(path)[0]
    assert task.environment.commits == ("1" * 40, "2" * 40)
    assert task.tree.patch == REFERENCE  # type: ignore[union-attr]
    assert task.grading.fail_to_pass == ("t::a b",)  # type: ignore[union-attr]
    for field, value in (("environment_commits", ["abc"]), ("bug_patch", "no diff")):
        with pytest.raises(DatasetError, match=f"extra.{field}"):
            instance(a_row(**{field: value}), "here")


def test_the_script_is_one_that_a_shell_reads(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(a_row()["eval_script"])
    assert subprocess.run(["bash", "-n", tmp_path / "s"], check=False).returncode == 0
    assert a_row(bug_patch=REFERENCE)["eval_script"] == ""


LEAKY = "Total is wrong\n\nUse return _whole_sum(list(prices), start=0) and all is well again."
GOOD = "Total is wrong\n\ntotal([1, 2, 3]) gives 5 and should give 6, the first price is lost."


def written(*replies: str) -> tuple[str | Rejected, list[list[dict[str, Any]]], list[str]]:
    """What came, what was asked, and what was logged."""
    logged: list[str] = []

    async def go() -> tuple[str | Rejected, list[list[dict[str, Any]]], list[str]]:
        async with ModelServer([Answer(reply) for reply in replies]) as server:
            model = HttpModel("m", server.base_url, "m")
            try:
                about = about_commit("Sum all", FIX, ["assert 5 == 6"], ["total"])
                text = await Writer(model, logged.append).write(about, lambda text: leaks(text, FIX))
            except Rejected as rejected:
                text = rejected  # type: ignore[assignment]
            finally:
                await model.aclose()
            asked = [each.body["messages"] for each in server.requests]
            return text, asked, logged

    return asyncio.run(go())


def test_a_statement_that_leaks_is_written_again() -> None:
    text, asked, logged = written(LEAKY, GOOD)
    assert text == GOOD
    assert "it names what only the fix has: _whole_sum" in asked[1][-1]["content"]
    assert "assert 5 == 6" in asked[0][-1]["content"] and "total" in asked[0][-1]["content"]
    assert len(logged) == 1 and "try 1 of 3" in logged[0]


def test_a_writer_that_leaks_each_time_gives_no_task() -> None:
    text, asked, _ = written(*[LEAKY] * TRIES)
    assert isinstance(text, Rejected) and text.reason == "no fit statement" and len(asked) == TRIES
    ours, _, _ = written(
        *["Total is wrong\n\nThe commit sums all prices, as is expected of a total."] * TRIES
    )
    assert isinstance(ours, Rejected) and "it talks of The commit" in ours.detail
    short, _, _ = written(*["Broken."] * TRIES)
    assert isinstance(short, Rejected) and "says too little" in short.detail
