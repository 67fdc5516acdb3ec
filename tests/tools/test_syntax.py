from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tools import syntax
from tools.syntax import Import, SyntaxProblem

SOURCE = b'''\
"""Module."""
from __future__ import annotations
from .near import (a as b, c)
import x.y, os.path as p


@decorated
async def outer(arg):
    """Doc."""
    def inner():
        return thing[0].run(1)(2) + p.join(arg)
    return inner


class K(Base):
    @property
    def m(self): return self.n()

    class Deep:
        def n(self):
            pass


if flag:
    def late(): pass
'''


def test_symbols_have_qualified_names_kinds_and_spans() -> None:
    found = {s.qualname: s for s in syntax.symbols(SOURCE)}
    assert list(found) == ["outer", "outer.inner", "K", "K.m", "K.Deep", "K.Deep.n", "late"]
    assert [found[n].kind for n in ("outer", "outer.inner", "K", "K.m", "late")] == [
        "function",
        "function",
        "class",
        "method",
        "function",
    ]
    outer = found["outer"]
    assert (outer.start_line, outer.end_line) == (7, 12)
    assert SOURCE[outer.start_byte : outer.def_byte] == b"@decorated\n"
    assert SOURCE[outer.def_byte :].startswith(b"async def outer")
    assert outer.docstring is not None and SOURCE[slice(*outer.docstring)] == b'"""Doc."""'
    assert SOURCE[found["K.m"].start_byte : found["K.m"].end_byte].endswith(b"return self.n()")
    assert found["K.Deep.n"].name == "n" and found["outer.inner"].docstring is None


def test_functions_leave_classes_out() -> None:
    assert {s.kind for s in syntax.functions(SOURCE)} == {"function", "method"}


@pytest.mark.parametrize(
    ("line", "qualname"),
    [(7, "outer"), (11, "outer.inner"), (12, "outer"), (15, None), (16, "K.m"), (1, None)],
)
def test_function_at_gives_the_innermost(line: int, qualname: str | None) -> None:
    found = syntax.function_at(SOURCE, line)
    assert (found.qualname if found else None) == qualname


def test_imports_say_what_they_bind() -> None:
    assert syntax.imports(SOURCE) == [
        Import("annotations", "__future__", "annotations"),
        Import("b", ".near", "a"),
        Import("c", ".near", "c"),
        Import("x.y", "x.y"),
        Import("p", "os.path"),
    ]
    assert [i.code for i in syntax.imports(SOURCE)[1:]] == [
        "from .near import a as b",
        "from .near import c",
        "import x.y",
        "import os.path as p",
    ]
    assert syntax.imports(b"from m import *\n") == [Import("*", "m", "*")]


def test_calls_are_told_by_their_path() -> None:
    assert [c.path for c in syntax.calls(SOURCE)] == ["?", "?.run", "p.join", "self.n"]


def test_statements_bind_names() -> None:
    kinds = [
        (s.kind, set(s.names))
        for s in syntax.statements(b"import a.b\nX: int = 1\ny, (z) = 2\nif c:\n    d = 1\n")
    ]
    assert kinds == [("import", {"a"}), ("assignment", {"X"}), ("assignment", {"y", "z"}), ("other", {"d"})]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"a == b", ["__eq__"]),
        (b"a != b", ["__ne__", "__eq__"]),
        (b"a not in b", ["__contains__", "__iter__", "__next__", "__getitem__"]),
        (b"a += 1", ["__add__", "__radd__", "__iadd__"]),
        (b"a[0]", ["__getitem__", "__setitem__", "__delitem__", "__missing__"]),
        (b"not len(a)", ["__bool__", "__len__", "__len__"]),
        (b"a.size", ["size"]),
        (b"with a: pass", ["__enter__", "__exit__", "__aenter__", "__aexit__"]),
        (b"f(a)", []),
    ],
)
def test_methods_that_are_called_without_a_call(line: bytes, names: list[str]) -> None:
    assert [call.path for call in syntax.implied(line)] == [f"?.{name}" for name in names]


def test_names_that_are_read_may_hand_over_functions() -> None:
    source = b"def f(p, q=r):\n    return map(g, x.y, key=h)\n"
    assert [c.path for c in syntax.handed(source, 15)] == ["map", "g", "x", "h"]
    assert [c.path for c in syntax.handed(source, 0, 12)] == ["r"]


def test_what_is_cut_by_the_end_of_a_span_is_left_out() -> None:
    assert [c.path for c in syntax.calls(b"f(g(1), 2)", 2, 6)] == ["g"]
    assert syntax.calls(b"f(g(1), 2)", 2, 5) == syntax.calls(b"f(g(1), 2)", 3, 6) == []


def test_two_threads_parse_at_once() -> None:
    sources = [b"def f%d():\n    return [%s]\n" % (n, b"g(1), " * 500) for n in range(60)]
    expected = [syntax.symbols(source) for source in sources]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(syntax.symbols, sources * 4)) == expected * 4


def test_errors_name_the_line_and_none_is_found_in_good_code() -> None:
    assert syntax.errors(SOURCE) == []
    [(line, what)] = syntax.errors(b"x = 1\ndef f(:\n    pass\n")
    assert line == 2 and what
    assert syntax.errors(b"x = '\0'")[0][0] == 1


def test_functions_of_a_broken_file_are_still_found() -> None:
    broken = b"def good():\n    return 1\n\n\ndef bad(x:\n    return\n\n\ndef other():\n    return 2\n"
    assert "good" in {s.qualname for s in syntax.functions(broken)}


@pytest.mark.parametrize(
    "source", [b"# caf\xe9\ndef f():\n    return '\xe9'\n", b"\xef\xbb\xbfdef f():\r\n    return 1\r\n"]
)
def test_offsets_hold_in_other_encodings(source: bytes) -> None:
    [symbol] = syntax.functions(source)
    assert source[symbol.start_byte :].startswith(b"def f")
    assert source[symbol.end_byte :] in (b"\n", b"\r\n")


def test_languages() -> None:
    assert syntax.language_of("a/b.PY") == "python"
    assert syntax.language_of("Makefile") is None
    with pytest.raises(SyntaxProblem, match="no grammar for 'cobol'"):
        syntax.functions(b"", "cobol")


def test_a_very_deep_file_does_not_break_the_walk() -> None:
    source = b"x = " + b"(" * 3000 + b"1" + b")" * 3000 + b"\n"
    assert syntax.symbols(source) == []
    assert syntax.errors(source)
