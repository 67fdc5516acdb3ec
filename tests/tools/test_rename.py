"""Local variables get other names, and the program does the same."""

from __future__ import annotations

import ast
import contextlib
import io
from pathlib import Path

import pytest

from tools.rename import rename_locals

ROOT = Path(__file__).resolve().parents[2]


def renamed(source: str, keep: tuple[str, ...] = ()) -> str:
    return rename_locals(source.encode(), lambda name: f"new_{name}", keep).decode()


def output(source: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "made.py", "exec"), {})  # noqa: S102
    return printed.getvalue()


PROGRAM = '''
count = 100
def helper(x, *, total=1):
    return x + total
def work(items, scale=2):
    """Sum of items."""
    total, (first, *rest) = 0, (1, 2, 3)
    for item in items:
        total += item * scale
    with open("/dev/null") as file, open("/dev/null") as other:
        text = file.read() + other.read()
    try:
        missing = {}["key"]
    except KeyError as error:
        missing = repr(error)
    if (half := total // 2) > 3:
        first = half
    inner = lambda item: item + half
    def nested(value):
        local = value + total
        return local
    squares = [item * item for item in rest]
    names = {item: count for item in squares}
    print(f"{total!r:>{half}} {first}", text, missing)
    print(inner(1), nested(2), helper(3, total=total), names, sorted(squares))
    return total
print(work([1, 2, 3]), work(items=[4], scale=1))
'''


def test_the_program_does_the_same_under_other_names() -> None:
    done = renamed(PROGRAM)
    assert output(done) == output(PROGRAM)
    for name in ("total", "first", "rest", "half", "missing", "squares", "file", "error"):
        assert f"new_{name}" in done
    for kept in ("new_items", "new_scale", "new_count", "new_value", "new_x", "new_work"):
        assert kept not in done


@pytest.mark.parametrize(
    "source",
    [
        "def f(a):\n    a = a + 1\n    return a\n",
        "def f():\n    global state\n    state = 1\n",
        "def f():\n    import os\n    os = os.path\n",
        "def f():\n    x = 1\n    return locals()\n",
        "def f():\n    x = 1\n    return eval('x')\n",
        "def f():\n    x = 1\n    class A:\n        x = 2\n    return A, x\n",
        "def f(v):\n    x = 1\n    match v:\n        case x:\n            return x\n",
        "def f():\n    x = 1\n    return f'{x=}'\n",
        "def f():\n    x = 1\n    return lambda x: x\n",
        "def f(xs):\n    return [id for id in xs], id(xs)\n",
        "def f():\n    def g():\n        helper = 1\n        return helper\n    return helper(g)\n",
        "def f():\n    x = 1\n    return x +\n",
        "def f():\n    x = new_x()\n    return x\n",
        "x = 1\nprint(x)\n",
        "def f(d):\n    d[object] = 1\n    state.size = 2\n    return object, state\n",
        "def f(d):\n    for d[key] in state.items:\n        state.size += 1\n",
    ],
)
def test_where_a_name_may_mean_something_else_it_stays(source: str) -> None:
    assert renamed(source) == source


def test_attributes_and_keywords_are_no_variables() -> None:
    source = "def f(o):\n    size = o.size\n    return o.g(size=size).size\n"
    assert renamed(source) == "def f(o):\n    new_size = o.size\n    return o.g(size=new_size).size\n"


def test_two_names_never_become_one() -> None:
    done = rename_locals(b"def f():\n    x, y = 1, 2\n    return x, y\n", lambda name: "same")
    assert done == b"def f():\n    same, y = 1, 2\n    return same, y\n"


def test_names_can_be_kept() -> None:
    assert renamed("def f():\n    x = 1\n    y = x\n    return y\n", keep=("x",)).count("new_") == 2


def test_bytes_that_are_no_text_stay() -> None:
    source = b"def f():\n    x = '\xff'\n    return x\n"
    assert rename_locals(source, lambda name: f"new_{name}") == source


def test_a_whole_package_keeps_its_shape() -> None:
    """Every file of pawl's own tools: the same tree but for names, and no new name of two meanings."""
    for path in sorted((ROOT / "tools").glob("*.py"))[:25]:
        before = path.read_text()
        after = renamed(before)
        one, two = ast.parse(before), ast.parse(after)
        seen: dict[str, str] = {}
        for first, second in zip(ast.walk(one), ast.walk(two), strict=True):
            assert type(first) is type(second)
            if isinstance(first, ast.Name) and isinstance(second, ast.Name):
                assert second.id in (first.id, f"new_{first.id}")
                seen[second.id] = first.id
        assert compile(two, str(path), "exec")
