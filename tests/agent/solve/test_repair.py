"""Direct repair: what the model is shown, and what its reply comes to."""

from __future__ import annotations

import msgspec
import pytest

from agent.solve.repair import (
    Tried,
    UnusableReply,
    build_prompt,
    changed_lines,
    code_blocks,
    describe_failure,
    fingerprint,
    read_reply,
    targets,
)
from tools.graft import find_function
from tools.localize import Suspect, suspects
from tools.testreport import Frame, TestReport, TestResult

MODULE = b'''"""Sums."""

import math


def total(items):
    """Add the items up."""
    result = 1
    for item in items:
        result += item
    return result


class Box:
    def area(self):
        return math.pi * self.r
'''

TESTS = b"""from sums import Box, total


def test_total():
    assert total([1, 2]) == 3
"""

SOURCES = {"sums.py": MODULE, "tests/test_sums.py": TESTS}

FAILURE = TestResult(
    id="tests/test_sums.py::test_total",
    outcome="failed",
    exception="AssertionError",
    message="assert 4 == 3",
    frames=(Frame("tests/test_sums.py", 5, "test_total", in_workspace=True, locals=(("x", "[1, 2]"),)),),
    details=(
        "    def test_total():\n>       assert total([1, 2]) == 3\n"
        "E       assert 4 == 3\nE        +  where 4 = total([1, 2])\n"
    ),
)
REPORT = TestReport((FAILURE,), {"failed": 1}, ok=False, runner="pytest", collected=1)
FOUND = suspects(REPORT, SOURCES)


def prompt(tried: tuple[Tried, ...] = ()) -> str:
    return build_prompt(FOUND[:1], SOURCES, REPORT.failures, "", tried)


def test_the_prompt_holds_the_suspect_the_test_and_the_reason() -> None:
    text = prompt()
    assert FOUND[0].qualname == "total"
    assert "File sums.py:\n```python" in text
    assert "result = 1" in text
    assert "def test_total():\n    assert total([1, 2]) == 3" in text
    assert "assert 4 == 3\n+  where 4 = total([1, 2])" in text
    assert "with x=[1, 2]" in text


def test_what_was_tried_comes_last_so_that_the_rest_stays_cached() -> None:
    text = prompt((Tried("-a\n+b", "assert 5 == 3"),))
    assert text.startswith(prompt())
    assert text.endswith("```diff\n-a\n+b\n```\nstill fails: assert 5 == 3")


def test_only_the_newest_tries_are_told() -> None:
    text = prompt(tuple(Tried(f"+{n}", "x") for n in range(9)))
    assert "+8" in text and "+6" in text and "+5" not in text


def test_targets_are_whole_outer_functions_and_the_likely_ones_only() -> None:
    source = b"def outer():\n    def inner():\n        pass\n    return inner\n\n\ndef other():\n    pass\n"
    inner, outer, other = (find_function(source, name) for name in ("outer.inner", "outer", "other"))
    ranked = [
        Suspect("a.py", symbol.qualname, symbol, score, "")
        for symbol, score in ((inner, 1.0), (outer, 0.6), (other, 0.4))
    ]
    assert [t.qualname for t in targets(ranked, {"a.py": source})] == ["outer"]
    assert [t.qualname for t in targets([*ranked[:2], ranked[2]][::-1], {"a.py": source})] == [
        "other",
        "outer",
    ]
    assert targets([], {}) == ()


def test_a_long_file_is_cut_to_imports_and_suspects() -> None:
    padding = b"\n\ndef other():\n    pass\n" * 40
    text = build_prompt(FOUND[:1], {**SOURCES, "sums.py": MODULE + padding}, REPORT.failures, "")
    assert "import math" in text and "def total" in text
    assert "def other" not in text


def test_without_a_report_the_output_is_the_failure() -> None:
    assert "Segmentation fault" in build_prompt(FOUND[:1], SOURCES, (), "x\nSegmentation fault\n")


FIXED = (
    "def total(items):\n    result = 0\n    for item in items:\n        result += item\n    return result\n"
)


@pytest.mark.parametrize(
    "reply",
    [
        f"The start value is wrong.\n```python\n{FIXED}```\nThat is all.",
        f"```python\n{FIXED}",  # cut before the closing fence
        f"```py\n{FIXED}```",
        f"   ```python\n{FIXED}   ```",
        FIXED,  # no fence at all
        f'```python\n"""Sums."""\nimport math\n\n{FIXED}\n\nclass Box:\n    pass\n```',  # the whole file
        f"```python\nprint('look')\n```\nand\n```python\n{FIXED}```",
    ],
)
def test_a_reply_is_put_in_place(reply: str) -> None:
    changed = read_reply(reply, FOUND[:1], SOURCES)
    assert changed == {"sums.py": MODULE.replace(b"result = 1", b"result = 0")}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I cannot help with that.", "bad_reply"),
        ("```python\ndef something_else():\n    pass\n```", "bad_reply"),
        ("```python\ndef total(items:\n    return (\n```", "bad_reply"),
        (f"```python\n{FIXED.replace('result = 0', 'result = 1')}```", "no_change"),
        (f"```python\n{FIXED.replace('result = 0', 'result = 1  # start')}```", "no_change"),
    ],
)
def test_a_reply_without_a_change_says_why(reply: str, reason: str) -> None:
    with pytest.raises(UnusableReply) as caught:
        read_reply(reply, FOUND[:1], SOURCES)
    assert caught.value.reason == reason


def test_code_blocks_in_order() -> None:
    assert code_blocks("a\n```python\nx\n```\nb\n```\ny\n```\n") == ["x\n", "y\n"]


def test_fingerprints_look_through_layout() -> None:
    assert fingerprint(b"a = 1\n") == fingerprint(b"a  =  1  # one\n")
    assert fingerprint(b"a = 1\n") != fingerprint(b"a = 2\n")
    assert fingerprint(b"a = (\n") != fingerprint(b"a = [\n")


def test_changed_lines_are_short() -> None:
    assert changed_lines(b"a\nb\nc\n", b"a\nB\nc\n") == "-b\n+B"


def test_a_test_that_hangs_is_told_as_such() -> None:
    hung = msgspec.structs.replace(FAILURE, hung=True, exception="TestHung", message="longer than 5 s")
    text = build_prompt(FOUND[:1], SOURCES, (hung,), "")
    assert "infinite loop" in text and "longer than" not in text
    assert describe_failure((hung,), "") == "it never ends"


def test_a_failure_in_one_line() -> None:
    assert describe_failure(REPORT.failures, "") == "assert 4 == 3"
    assert describe_failure((), "x\nboom\n") == "boom"
