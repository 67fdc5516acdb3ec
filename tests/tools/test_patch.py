from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tools.base import ToolError
from tools.matching import MatchError
from tools.patch import apply_hunks, unified
from tools.patchtext import FilePatch, parse

SOURCE = "def f():\n    a = 1\n    return a\n\n\ndef g():\n    b = 1\n    return b\n"


def only(patch: str) -> FilePatch:
    [found] = parse(patch)
    return found


def applied(source: str | bytes, patch: str) -> str:
    data = source.encode() if isinstance(source, str) else source
    return apply_hunks(data, only(patch).hunks).decode()


def envelope(*rows: str) -> str:
    return "\n".join(["*** Begin Patch", "*** Update File: a.py", *rows, "*** End Patch"])


def diff(*rows: str) -> str:
    return "\n".join(["--- a/a.py", "+++ b/a.py", *rows, ""])


APPLIED = {
    "envelope": envelope("@@", " def g():", "-    b = 1", "+    b = 2"),
    "envelope in a command": "\n".join(
        ["apply_patch <<'EOF'", envelope("@@", " def g():", "-    b = 1", "+    b = 2"), "EOF"]
    ),
    "envelope below a heading": envelope("@@ def g():", "-    b = 1", "+    b = 2"),
    "envelope without @@": envelope(" def g():", "-    b = 1", "+    b = 2", "     return b"),
    "envelope with numbers": envelope("@@ -1,2 +1,2 @@", "-    b = 1", "+    b = 2"),
    "end of file": envelope("@@", "-    b = 1", "+    b = 2", "     return b", "*** End of File"),
    "right numbers": diff("@@ -6,3 +6,3 @@", " def g():", "-    b = 1", "+    b = 2", "     return b"),
    "wrong numbers": diff(
        "@@ -60,3 +1,99 @@ class X", " def g():", "-    b = 1", "+    b = 2", "     return b"
    ),
    "no numbers": diff("@@ ... @@", " def g():", "-    b = 1", "+    b = 2"),
    "no indentation": diff("@@ -1 +1 @@", " def g():", "-b = 1", "+b = 2").replace(" def g():\n", ""),
    "lost space of a blank line": diff("@@ -4 +4 @@", "", " def g():", "-    b = 1", "+    b = 2"),
    "in a fence": f"```diff\n{diff('@@ -9 +9 @@', ' def g():', '-    b = 1', '+    b = 2')}```",
    "with a git head": "diff --git a/a.py b/a.py\nindex 1..2 100644\n"
    + diff("@@ @@", "-    b = 1", "+    b = 2"),
}


@pytest.mark.parametrize("name", APPLIED)
def test_a_hunk_goes_where_its_lines_stand(name: str) -> None:
    assert applied(SOURCE, APPLIED[name]) == SOURCE.replace("b = 1", "b = 2")


def test_hunks_that_fit_in_one_order_alone_are_not_ambiguous() -> None:
    source = "x\na\ny\na\nz\n"
    assert applied(source, diff("@@ @@", " y", "@@ @@", "-a", "+b")) == "x\na\ny\nb\nz\n"
    assert applied(source, diff("@@ @@", "-a", "+b", "@@ @@", "-a", "+c")) == "x\nb\ny\nc\nz\n"


REFUSED = {
    "two places": (diff("@@ -9,1 +9,1 @@", "-a", "+b"), "Hunk 1 fits several places, lines 2, 4"),
    "no context": (diff("@@ -9,0 +9,1 @@", "+b"), "no line of context"),
    "blank context alone": (diff("@@ -9,1 +9,2 @@", " ", "+b"), "no line of context"),
    "not there": (diff("@@ -1,1 +1,1 @@", "-quite other", "+b"), "Hunk 1 is not in the file"),
    "wrong order": (diff("@@ @@", "-z", "+Z", "@@ @@", "-x", "+X"), "not in the file in this order"),
    "no such heading": (envelope("@@ def h():", "-x", "+y"), "no line begins with 'def h\\(\\):'"),
    "placeholder": (envelope("@@", "-x", "+# ... existing code ..."), "leaves code out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hunk_that_may_be_wrong_is_refused(name: str) -> None:
    patch, message = REFUSED[name]
    with pytest.raises(MatchError, match=message):
        applied("x\na\ny\na\nz\n", patch)


def test_a_right_number_decides_between_two_places() -> None:
    assert applied("a\nx\na\n", diff("@@ -3,1 +3,1 @@", "-a", "+b")) == "a\nx\nb\n"


def test_files_are_added_moved_and_deleted() -> None:
    patch = (
        "*** Begin Patch\n*** Add File: new/a.py\n+x = 1\n+\n+y = 2\n*** Delete File: old.py\n"
        "*** Update File: b.py\n*** Move to: c.py\n@@\n-1\n+2\n*** End Patch"
    )
    add, delete, move = parse(patch)
    assert add == FilePatch("add", "new/a.py", content="x = 1\n\ny = 2\n")
    assert delete == FilePatch("delete", "old.py")
    assert (move.kind, move.path, move.moved_to, len(move.hunks)) == ("update", "b.py", "c.py", 1)
    add, delete, move, pure = parse(
        "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,1 @@\n+x = 1\n"
        "--- a/old.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        "diff --git a/b.py b/c.py\nrename from b.py\nrename to c.py\n"
        "--- a/b.py\n+++ b/c.py\n@@ -1 +1 @@\n-1\n+2\n"
        "diff --git a/d.py b/e.py\nsimilarity index 100%\nrename from d.py\nrename to e.py\n"
    )
    assert (add.kind, add.content) == ("add", "x = 1\n")
    assert (delete.kind, delete.path) == ("delete", "old.py")
    assert (move.path, move.moved_to, len(move.hunks)) == ("b.py", "c.py", 1)
    assert pure == FilePatch("update", "d.py", "e.py")


NO_PATCHES = {
    "prose": ("Just change it.", "Not a patch"),
    "an envelope of nothing": ("*** Begin Patch\n*** End Patch", "Not a patch"),
    "a line without a mark": ("*** Begin Patch\n*** Update File: a\n@@\nx\n*** End Patch", "neither space"),
    "an added line without a mark": ("*** Begin Patch\n*** Add File: a\nx\n*** End Patch", "begins with \\+"),
    "a file twice": (
        "*** Begin Patch\n*** Delete File: a\n*** Delete File: a\n*** End Patch",
        "more than once",
    ),
}


@pytest.mark.parametrize("name", NO_PATCHES)
def test_what_is_no_patch_is_told_how_one_looks(name: str) -> None:
    patch, message = NO_PATCHES[name]
    with pytest.raises(ToolError, match=message):
        parse(patch)


def test_bytes_that_a_diff_does_not_name_are_kept() -> None:
    patch = diff("@@ -1,2 +1,2 @@", " a", "-b", "+c")
    assert (
        apply_hunks(b"\xef\xbb\xbfa  \r\nb\r\nrest\n", only(patch).hunks) == b"\xef\xbb\xbfa  \r\nc\r\nrest\n"
    )
    assert apply_hunks(b"caf\xe9\na\nb", only(patch).hunks) == b"caf\xe9\na\nc"


TEXTS = st.lists(
    st.sampled_from(
        ["a", "b", "", " ", "-- x", "++ y", "@@ -1 +1 @@", "--- a/z", "\\ x", "c\r", "\x0c", "é\u2028"]
    ),
    max_size=12,
).flatmap(lambda rows: st.sampled_from(["\n".join(rows), "\n".join([*rows, ""])]))


@given(TEXTS, TEXTS, st.integers(0, 4))
def test_what_was_made_is_applied(a: str, b: str, context: int) -> None:
    made = unified(a, b, "a.py", context)
    if a == b:
        assert made == ""
    else:
        assert apply_hunks(a.encode(), only(made).hunks).decode() == b


@given(TEXTS, TEXTS, st.integers(1, 4))
def test_what_was_compared_row_by_row_is_applied_too(a: str, b: str, context: int) -> None:
    assume(a and b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.patch._COMPARED", -1)
        made = unified(a, b, "a.py", context)
    assert a == b or apply_hunks(a.encode(), only(made).hunks).decode() == b


def test_a_long_diff_is_made_in_linear_time() -> None:
    """Comparing each row with each took 8 s for the first of these."""
    before = "".join(f"def f{n}():\n    return {n}\n\n\n" for n in range(5000))
    started = time.process_time()
    for after in (
        before.replace("return", "return 1 +"),
        before.replace("    return", "    pass\n    return"),
    ):
        hunks = only(unified(before, after, "a.py", 2)).hunks
        assert apply_hunks(before.encode(), hunks) == after.encode()
    assert time.process_time() - started < 4


@given(TEXTS, TEXTS, TEXTS)
def test_a_diff_of_something_else_is_applied_whole_or_not_at_all(a: str, b: str, other: str) -> None:
    made = unified(a, b, "a.py")
    try:
        done = apply_hunks(other.encode(), only(made).hunks if made else ()).decode()
    except ToolError:
        return
    added = [row[1:] for row in made.split("\n")[2:] if row.startswith("+")]
    assert all(row.strip() in done for row in added)


@given(st.text(alphabet="@-+ \\\n*ab/", max_size=60))
def test_no_patch_breaks_it(text: str) -> None:
    for head in ("*** Begin Patch\n*** Update File: a\n", "--- a\n+++ b\n@@ -1 +1 @@\n"):
        try:
            for one in parse(head + text):
                apply_hunks(b"a\nb\n\nab\n", one.hunks)
        except ToolError:
            pass
