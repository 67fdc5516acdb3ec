from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.repairs import repairs


def changed(body: str) -> set[str]:
    """What the line of a function with one line can become."""
    source = f"def f(a, b):\n    {body}\n".encode()
    return {repair.apply(source).decode().partition("\n")[2].strip() for repair in repairs(source)}


@pytest.mark.parametrize(
    "body, some",
    [
        ("return a < b", {"return a <= b", "return a > b", "return a >= b"}),
        ("return a not   in b", {"return a in b"}),
        ("return a is b", {"return a is not b"}),
        ("return (a) and (b)", {"return (a) or (b)", "return ((not (a))) and (b)"}),
        ("return not a", {"return (a)"}),
        ("if a: return 1", {"if (not (a)): return 1"}),
        ("return [x for x in a if x]", {"return [x for x in a if (not (x))]"}),
        ("return a - 1", {"return a + 1", "return a - 2", "return a - 0", "return (1) - (a)"}),
        ("return a[0]", {"return a[1]", "return a[(-1)]"}),
        ("return a[:b]", {"return a[:((b) + 1)]", "return a[:((b) - 1)]"}),
        ("a //= b", {"a /= b", "a *= b", "pass"}),
        ("return -a", {"return +a"}),
        ("return g(a, b)", {"return g((b), (a))", "return g(b, b)", "return g(a, a)"}),
        ("return max(a)", {"return min(a)"}),
        ("return a.lstrip(b)", {"return a.rstrip(b)"}),
        ("return a", {"return b"}),
        ("for x in a: break", {"for x in a: continue", "for x in a: pass"}),
        ("return a == True", {"return a == False", "return a != True"}),
        ("return range(a)", {"return range(((a) + 1))", "return range(((a) - 1))"}),
    ],
)
def test_what_can_become_of_it(body: str, some: set[str]) -> None:
    assert some <= changed(body)


@pytest.mark.parametrize("body", ["'text < 1'", "return f'{a < 1}'", "return 'a' % b", "pass  # 1 < 2"])
def test_what_is_left_alone(body: str) -> None:
    assert {text for text in changed(body) if text != "pass"} == set()


def test_only_the_bodies_of_functions_are_changed_and_each_once() -> None:
    source = b"A = 1 < 2\n\n\n@b(1)\ndef f(a=1):\n    def g(c=2):\n        return 3\n\n    return g\n"
    assert {repair.text for repair in repairs(source) if repair.kind == "number"} == {b"4", b"2"}
    spans = [(repair.start, repair.end, repair.text) for repair in repairs(source)]
    assert len(set(spans)) == len(spans)


@pytest.mark.parametrize(
    "source",
    [b"", b"def f(:", b"\x00", b"\xff", b"def f():\r\n    return 1\r\n", b"(" * 9000, b"x" * 600_000],
)
def test_what_is_no_plain_python_has_none(source: bytes) -> None:
    assert repairs(source) == []


ATOMS = st.sampled_from(["a", "b", "x.y", "3", "0", "True", "None", "'é'", "len(a)", "[a, 1]", "f(a, b)"])


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operator = st.sampled_from(["+", "-", "*", "//", "%", "<", "<=", "==", "not in", "is", "and", "or", "|"])
    return st.one_of(
        st.builds("({} {} {})".format, inner, operator, inner),
        st.builds("({}\n  {} {})".format, inner, operator, inner),
        st.builds("(not {})".format, inner),
        st.builds("x[{}:{}]".format, inner, inner),
        st.builds("range({}, {})".format, inner, inner),
        st.builds("({} if {} else -{})".format, inner, inner, inner),
        st.builds("[y for y in {} if {}]".format, inner, inner),
    )


@settings(max_examples=60)
@given(
    st.recursive(ATOMS, grown, max_leaves=8),
    st.sampled_from(["return {}", "x = {}", "x += {}", "if {}: break"]),
)
def test_every_change_keeps_the_lines_and_parses(expression: str, statement: str) -> None:
    source = f"def f(a, b, x):\n  while a:\n    {statement.format(expression)}\n".encode()
    for repair in repairs(source):
        better = repair.apply(source)
        assert better != source and better.count(b"\n") == source.count(b"\n")
        ast.parse(better)


@settings(max_examples=60)
@given(st.recursive(ATOMS, grown, max_leaves=6))
def test_what_was_exchanged_can_be_exchanged_back(expression: str) -> None:
    source = f"def f(a, b, x):\n    return {expression}\n".encode()
    exchanges = [r for r in repairs(source) if r.kind in ("compare", "logic", "truth", "jump", "number")]
    for repair in exchanges:
        worse = repair.apply(source)
        # of a number below 0 the sign is another token
        assert b"-" in repair.text or source in {back.apply(worse) for back in repairs(worse)}
