from __future__ import annotations

import ast
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.graft import replace_function
from tools.syntax import SyntaxProblem, functions

SOURCE = b'''\
"""Module."""
import os


# what f is about
def f(x):
    """Doc of f.

    More of it.
    """
    y = x  \n    return y


class A:
    @property
    def m(self):
        """Doc of m."""
        return 1

    def n(self): return 1


def last():
    return 0
'''


def lines_changed(before: bytes, after: bytes) -> tuple[list[bytes], list[bytes]]:
    """Lines that are only in the one, and only in the other."""
    old, new = before.splitlines(True), after.splitlines(True)
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_only_the_changed_line_changes() -> None:
    result = replace_function(SOURCE, "f", "def f(x):\n    y = x\n    return y + 1\n")
    assert lines_changed(SOURCE, result) == ([b"    return y\n"], [b"    return y + 1\n"])
    assert b'"""Doc of f.' in result and b"y = x  \n" in result


def test_a_docstring_may_be_dropped_on_request() -> None:
    result = replace_function(SOURCE, "f", "def f(x):\n    return x\n", keep_docstring=False)
    assert b"Doc of f" not in result


def test_a_docstring_that_is_there_stays_as_it_was() -> None:
    result = replace_function(SOURCE, "f", 'def f(x):\n    """New."""\n    y = x\n    return y + 1\n')
    assert lines_changed(SOURCE, result) == ([b"    return y\n"], [b"    return y + 1\n"])


def test_a_docstring_where_there_was_none_is_taken() -> None:
    result = replace_function(SOURCE, "last", 'def last():\n    """New."""\n    return 1\n')
    assert b'def last():\n    """New."""\n    return 1\n' in result


def test_a_docstring_may_be_replaced_on_request() -> None:
    code = 'def f(x):\n    """New."""\n    return x\n'
    result = replace_function(SOURCE, "f", code, keep_docstring=False)
    assert b"New." in result and b"Doc of f" not in result


@pytest.mark.parametrize(
    "code",
    [
        "def m(self):\n    return 2\n",
        "    def m(self):\n        return 2\n",
        "def m(self):\n        return 2\n",
        "class A:\n    def m(self):\n        return 2\n",
        "class A:\n  def m(self):\n    return 2\n",
        "\tdef m(self):\n\t\treturn 2\n",
        "@property\n    def m(self):\n        return 2\n",
        "import sys\n\nclass A(object):\n    @property\n    def m(self):\n        return 2\n\nprint(A().m)\n",
        "def m(self):\n    return 1\n\n\ndef m(self):\n    return 2\n",
        "\r\ndef m(self):\r\n    return 2\r\n",
    ],
)
def test_a_method_is_understood_at_any_depth(code: str) -> None:
    result = replace_function(SOURCE, "A.m", code)
    assert lines_changed(SOURCE, result) == ([b"        return 1\n"], [b"        return 2\n"])
    assert b'    @property\n    def m(self):\n        """Doc of m."""\n        return 2\n' in result


def test_decorators_of_the_reply_win() -> None:
    result = replace_function(SOURCE, "A.m", "@cached\ndef m(self):\n    return 1\n")
    assert b"    @cached\n    def m" in result and b"@property" not in result


def test_units_of_indentation_are_translated() -> None:
    source = b"class A:\n\tdef m(self):\n\t\treturn 1\n"
    code = "def m(self):\n  if self:\n    return [\n      2,\n    ]\n  return 3\n"
    want = b"class A:\n\tdef m(self):\n\t\tif self:\n\t\t\treturn [\n\t\t\t\t2,\n\t\t\t]\n\t\treturn 3\n"
    assert replace_function(source, "m", code) == want


def test_line_ends_and_a_missing_final_newline_are_kept() -> None:
    source = b"\xef\xbb\xbfdef f():\r\n    return 1\r\n\r\n\r\ndef g():\r\n    return 2"
    result = replace_function(source, "g", "def g():\n    x = 3\n    return x\n")
    assert result == source.replace(b"    return 2", b"    x = 3\r\n    return x")
    result = replace_function(source, "f", "def f():\n    x = 3\n    return x\n")
    assert result == source.replace(b"    return 1", b"    x = 3\r\n    return x")


def test_text_in_strings_is_not_moved() -> None:
    code = 'def m(self):\n    return """a\n  b\n"""\n'
    assert b'        return """a\n  b\n"""\n' in replace_function(SOURCE, "A.m", code)


def test_the_encoding_is_kept() -> None:
    source = b"# -*- coding: latin-1 -*-\ndef f():\n    return '\xe9'\n"
    assert replace_function(source, "f", "def f():\n    return 'ü'\n") == source.replace(b"\xe9", b"\xfc")
    with pytest.raises(SyntaxProblem, match="cannot hold '€'"):
        replace_function(source, "f", "def f():\n    return '€'\n")


def test_what_the_function_uses_comes_along_and_nothing_else() -> None:
    code = """\
        import math, os
        from typing import List
        import pytest

        LIMIT = 3
        UNUSED = 4

        def helper(a: List):
            return math.sqrt(a) + LIMIT

        def last():
            return "not asked for"

        def f(x):
            return helper(x)

        if __name__ == "__main__":
            print(f(1))
        """
    result = replace_function(SOURCE, "f", textwrap.dedent(code))
    before, _, after = SOURCE.partition(b"import os\n\n\n")
    assert result.startswith(
        before + b"import os\nimport math\nfrom typing import List\n\n\nLIMIT = 3\n\ndef helper(a: List):\n"
    )
    assert b"+ LIMIT\n\n\n# what f is about\ndef f(x):" in result
    assert result.endswith(after[after.index(b"\n\n\nclass A:") :])
    assert b"pytest" not in result and b"UNUSED" not in result and b"__main__" not in result


def test_a_new_method_goes_into_the_class() -> None:
    code = "def m(self):\n    return self._k() + f(1)\n\ndef _k(self):\n    return 2\n"
    result = replace_function(SOURCE, "A.m", code)
    assert b"class A:\n    def _k(self):\n        return 2\n\n    @property\n    def m(self):" in result
    assert result.count(b"def f(") == 1


def test_an_import_goes_below_the_docstring_when_there_are_none() -> None:
    source = b'#!/usr/bin/env python\n"""Doc."""\n\ndef f():\n    return 1\n'
    result = replace_function(source, "f", "import math\ndef f():\n    return math.pi\n")
    assert result == b'#!/usr/bin/env python\n"""Doc."""\n\nimport math\n\ndef f():\n    return math.pi\n'
    result = replace_function(
        b"#!/bin/x\n# about f\ndef f():\n    return 1\n", "f", "import math\ndef f():\n    return math.pi\n"
    )
    assert result == b"#!/bin/x\nimport math\n\n\n# about f\ndef f():\n    return math.pi\n"


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("g", "def g(): pass", "no function 'g'; there are: f, A.m, A.n, last"),
        ("f", "def g(): pass", "has no function 'f'; it has: g"),
        ("f", "I am sorry.", "has no function 'f'; it has: none"),
        ("f", "def f(x):\n    return (x +\n", "syntax error in line 2 of f"),
        ("f", "def f(x):\n    # ... rest of the code unchanged\n    return x", "write the whole function"),
        ("f", "def f(x):\n    # ... existing code ...\n    return x", "write the whole function"),
    ],
)
def test_what_cannot_be_meant_is_refused(target: str, code: str, message: str) -> None:
    with pytest.raises(SyntaxProblem, match=message.replace(".", r"\.")):
        replace_function(SOURCE, target, code)


def test_names_that_fit_twice_are_refused_but_not_their_symbols() -> None:
    source = b"if a:\n    def f(): return 1\nelse:\n    def f(): return 2\n"
    with pytest.raises(SyntaxProblem, match="not unique: f in line 2, f in line 4"):
        replace_function(source, "f", "def f(): return 3")
    second = functions(source)[1]
    assert replace_function(source, second, "def f(): return 3") == source.replace(b"return 2", b"return 3")


def test_the_implementation_is_meant_among_overloads() -> None:
    source = b"@overload\ndef f(x: int): ...\ndef f(x):\n    return 1\n"
    assert replace_function(source, "f", "def f(x):\n    return 2\n") == source.replace(b"1", b"2")


def test_a_function_in_a_broken_file_can_be_mended() -> None:
    source = b"def good():\n    return 1\n\n\ndef f(x):\n    return (x\n\n\ndef other():\n    return 2\n"
    result = replace_function(source, "good", "def good():\n    return 3\n")
    assert result == source.replace(b"return 1", b"return 3")


BROKEN = [
    b"def f(x:\n    y = 1\n    for z in x:\n        y += z\n    return y",
    b"def f(x):\n    y = (1\n    for z in x:\n        y += z\n\n    # sum\n    return y",
]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("depth", ["", "    "])
def test_a_function_with_a_syntax_error_is_replaced_as_a_whole(broken: bytes, depth: str) -> None:
    good = "def f(x):\n    y = 0\n    for z in x:\n        y += z\n    return y"
    head = b"class A:\n" if depth else b""
    tail = b"\n\n# next\ndef other():\n    return 2\n"
    source = head + textwrap.indent(broken.decode(), depth).encode() + tail
    assert replace_function(source, "f", good) == head + textwrap.indent(good, depth).encode() + tail


BODIES = [
    ["return 1"],
    ["x = 1", "if x:", "\treturn x", "return 2"],
    ['"""Doc."""', "for i in range(3):", "\tif i:", "\t\tcontinue", "", "return None"],
    ["def inner():", "\treturn 1", "return inner"],
    ["# a remark", "return {", "\t'a': 1,", "}"],
]


@st.composite
def modules(draw: st.DrawFn) -> tuple[bytes, str, str]:
    """(source, unit of indentation, line end) of a module with a function and a class."""
    unit = draw(st.sampled_from(["    ", "  ", "\t"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    decorator = draw(st.sampled_from(["", "@wraps(g)"]))
    lines = draw(st.sampled_from([[], ["import os", "", ""], ['"""Doc é."""', ""]]))
    for depth, name in ((0, "f"), (1, "m")):
        head = [f"{unit}# about {name}"] if depth else []
        lines = [*lines, *(["class A:"] if depth else []), *head]
        lines += [unit * depth + decorator] if decorator else []
        lines.append(f"{unit * depth}def {name}(self):")
        body = draw(st.sampled_from(BODIES))
        lines += [unit * (depth + 1) + row.replace("\t", unit) if row else "" for row in body]
        lines += ["", ""]
    return end.join(lines).encode() + draw(st.sampled_from([b"", b"\n# end", b"\nz = 1\n"])), unit, end


@given(modules(), st.sampled_from(["f", "A.m"]))
def test_a_function_replaced_by_itself_changes_nothing(module: tuple[bytes, str, str], target: str) -> None:
    source = module[0]
    symbol = next(s for s in functions(source) if s.qualname == target)
    own = source[symbol.start_byte : symbol.end_byte].decode()
    assert replace_function(source, target, own) == source
    assert replace_function(source, target, source.decode()) == source


@given(modules(), st.sampled_from(["f", "A.m"]), st.sampled_from(BODIES), st.sampled_from(["", "    ", "\t"]))
def test_nothing_outside_changes_and_the_meaning_is_the_reply_s(
    module: tuple[bytes, str, str], target: str, body: list[str], depth: str
) -> None:
    source, _, end = module
    name = target[-1]
    rows = [f"def {name}(self, new):", *("    " + row.replace("\t", "    ") if row else "" for row in body)]
    code = "\n".join(rows)
    symbol = next(s for s in functions(source) if s.qualname == target)
    result = replace_function(source, target, textwrap.indent(code, depth), keep_docstring=False)
    after = len(source) - symbol.end_byte
    assert result.startswith(source[: symbol.def_byte])
    assert after == 0 or result.endswith(source[symbol.end_byte :])
    fresh = result[symbol.def_byte : len(result) - after].decode()
    assert end == "\r\n" or "\r" not in fresh
    assert end == "\n" or fresh.count("\n") == fresh.count("\r\n")
    wrapped = fresh
    if target == "A.m":
        wrapped = f"class A:\n{source[: symbol.def_byte].decode().splitlines()[-1]}{fresh}"
    found = next(n for n in ast.walk(ast.parse(wrapped)) if isinstance(n, ast.FunctionDef) and n.name == name)
    assert ast.dump(found) == ast.dump(ast.parse(code).body[0])
