from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tools.base import ToolError
from tools.matching import MatchError, Replacement, apply_edit, apply_edits
from tools.textfile import encode_like

CASES = {
    "exact": (b"a = 1\nb = 2\n", "a = 1", "a = 3", b"a = 3\nb = 2\n", "exact"),
    "within a line": (b"foo(bar)\n", "bar", "baz", b"foo(baz)\n", "exact"),
    "delete": (b"a\nb\nc\n", "b\n", "", b"a\nc\n", "exact"),
    "no final newline": (b"a\nb", "b", "c\nd", b"a\nc\nd", "exact"),
    "crlf, one line": (b"a\r\nb\r\n", "b", "c\nd", b"a\r\nc\r\nd\r\n", "exact"),
    "crlf, several lines": (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny", b"x\r\ny\r\nc\r\n", "exact"),
    "crlf in the search": (b"a\r\nb\r\n", "a\r\nb\r\n", "x\r\n", b"x\r\n", "exact"),
    "mixed ends": (b"a\nb\r\nc\nd\r\n", "c\nd", "x\ny", b"a\nb\r\nx\ny\r\n", "exact"),
    "trailing space in the file": (b"a  \nb\t\nc\n", "a\nb", "x", b"x\t\nc\n", "white space"),
    "trailing space in the search": (b"a\nb\nc\n", "a  \nb ", "x", b"x\nc\n", "white space"),
    "blank line with space": (b"a\n   \nb\n", "a\n\nb\n", "x\n", b"x\n", "white space"),
    "byte-order mark": (b"\xef\xbb\xbfa\nb\n", "a", "é", b"\xef\xbb\xbf\xc3\xa9\nb\n", "exact"),
    "utf-16": (
        "\ufeffa\r\nb\r\n".encode("utf-16-le"),
        "b",
        "ü\nc",
        "\ufeffa\r\nü\r\nc\r\n".encode("utf-16-le"),
        "exact",
    ),
    "latin-1": (b"\xe9 = 1\nb\n", "b", "\xfc", b"\xe9 = 1\n\xfc\n", "exact"),
    "deeper": (
        b"class A:\n    def f():\n        if x:\n            y()\n",
        "if x:\n    y()",
        "if x:\n    z()\n\nelse:\n    w()",
        b"class A:\n    def f():\n        if x:\n            z()\n\n        else:\n            w()\n",
        "indentation",
    ),
    "shallower": (
        b"if x:\n    y()\nrest\n",
        "    if x:\n        y()\n",
        "    if x:\n        z()\n",
        b"if x:\n    z()\nrest\n",
        "indentation",
    ),
    "at another indentation, without the last newline": (
        b"  a\n  b\nc\n",
        "    a\n    b\n",
        "    x",
        b"  x\nc\n",
        "indentation",
    ),
    "deleted at another indentation": (b"  a\n  b\nc\n", "a\nb\n", "", b"c\n", "indentation"),
    "tabs": (
        b"\tif x:\r\n\t\ty()\r\n",
        "if x:\n\ty()",
        "if z:\n\ty()",
        b"\tif z:\r\n\t\ty()\r\n",
        "indentation",
    ),
    "line numbers": (b"a\n  b\nc\n", "2\t  b\n3\tc", "2\t  x\n3\tc", b"a\n  x\nc\n", "line numbers"),
    "line numbers in the search alone": (b"a\nb\nc\n", "2\tb", "x", b"a\nx\nc\n", "line numbers"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_edit_lands_where_it_means_to(name: str) -> None:
    before, old, new, after, how = CASES[name]
    done = apply_edit(before, old, new)
    assert (done.data, done.how) == (after, how)


REFUSED = {
    "empty": (b"a\n", "", "x", "empty"),
    "white space alone": (b"a\n\n\n", " \n\t\n", "x", "empty"),
    "nothing to change": (b"a\n", "a", "a", "the same"),
    "two places": (b"a\nb\na\n", "a", "x", "fits 2 places, lines 1, 3"),
    "overlapping": (b"x = aaa\n", "aa", "b", "fits 2 places"),
    "two places but for space": (b"a \nb\na\t\nb\n", "a\nb", "x", "fits 2 places, lines 1, 3"),
    "two indentations": (b"  a\n  b\n    a\n    b\n", "a\nb", "x", "fits 2 places, lines 1, 3"),
    "not there": (b"a\nb\n", "quite different", "x", "not in the file"),
    "other shape": (b"if x:\n    y()\n", "if x:\n        y()\nz", "x", "not in the file"),
    "number of another line": (b"a\nb\n", "7\tb", "x", "not in the file"),
    "not in the encoding": (b"\xe9\n", "\xe9", "€", "latin-1, which has no '€'"),
    "binary": (b"a\0b\n", "a", "x", "binary"),
    "empty file": (b"", "a", "x", "not in the file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_edit_that_may_be_wrong_is_refused(name: str) -> None:
    before, old, new, message = REFUSED[name]
    with pytest.raises(ToolError, match=message):
        apply_edit(before, old, new)


def test_a_near_miss_shows_the_nearest_lines_and_the_difference() -> None:
    source = (
        b"import os\n\n\ndef total(items):\n    result = 0\n    for item in items:\n        result += item\n"
    )
    with pytest.raises(MatchError) as caught:
        apply_edit(source, "def total(items):\n    result = 1\n    for item in items:", "x")
    text = str(caught.value)
    assert "4\tdef total(items):\n5\t    result = 0\n6\t    for item in items:" in text
    assert "Line 5 differs from yours: result = 1" in text


def test_all_places_are_replaced_on_request() -> None:
    done = apply_edit(b"a\r\nb\na\naa\n", "a", "x\ny", replace_all=True)
    assert done.data == b"x\r\ny\r\nb\nx\ny\nx\nyx\ny\n"
    assert done.lines == ((1, 2), (4, 5), (6, 7), (7, 8))
    assert apply_edit(b"aaa", "aa", "b", replace_all=True).data == b"ba"


def test_the_edited_lines_are_told() -> None:
    assert apply_edit(b"a\nb\nc\n", "b\n", "x\ny\n").lines == ((2, 3),)
    assert apply_edit(b"a\nb\nc\n", "b\n", "").lines == ((2, 2),)


def test_a_whole_new_text_keeps_what_the_file_was() -> None:
    assert encode_like(b"\xef\xbb\xbfa\r\nb\r\n", "x\ny\n") == b"\xef\xbb\xbfx\r\ny\r\n"
    assert encode_like(b"a\nb\r\n", "x\ny\n") == b"x\ny\n"
    assert encode_like(b"\xe9", "ü") == b"\xfc"


LINES = st.lists(st.sampled_from(["a", "  b", "    c", "\td", "", "   ", "é", "x = 1  "]), max_size=8)
ENDS = st.sampled_from(["\n", "\r\n"])


@given(LINES, LINES, LINES, ENDS, st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]))
def test_bytes_outside_of_the_region_never_change(
    head: list[str], body: list[str], tail: list[str], end: str, encoding: str
) -> None:
    marked = ["START", *body, "STOP"]
    text = end.join([*head, *marked, *tail])
    old = "\n".join(line.rstrip() for line in marked)
    fresh = "FRESH\nAND\n  LINES"
    data = text.encode(encoding)
    want = end.join([*head, fresh.replace("\n", end), *tail]).encode(encoding)
    assert apply_edit(data, old, fresh).data == want


@given(LINES, st.integers(1, 3), ENDS)
def test_two_places_that_fit_are_never_edited(lines: list[str], copies: int, end: str) -> None:
    block = [*lines, "MARK"]
    assume(any(line.strip() for line in lines))
    data = end.join(block * (copies + 1)).encode()
    with pytest.raises(MatchError, match=f"fits {copies + 1} places"):
        apply_edit(data, "\n".join(block), "x")


def plain_quotes(text: str) -> str:
    return text.replace("“", '"').replace("”", '"')


ROWS = st.lists(st.sampled_from(["a", "  a", "b ", "    b", "\tb", "", "...", "“c”", "c", '"c"']), max_size=9)


@given(
    ROWS,
    ROWS,
    st.sampled_from(["", "\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.data(),
)
def test_lines_outside_of_what_is_told_stay_on_every_rung(
    file: list[str], new: list[str], last: str, encoding: str, data: st.DataObject
) -> None:
    ends = data.draw(st.lists(st.sampled_from(["\n", "\r\n"]), min_size=len(file), max_size=len(file)))
    text = "".join(row + end for row, end in zip(file, ends, strict=True)) + "tail" + last
    start = data.draw(st.integers(0, len(file)))
    spelt = [str, str.strip, lambda row: row + " ", lambda row: f"  {row}", lambda row: row.replace("“", '"')]
    spell = data.draw(st.sampled_from(spelt))
    sought = "\n".join(spell(row) for row in file[start : start + data.draw(st.integers(1, 4))])
    try:
        done = apply_edit(text.encode(encoding), sought, "\n".join(new))
    except ToolError:
        return
    assert sum(text.replace("\r\n", "\n").startswith(sought, at) for at in range(len(text))) < 2
    before, after = text.split("\n"), done.data.decode(encoding).split("\n")
    first, end = done.lines[0][0], done.lines[-1][1]
    written = plain_quotes("\n".join(after[first - 1 : end]))
    assert all(plain_quotes(row.strip()) in written for row in new if row != "...")
    assert after[: first - 1] == before[: first - 1]
    # a new text that ends with a line end leaves what follows in the line behind what is told
    behind = after[end + 1 :]
    assert behind == before[len(before) - len(behind) :]


def test_several_edits_are_made_one_after_the_other_or_none_is() -> None:
    source = b"a\r\nb\r\nc\r\n"
    edits = [Replacement("c", "d\ne"), Replacement("a", "1\n2"), Replacement("e", "f")]
    done = apply_edits(source, edits)
    assert done.data == b"1\r\n2\r\nb\r\nd\r\nf\r\n" and done.how == "exact"
    assert done.lines == ((1, 2), (4, 5), (5, 5))
    with pytest.raises(MatchError, match=r"Edit 2 of 2: old_string is not in the file.* None of the edits"):
        apply_edits(source, [Replacement("a", "x"), Replacement("zzz", "y")])
    with pytest.raises(ToolError, match="Give at least one edit"):
        apply_edits(source, [])


def test_a_near_miss_in_white_space_shows_the_tabs() -> None:
    with pytest.raises(MatchError, match="Line 2 is indented otherwise: →b\\(\\) \\(yours: ····b\\(\\)\\)"):
        apply_edit(b"if a:\n\tb()\nc()\n", "if a:\n    b()\n    c()\n", "x")


@given(st.binary(max_size=60), st.text(max_size=8), st.text(max_size=8))
def test_no_input_breaks_it(data: bytes, old: str, new: str) -> None:
    try:
        done = apply_edit(data, old, new)
    except ToolError:
        return
    assert done.data != data or done.how != "exact"


BIG = {
    "one letter, a million times": ("a" * 10**6, "aa", "b\n"),
    "one line, a hundred thousand times": ("}\n" * 10**5, "}\nx\n" * 500 + "}\n", "y\n"),
    "lines of blanks": (" " * 10**6 + "\n" + "a\n" * 10**4, "a\n \n" * 300, "b"),
    "a long search of such lines": (
        "go()\n" * 10**5,
        "  go()\n" * 5000 + "stop()\n",
        "  go()\n" * 5000,
    ),
    "one very long line": ("ab" * 10**6, "ab" * 10**5 + "c", "d"),
    "a long text for a long one": ("x\n" * 5000 + "y\n", " x\n" * 5000 + " y\n", " z\n x\n" * 5000),
}


@pytest.mark.parametrize("name", BIG)
def test_hostile_sizes_take_no_more_than_seconds(name: str) -> None:
    text, old, new = BIG[name]
    began = time.process_time()
    with contextlib.suppress(ToolError):
        apply_edit(text.encode(), old, new)
    assert time.process_time() - began < 5


def test_lines_are_counted_as_read_shows_them() -> None:
    """Form feeds and Unicode's line separators end no line."""
    text = "a = 1\n\x0cb = '\u2028'\nlonger_name = compute(1)\n"
    with pytest.raises(MatchError, match=r"\n3\tlonger_name = compute\(1\)\nLine 3 differs"):
        apply_edit(text.encode(), "longer_name = compute(2)", "x")


def test_what_a_refusal_ends_with_does_not_look_like_a_line_of_the_file() -> None:
    edits = [Replacement("a = 1", "a = 2"), Replacement("bcd = 3", "b")]
    with pytest.raises(MatchError, match=r"differs from yours: bcd = 3\nNone of the edits was made\.$"):
        apply_edits(b"a = 1\nbcd = 2\n", edits)
