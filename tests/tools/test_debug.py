"""The tool `debug` on real programs: values over time, post-mortems, hangs, and what it refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.base import ExecResult
from tests.tools.test_builtin import call, refused
from tools.base import Effect, ToolContext
from tools.debugging import Breakpoint, parse_breakpoint, read_records
from tools.debugview import describe
from tools.testreport import CheckResult
from tools.toolset import DEFAULT, load

pytestmark = pytest.mark.anyio


SHOP = '''\
import json


class Item:
    def __init__(self, name, price):
        self.name, self.price = name, price


def total(items, discount=0):
    """Sum."""
    result = 0
    for item in items:
        result += item.price

    return result - discount


def never():
    return 1


def parse(text):
    try:
        return json.loads(text)
    except ValueError as error:
        raise RuntimeError("bad text") from error


def swallow(text):
    try:
        return int(text)
    except ValueError:
        return 0
'''
TESTS = """\
from shop import Item, parse, swallow, total


def test_total():
    items = [Item("a", 2), Item("b", 5)]
    assert total(items) == 11


def test_parse():
    parse("{")


def test_swallow():
    assert swallow("x1") == 0
"""
PROGRAM = """\
import asyncio
import sys
import threading
import time


class Hostile:
    def __init__(self, kind):
        self.kind = kind

    def __repr__(self):
        if self.kind == "exits":
            print("said by a repr")
            sys.exit(7)
        while self.kind == "hangs":
            pass
        return "huge" * 1_000_000


def hold(n):
    hangs, exits, huge, bits = Hostile("hangs"), Hostile("exits"), Hostile(""), 1 << 1_000_000
    return n  # held


def fact(n):
    if n == 0:
        return 1
    return n * fact(n - 1)


def count(n):
    for i in range(n):
        yield i


async def step(n):
    await asyncio.sleep(0.02 * n)
    return n + 0


async def wait(lock):
    name = "inner"
    await lock.wait()


async def steps():
    return await asyncio.gather(*(asyncio.create_task(step(n), name=f"step{n}") for n in range(2)))


async def stuck():
    threading.Thread(target=sleep, args=("soon",), name="second", daemon=True).start()
    await asyncio.create_task(wait(asyncio.Event()), name="waiter")


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args, name="second")
    thread.start()
    thread.join()


def fails(x):
    return 1 / x


def group():
    raise ExceptionGroup("many", [ValueError("one")])


def sleep(deadline):
    while True:
        time.sleep(0.01)


if __name__ == "__main__":
    sys.excepthook = lambda *_: print("handled")
    eval(sys.argv[1])
"""


FOUND = [shutil.which(f"python3.{minor}") for minor in range(8, 20) if minor != sys.version_info.minor]
PYTHONS = [
    path
    for path in (sys.executable, *filter(None, FOUND))
    if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
]
"""The interpreters that are installed here, from 3.8 on."""
LINES = (
    b'{"type": "start", "pid": 1, "python": "3.11.2"}',
    b'{"type": "hit", "pid": 1, "point": 0, "hit": 1, "values": {"x": "1"}, "changed": [], "where": ""}',
    b'{"type": "hit", "pid": 1, "point": 7, "hit": 1, "values": {"x": "1"}, "changed": [], "where": ""}',
    b'{"type": "stack", "pid": 1, "stacks": [{"name": "t", "frames": [{"path": "/ws/a.py", "line": 0}]}]}',
    b'{"type": "failure", "pid": 1, "frames": [{"path": "", "line": -1}]}',
    b'{"type": "caught", "pid": 1}', b'{"type": "new", "pid": 1}', b"{", b"Current thread 0x1",
    b'  File "/ws/a.py", line 3 in f',
)  # fmt: skip
NESTED = """\
def squares(x):
    found = list(
        # each of them
        y * x
        for y in range(3))
    found.append(x)
    more = sum(y for y in found)
    return (lambda z: z + more)(x)

class Lazy:
    @property
    def value(self):
        return 1

squares(0), squares(1), Lazy().value
"""


@pytest.fixture
def tree(tree: Path) -> Path:
    (tree / "shop.py").write_text(SHOP)
    (tree / "test_shop.py").write_text(TESTS)
    (tree / "program.py").write_text(PROGRAM)
    return tree


def line(text: str, source: str = PROGRAM) -> int:
    return next(n for n, row in enumerate(source.splitlines(), 1) if text in row)


async def run(ctx: ToolContext, expression: str, at: str = "", *shown: str, **more: object) -> str:
    """Debug `program.py` with an expression for it to evaluate, and a breakpoint at the line of that text."""
    points = [f"program.py:{line(at)}"] if at else []
    target = f'{sys.executable} program.py "{expression}"'
    return await call(ctx, "debug", target=target, breakpoints=points, expressions=list(shown), **more)


async def test_failing_tests_are_shown_with_the_values_of_each_frame(ctx: ToolContext) -> None:
    text = await call(ctx, "debug", target="test_shop.py", breakpoints=["shop.py:13"], expressions=["result"])
    assert text.startswith(
        "2 failed, 1 passed\n\nFAILED test_shop.py::test_total\nAssertionError: assert 7 == 11"
    )
    assert "  test_shop.py:6 in test_total: assert total(items) == 11\n" in text
    assert "    items = [Item(name='a', price=2), Item(name='b', price=5)]\n" in text
    assert "RuntimeError: bad text\n  test_shop.py:10 in test_parse" in text
    outer, _, cause = text.partition("caused by JSONDecodeError: ")
    assert "shop.py:26 in parse: raise RuntimeError" in outer and "    text = '{'\n" in outer
    assert "shop.py:24 in parse: return json.loads(text)\n" in cause
    assert (
        "Breakpoint shop.py:13: result += item.price\n"
        "2 hits; values before the line runs, * where they changed:\n  hit | result\n  1 | 0\n  2 | 2*\n"
    ) in cause
    assert "invalid literal" not in text, "what was caught is not shown unless asked for"
    assert re.search(r"\[exit code 1, [\d.]+ s, \d+ bytes\]$", text)


async def test_caught_exceptions_are_shown_when_asked_for(ctx: ToolContext) -> None:
    text = await run(ctx, "__import__('shop').swallow('x1')", caught=True)
    assert "came into the workspace's code, caught ones included:\nValueError: invalid literal" in text
    assert "  shop.py:31 in swallow: return int(text)\n    text = 'x1'" in text


async def test_unittest(ctx: ToolContext, tree: Path) -> None:
    (tree / "cases.py").write_text(
        "import unittest\nclass A(unittest.TestCase):\n    def test_a(self):\n        for i in range(3):\n"
        "            with self.subTest(i=i):\n                self.assertEqual(i % 2, 0)\n"
        "    def test_b(self):\n        got = {}\n        got['b']\n"
    )
    text = await call(ctx, "debug", target=f"{sys.executable} -m unittest cases")
    assert "FAILED cases.A.test_a (i=1)\nAssertionError: 1 != 0\n  cases.py:6 in A.test_a" in text
    assert "    i = 1\n" in text
    assert "FAILED cases.A.test_b\nKeyError: 'b'\n  cases.py:9 in A.test_b: got['b']\n" in text


async def test_without_a_target_it_runs_what_run_tests_runs(ctx: ToolContext, tree: Path) -> None:
    (tree / "test_shop.py").unlink()
    assert "No way to run tests is found here" in await refused(ctx, "debug")
    (tree / "package.json").write_text('{"scripts": {"test": "node --test"}}')
    (tree / "a.test.js").write_text("")
    assert "run by npm test: debug knows only Python" in await refused(ctx, "debug")
    (tree / "package.json").unlink()
    (tree / "Makefile").write_text("test:\n\tpython3 -c 'import shop; shop.parse(\"{\")'\n")
    (tree / "a.test.js").unlink()
    text = await call(ctx, "debug")
    assert "RuntimeError: bad text" in text and "exit code 2" in text


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("fails(0)", "ZeroDivisionError: division by zero\n  program.py:"),
        ("in_thread(fails, 0)", "FAILED thread second\nZeroDivisionError: division by zero\n  program.py:"),
        ("group()", "ExceptionGroup: many (1 sub-exception)\n"),
    ],
)
async def test_programs_and_threads_that_fail(ctx: ToolContext, expression: str, shown: str) -> None:
    text = await run(ctx, expression)
    assert shown in text
    if "fails" in expression:
        assert f"program.py:{line('1 / x')} in fails: return 1 / x\n    x = 0\n" in text
    assert ("handled" in text) is not ("thread" in expression), "the program's own hook was called too"


async def test_many_hits_are_shown_from_both_ends(ctx: ToolContext) -> None:
    text = await run(ctx, "list(count(400))", "yield i", "i", "i // 100", "nope")
    rows = [row.strip() for row in text.splitlines() if re.match(r"  (\d+|hit|\.\.\.) ", row)]
    missing = "<NameError: name 'nope' is not defined>"
    assert "400 hits" in text and rows[0] == "hit | i | i // 100 | nope"
    assert rows[1:3] == [f"1 | 0 | 0 | {missing}", f"2 | 1* | 0 | {missing}"]
    assert rows[6] == "... 390 hits left out ..." and rows[-1] == f"400 | 399* | 3 | {missing}"
    assert len(rows) == 12


async def test_a_breakpoint_ends_after_its_last_hit(ctx: ToolContext) -> None:
    text = await run(ctx, "sum(1 for _ in count(20_000))", "yield i", "i")
    assert "10000 hits, the most that are watched: use a condition" in text
    assert "  10000 | 9999*" in text


async def test_recursion_tasks_and_threads_are_told_apart(ctx: ToolContext) -> None:
    assert "  1 | 0  (depth 5)\n" in await run(ctx, "fact(4)", "return 1", "n")
    assert "  1 | 0  (thread second, depth 7)\n" in await run(ctx, "in_thread(fact, 6)", "return 1", "n")
    text = await run(ctx, "asyncio.run(steps())", "return n + 0", "n")
    assert "  1 | 0  (task step0)\n  2 | 1*  (task step1)\n" in text


@pytest.mark.parametrize("place", ["hold(1)", "in_thread(hold, 1)"])
async def test_hostile_reprs_are_survived(ctx: ToolContext, place: str) -> None:
    text = await run(ctx, place, "return n  # held")
    assert "| <took too long> | <repr failed: SystemExit> | huge" in text
    assert "| <an int of 1000001 bits>" in text
    assert "[exit code 0" in text and len(text) < 1000


async def test_a_condition_chooses_hits(ctx: ToolContext) -> None:
    target = f'{sys.executable} program.py "list(count(9))"'
    at = f"program.py:{line('yield i')}"
    wanted = [f"{at} if i == 7", f"{at}, i > 100", f"{at} if nope"]
    text = await call(ctx, "debug", target=target, breakpoints=wanted, expressions=["i"])
    assert f"{at} if i == 7: yield i\n1 hit; " in text and "  1 | 7\n" in text
    assert "0 hits: the line was reached 9 times, and the condition was never true." in text
    assert "The condition failed: NameError: name 'nope' is not defined.\n" in text


async def test_breakpoints_that_nothing_came_to_say_why(ctx: ToolContext, tree: Path) -> None:
    (tree / "broken.py").write_text("x = (\n")
    at = ["shop.py:14", "shop.py:19", "shop.py:13", "test_shop.py:6", "shop.py:9", "broken.py:1"]
    target = f"{sys.executable} program.py \"__import__('shop').total([])\""
    text = await call(ctx, "debug", target=target, breakpoints=at, expressions=["discount"])
    parts = text.split("Breakpoint ")[1:]
    assert "no code in this line. The nearest lines with code:\n12: for item in items:\n13: " in parts[0]
    assert "\n15: return result - discount\n" in parts[0]
    assert "0 hits: the file was run, but `never` was never called." in parts[1]
    assert "0 hits: `total` ran, but never came to this line." in parts[2]
    assert "0 hits: nothing in this file was run." in parts[3]
    moved = "shop.py:11 (line 9 is the head of a function; this is its first): result = 0\n1 hit; "
    assert parts[4].startswith(moved) and "\n  1 | 0\n" in parts[4]
    assert "The file cannot be compiled: SyntaxError" in parts[5]


async def test_what_hangs_is_shown_as_it_stands(ctx: ToolContext) -> None:
    text = await run(ctx, "asyncio.run(stuck())", "time.sleep", "deadline", timeout=2)
    assert "When the time was over, the main thread stood at:\n  program.py:" in text
    assert "When the time was over, thread second stood at:\n  program.py:" in text
    assert f"  program.py:{line('time.sleep')} in sleep: time.sleep(0.01)\n    deadline = 'soon'\n" in text
    assert "When the time was over, task waiter stood at:\n  program.py:" in text
    assert "in wait: await lock.wait()\n" in text and "    name = 'inner'\n" in text
    assert re.search(r"\n[1-9]\d+ hits; .*\n  hit \| deadline\n  1 \| 'soon'", text)
    assert text.count("[killed after 2 s, the timeout") == 1


async def test_a_hang_outside_of_python_is_told_by_the_interpreter(ctx: ToolContext) -> None:
    text = await run(ctx, "fails(sum(range(10**12)))", timeout=2)
    assert re.search(r"When the time was over \(innermost last\):\n(.*\n)*.*program.py:\d+ in <module>", text)


async def test_forked_processes_are_watched(ctx: ToolContext, tree: Path) -> None:
    (tree / "pool.py").write_text(
        "import multiprocessing\nfrom program import fact\nif __name__ == '__main__':\n"
        "    with multiprocessing.get_context('fork').Pool(1) as pool:\n        print(pool.map(fact, [3]))\n"
    )
    at = [f"program.py:{line('return 1')}"]
    text = await call(ctx, "debug", target=f"{sys.executable} pool.py", breakpoints=at, expressions=["n"])
    assert "1 hit; " in text and "[6]" in text


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"target": "node a.js"}, "node runs no Python: debug knows only Python; use run_tests or bash"),
    ({"target": "shop.js"}, "shop.js is no Python file: debug knows only Python"),
    ({"target": "a.test.js::b"}, "is no Python test: debug knows only Python"),
    ({"target": "true"}, "No Python was traced: debug knows only Python"),
    ({"target": f"{sys.executable} -I -c 1"}, "hides the tracer"),
    ({"target": "'"}, "Not a command: No closing quotation."),
    ({"target": f"{sys.executable} no.py"}, "It could not be run: "),
    ({"breakpoints": ["a.js:1"]}, "a.js is no Python file: debug knows only Python"),
    ({"breakpoints": ["sho.py:1"]}, "There is no file sho.py. Did you mean shop.py"),
    ({"breakpoints": ["shop.py"]}, "Not a breakpoint: 'shop.py'. Write path:line"),
    ({"breakpoints": ["shop.py:99"]}, "there is no line 99"),
    ({"breakpoints": ["../x.py:1"]}, "outside of the workspace"),
    ({"breakpoints": ["shop.py:1 if ="]}, "Not a Python expression: '='"),
    ({"breakpoints": ["shop.py:1"] * 9}, "At most 8 breakpoints"),
    ({"expressions": ["a = 1"]}, "Not a Python expression: 'a = 1'"),
    ({"expressions": ["x" * 501]}, "at most 500 characters"),
]


async def test_what_cannot_be_debugged_is_refused(ctx: ToolContext) -> None:
    for arguments, said in REFUSED:
        assert said in await refused(ctx, "debug", **arguments), arguments


@given(st.lists(st.binary(max_size=60) | st.sampled_from(LINES)))
def test_no_record_breaks_the_reading(lines: list[bytes]) -> None:
    ended = ExecResult(1, None, False, False, False, b"", b"", 0, 0.1)
    found = read_records(b"\n".join(lines), CheckResult(ended, None, ""), 1, "/ws")
    assert "0 hits: nothing in this file was run." in describe(found, [Breakpoint("a.py", 1)], {})
    assert bool(found.pythons) is (LINES[0] in lines)
    assert len(found.watched[0].first) == lines.count(LINES[1])


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("a/b.py:12", Breakpoint("a/b.py", 12)),
        (" a.py:1 if x == ':2' ", Breakpoint("a.py", 1, "x == ':2'")),
        ("a.py:1, x > 1", Breakpoint("a.py", 1, "x > 1")),
        ("a.py:f", None), ("a.py:", None), (":3", None), ("a.py:3 x", None), ("a.py:-3", None),
    ],
)  # fmt: skip
def test_breakpoints_as_models_write_them(text: str, point: Breakpoint | None) -> None:
    assert parse_breakpoint(text) == point


async def test_nothing_is_left_behind_and_the_person_sees_the_output(ctx: ToolContext) -> None:
    output = await load("debug").run(ctx, target=f'{sys.executable} program.py "print(5 * 5)"')
    assert "Nothing failed. Set breakpoints" in output.text and "Output:\n25\n" in output.view
    assert Path(output.artifact).read_text() == "25\n"
    left = await ctx.sandbox.run("ls /tmp/pawl-debug-* 2>/dev/null")
    assert left.output == b""


async def test_a_program_with_a_tracer_of_its_own_is_told(ctx: ToolContext) -> None:
    text = await run(ctx, "sys.settrace(None) or fact(1)", "return 1", "n")
    assert ("The tracer was lost, " in text) is (sys.version_info < (3, 12)) is ("1 hit; " not in text)


async def test_of_a_deep_recursion_both_ends_are_shown(ctx: ToolContext) -> None:
    text = await run(ctx, "fact(-1)")
    assert "RecursionError: maximum recursion depth exceeded" in text and "    n = -1\n" in text
    assert "  ... frames left out ...\n" in text and text.count("in fact: ") == 7


async def test_another_sitecustomize_is_run_as_well(ctx: ToolContext, tree: Path) -> None:
    (tree / "sitecustomize.py").write_text("print('mine')\n")
    ctx.check_env = {"PYTHONPATH": str(tree)}
    text = await run(ctx, "fact(1)", "return 1", "n")
    assert "Output:\nmine\n" in text and "1 hit; " in text


@pytest.mark.parametrize("python", PYTHONS)
async def test_every_python_sees_the_same(ctx: ToolContext, tree: Path, python: str) -> None:
    (tree / "nested.py").write_text(NESTED)
    at = [f"nested.py:{number}" for number in (4, 5, 7, 8, 13)]
    text = await call(
        ctx, "debug", target=f"{python} nested.py", breakpoints=at, expressions=["x", "squares(x)"]
    )
    parts = [part.split("\n") for part in text.split("Breakpoint ")[1:]]
    assert [part[1].split(";")[0] for part in parts] == ["6 hits", "2 hits", "2 hits", "2 hits", "1 hit"]
    assert parts[2][3:5] == ["  1 | 0 | 0", "  2 | 1* | 5*"]
    assert "NameError: name 'x' is not defined" in parts[4][3]


def test_it_is_not_in_the_default_set() -> None:
    assert "debug" not in DEFAULT and load("debug").effect is Effect.EXECUTE
