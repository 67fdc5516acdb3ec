"""Faults in source text: which there are in each language, and what none of them may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import grammars
from tools.mutable import LANGUAGES
from tools.mutation import mutants, parses

_C = "int f(int a) {\n  if (a < 1 && a) {\n    g(2);\n    return a + 1;\n  }\n  return 0;\n}\n"
_CLASS = (
    "class A { int f(int a) {\n  if (a < 1 && true) {\n    g(2);\n    return a + 1;\n  }\n  return 0;\n} }\n"
)
_SCRIPT = "function f(a) {\n  if (a < 1 && true) {\n    g(2);\n    return a + 1;\n  }\n  return 0;\n}\n"
FULL = {"compare", "arithmetic", "logic", "condition", "number", "truth", "drop"}
SAMPLES: dict[str, tuple[str, set[str]]] = {
    "bash": ("if [[ $a == 1 ]]; then\n  (( b = c + 2 ))\nfi\n", FULL - {"logic", "truth", "drop"}),
    "c": (_C, FULL - {"truth"}),
    "c-sharp": (_CLASS, FULL),
    "cpp": (_C, FULL - {"truth"}),
    "dart": (_C.replace("&& a", "&& true"), FULL - {"condition"}),
    "elixir": (
        "defmodule A do\n  def f(a) do\n    if a < 1 and true, do: a + 1, else: 0\n  end\nend\n",
        FULL - {"condition", "drop"},
    ),
    "fortran": (
        "subroutine f(a)\n  integer :: a\n  if (a < 1 .and. .true.) then\n    a = a + 1\n  end if\n"
        "end subroutine\n",
        FULL - {"condition", "drop"},
    ),
    "go": (
        "package a\nfunc f(a int) int {\n\tif a < 1 && true {\n\t\tg(2)\n\t\treturn a + 1\n\t}\n"
        "\treturn 0\n}\n",
        FULL,
    ),
    "groovy": (_CLASS, FULL),
    "haskell": ("f a = if a < 1 && True then a + 1 else 0\n", {"compare", "arithmetic", "logic", "number"}),
    "java": (_CLASS, FULL),
    "javascript": (_SCRIPT, FULL),
    "julia": (
        "function f(a)\n  if a < 1 && true\n    return a + 1\n  end\n  return 0\nend\n",
        FULL - {"drop"},
    ),
    "kotlin": (
        "fun f(a: Int): Int {\n  if (a < 1 && true) {\n    g(2)\n    return a + 1\n  }\n  return 0\n}\n",
        FULL - {"truth", "drop"},
    ),
    "lua": (
        "function f(a)\n  if a < 1 and true then\n    g(2)\n    return a + 1\n  end\n  return 0\nend\n",
        FULL,
    ),
    "objc": (_C, FULL - {"truth"}),
    "ocaml": ("let f a = if a < 1 && true then a + 1 else 0\n", FULL - {"condition", "drop"}),
    "pascal": (
        "function f(a: integer): integer;\nbegin\n  if (a < 1) and true then\n    f := a + 1\n"
        "  else f := 0;\nend;\n",
        FULL - {"drop"},
    ),
    "php": ("<?php\n" + _SCRIPT.replace("a)", "$a)").replace("(a ", "($a ").replace("n a", "n $a"), FULL),
    "python": (
        "def f(a):\n    if a < 1 and True:\n        g(2)\n        return a + 1\n    return 0\n",
        FULL,
    ),
    "ruby": ("def f(a)\n  if a < 1 && true\n    g(2)\n    return a + 1\n  end\n  0\nend\n", FULL),
    "rust": (
        "fn f(a: i32) -> i32 {\n  if a < 1 && true {\n    g(2);\n    return a + 1;\n  }\n  0\n}\n",
        FULL,
    ),
    "scala": ("def f(a: Int): Int = if (a < 1 && true) a + 1 else 0\n", FULL - {"drop"}),
    "swift": (
        "func f(a: Int) -> Int {\n  if a < 1 && true {\n    g(2)\n    return a + 1\n  }\n  return 0\n}\n",
        FULL - {"drop"},
    ),
    "tsx": (_SCRIPT, FULL),
    "typescript": (_SCRIPT, FULL),
    "zig": (
        "fn f(a: i32) i32 {\n  if (a < 1 and true) {\n    g(2);\n    return a + 1;\n  }\n  return 0;\n}\n",
        FULL,
    ),
}
"""Language -> the same little function, and the kinds of faults that are found in it."""


def results(source: str, language: str = "python") -> dict[str, str]:
    """Result -> kind."""
    data = source.encode()
    return {each.apply(data).decode(): each.kind for each in mutants(data, language)}


def test_each_language_of_the_map_has_its_table() -> None:
    assert set(LANGUAGES) == set(grammars.LANGUAGES) == set(SAMPLES)


@pytest.mark.parametrize("language", SAMPLES)
def test_faults_of_each_language(language: str) -> None:
    source, kinds = SAMPLES[language]
    data = source.encode()
    found = mutants(data, language)
    assert parses(data, language)
    assert {each.kind for each in found} == kinds
    assert all(parses(each.apply(data), language) and each.apply(data) != data for each in found)
    assert len({each.apply(data) for each in found}) == len(found)


def test_the_faults_of_a_function() -> None:
    source, _ = SAMPLES["python"]
    assert results(source) == {
        source.replace("a < 1 and True", "not (a < 1 and True)"): "condition",
        source.replace("<", "<="): "compare",
        source.replace("1 and", "2 and"): "number",
        source.replace("and", "or"): "logic",
        source.replace("True", "False"): "truth",
        source.replace("        g(2)\n", ""): "drop",
        source.replace("g(2)", "g(3)"): "number",
        source.replace("        return a + 1\n", ""): "drop",
        source.replace("+", "-"): "arithmetic",
        source.replace("+ 1", "+ 2"): "number",
        source.replace("    return 0\n", ""): "drop",
        source.replace("return 0", "return 1"): "number",
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    g()\n", ["def f():\n    pass\n"]),  # a block cannot do without
        ('def f():\n    """Adds 1 + 1."""\n', []),
        ("def f():\n    # a < b\n    pass\n", []),
        ("x = a not in b\n", ["x = a in b\n"]),
        ("x = 1.5\ny = 0x10\nz = 10_000\n", []),  # no plain integers
        (
            "def f():\n    g(\n        x,\n        y,\n    )\n    h()\n",
            ["def f():\n    g(\n        x,\n        y,\n    )\n"],
        ),
        ("def f():\n    a; b\n", ["def f():\n    ; b\n", "def f():\n    a; \n"]),
    ],
)
def test_what_is_put_wrong_and_what_is_not(source: str, expected: list[str]) -> None:
    assert list(results(source)) == expected


LOOPS = {
    "python": ("for x in y:\n    a += x\n    b -= 1\n", ["a -= x", "b += 1"]),
    "javascript": ("for (let i = 0; i < n; i++) {\n  a += i;\n}\n", ["i--", "a -= i"]),
    "typescript": ("for (let i: number = 0; i < n; i++) {\n  a += i;\n}\n", ["i--", "a -= i"]),
    "go": ("package a\nfunc f() {\n\tfor i := 0; i < n; i++ {\n\t\ta += i\n\t}\n}\n", ["i--", "a -= i"]),
    "rust": ("fn f() {\n  for i in 0..n {\n    a += i;\n  }\n}\n", ["a -= i"]),
    "java": (
        "class A { void f() {\n  for (int i = 0; i < n; i++) {\n    a *= i;\n  }\n} }\n",
        ["i--", "a += i"],
    ),
    "c": ("void f(void) {\n  for (int i = n; i > 0; --i) {\n    a /= i;\n  }\n}\n", ["++i", "a *= i"]),
}
"""Language -> a loop, and what becomes of its updates."""


@pytest.mark.parametrize("language", LOOPS)
def test_updates_go_the_other_way(language: str) -> None:
    source, expected = LOOPS[language]
    found = [each for each in mutants(source.encode(), language) if each.kind == "arithmetic"]
    assert len(found) == len(expected)
    for each, text in zip(found, expected, strict=True):
        result = each.apply(source.encode())
        assert text in result.decode() and text not in source
        assert parses(result, language)


def test_some_results_do_not_parse_and_are_told() -> None:
    assert not parses(b"def f():\n    ; b\n", "python")
    assert not parses(b"int f( {", "c")
    assert parses(b"int f(void) { return 1; }", "c")


@pytest.mark.parametrize(
    "data", [b"", b"x = 1\r\n", b"x = '\xff' + 1\n", b"def f(:\n    x = 1\n", b"x = 1\n" * 100_000]
)
def test_a_source_that_cannot_be_worked_on_has_none(data: bytes) -> None:
    assert mutants(data, "python") == []


def test_a_fault_knows_its_place() -> None:
    source = b"def f():\n    return 1\n\n\ndef g():\n    return 2\n"
    assert [(each.line, each.scope) for each in mutants(source, "python") if each.kind == "number"] == [
        (2, "f"),
        (6, "g"),
    ]


@given(st.text(alphabet="ab1+<=() \n:if", max_size=60))
def test_any_text_is_survived(text: str) -> None:
    data = text.encode()
    for each in mutants(data, "python"):
        assert 0 <= each.start <= each.end <= len(data)
        assert each.apply(data) != data
