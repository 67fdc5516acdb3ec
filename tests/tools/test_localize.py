from __future__ import annotations

import msgspec
import pytest

from tools.localize import Suspect, is_weak, most_telling, suspects
from tools.syntax import Symbol
from tools.testreport import Frame, TestReport, TestResult, make_report

SHOP = b"""\
from .money import rounded
from . import rates as r


class Cart:
    def __init__(self, items):
        self.items = items

    def total(self):
        return rounded(sum(self.items))

    def apply(self, code):
        return self.total() * r.rate(code)


def make(items):
    return Cart(items)


def unrelated():
    return 1
"""
SOURCES = {
    "src/shop/__init__.py": b"from shop.cart import Cart, make\n",
    "src/shop/cart.py": SHOP,
    "src/shop/money.py": b"def rounded(x):\n    return round(x, 1)\n",
    "src/shop/rates.py": b"def rate(code):\n    return 0.5\n",
    "tests/test_shop.py": b"""\
import shop
import shop.cart as c
from shop import Cart
from shop.money import rounded
from tests.helpers import check_total

if flag:
    from other.place import chosen
else:
    from shop.cart import unrelated as chosen


def test_direct():
    assert rounded(1.25) == 1.2


def test_value():
    cart = Cart([1])
    rounded(1)
    result = cart.total()
    assert result == 2


def test_module():
    assert c.make([1]).items == shop.Cart([2]).items


def test_helper():
    check_total(3)


def test_chosen():
    assert chosen() == 2


def test_fixture(cart):
    assert cart


import pytest


@pytest.fixture
def cart():
    return c.make([])
""",
    "tests/helpers.py": b"""\
from shop.cart import make


def check_total(n):
    got = make([n]).total()
    assert got == n + 1
""",
    "README.md": b"def total",
}


def failing(test: str, *frames: tuple[str, int], message: str = "", outcome: str = "failed") -> TestResult:
    path = "tests/test_shop.py"
    return TestResult(
        f"{path}::{test}",
        outcome,  # type: ignore[arg-type]
        "AssertionError",
        message,
        tuple(Frame(p, line, "", in_workspace=True) for p, line in frames),
    )


def report(*tests: TestResult) -> TestReport:
    return make_report(list(tests), 1, "pytest")


def line_of(path: str, text: bytes) -> int:
    return SOURCES[path][: SOURCES[path].index(text)].count(b"\n") + 1


def ranked(*tests: TestResult) -> list[str]:
    return [f"{s.path}:{s.qualname}" for s in suspects(report(*tests), SOURCES)]


def at(text: bytes, path: str = "tests/test_shop.py") -> tuple[str, int]:
    return (path, line_of(path, text))


def test_the_deepest_frame_is_first() -> None:
    found = ranked(
        failing("test_value", at(b"result = cart"), ("src/shop/cart.py", 10), ("src/shop/money.py", 2))
    )
    assert found[:2] == ["src/shop/money.py:rounded", "src/shop/cart.py:Cart.total"]


def test_without_frames_of_its_own_what_the_assertion_calls() -> None:
    found = suspects(report(failing("test_direct", at(b"assert rounded"))), SOURCES)
    assert (found[0].qualname, found[0].reason) == ("rounded", "called where the test fails")
    assert found[0].symbol.start_line == 1 and found[0].path == "src/shop/money.py"


def test_what_made_the_compared_value_comes_before_other_calls() -> None:
    found = ranked(failing("test_value", at(b"assert result")))
    assert found[0] == "src/shop/cart.py:Cart.total"
    # the class is called for a value that the assertion does not compare; total calls rounded
    assert set(found[1:]) >= {"src/shop/money.py:rounded", "src/shop/cart.py:Cart.__init__"}


def test_calls_through_modules_and_re_exports_are_resolved() -> None:
    found = ranked(failing("test_module", at(b"assert c.make")))
    assert found == ["src/shop/cart.py:make", "src/shop/cart.py:Cart.__init__"]


def test_helpers_of_the_tests_are_looked_through_and_never_suspects() -> None:
    found = ranked(failing("test_helper", at(b"check_total(3)"), at(b"assert got", "tests/helpers.py")))
    assert "src/shop/cart.py:Cart.total" in found[:2] and "src/shop/cart.py:make" in found[:2]
    assert not any("tests/" in name for name in found)
    assert ranked(failing("test_helper", at(b"check_total(3)")))[0].startswith("src/shop/cart.py")


def test_a_name_that_is_imported_in_two_ways_is_resolved_where_it_exists() -> None:
    assert ranked(failing("test_chosen", at(b"assert chosen")))[0] == "src/shop/cart.py:unrelated"


def test_a_failing_fixture_points_at_what_it_calls() -> None:
    assert ranked(failing("test_fixture", outcome="error"))[0] == "src/shop/cart.py:make"


def test_names_in_the_message_count_a_little() -> None:
    found = suspects(report(failing("test_nowhere", message="unrelated() returned None")), SOURCES)
    assert [(s.qualname, s.reason) for s in found] == [("unrelated", "named by the failure")]


def test_evidence_of_several_failures_adds_up() -> None:
    found = ranked(
        failing("test_direct", at(b"assert rounded")),
        failing("test_value", at(b"assert result")),
        failing("test_chosen", at(b"assert chosen")),
    )
    assert found[0] == "src/shop/money.py:rounded"


def test_recursion_and_unknown_files_do_no_harm() -> None:
    sources = {"m.py": b"def f(n):\n    return f(n + 1)\n"}
    frames = tuple(Frame("m.py", 2, "f", in_workspace=True) for _ in range(20))
    found = suspects(report(TestResult("t", "failed", frames=frames)), sources)
    assert [(s.qualname, s.score) for s in found] == [("f", 1.0)]
    gone = (Frame("gone.py", 2, "f", in_workspace=True), Frame("/usr/lib/x.py", 1, "g"))
    assert suspects(report(TestResult("gone.py::t", "failed", frames=gone)), sources) == []
    assert suspects(report(), sources) == []


def test_broken_and_cyclic_sources_do_no_harm() -> None:
    sources = {
        "a.py": b"from b import f\ndef broken(:\n",
        "b.py": b"from a import f\nfrom b import *\n",
        "test_a.py": b"from a import f\ndef test_f():\n    assert f()\n",
    }
    test = TestResult(
        "test_a.py::test_f", "failed", frames=(Frame("test_a.py", 3, "test_f", in_workspace=True),)
    )
    assert suspects(report(test), sources) == []


BOX = b"""\
class Box:
    def __init__(self, size):
        self.limit = size

    def __eq__(self, other):
        return self.limit > other.limit

    def __contains__(self, thing):
        return True

    @property
    def half(self):
        return self.limit / 3

    def fill(self, things):
        return things[self.limit]


class Other:
    def __eq__(self, other):
        return True


def square(n):
    return n + n


def square_root(n):
    return n * n * n * n
"""
BOX_TESTS = b"""\
from box import Box, square, square_root


def test_operators():
    box = Box(2)
    assert box == Box(2)


def test_property():
    assert Box(2).half == 1


def test_square():
    assert square(square_root(9)) == 9


def test_given(box):
    box.fill([1])


def test_handed_over():
    assert list(map(square, [3])) == [9]
"""


def in_box(name: str, *frames: tuple[str, int], lines: dict[int, tuple[int, int]] | None = None) -> list[str]:
    sources = {"box.py": BOX, "test_box.py": BOX_TESTS}
    found = suspects(box_report(name, *frames, lines=lines), sources)
    assert all(0 <= suspect.score <= 1 for suspect in found)
    return [suspect.qualname for suspect in found]


def box_report(
    name: str, *frames: tuple[str, int], lines: dict[int, tuple[int, int]] | None = None
) -> TestReport:
    where = tuple(Frame(path, line, "", in_workspace=True) for path, line in frames)
    made = make_report([TestResult(f"test_box.py::{name}", "failed", frames=where)], 1, "pytest")
    return msgspec.structs.replace(made, lines={"box.py": lines} if lines else {})


def test_operators_and_properties_are_calls_of_the_classes_that_the_test_can_reach() -> None:
    found = in_box("test_operators", ("test_box.py", 6))
    assert found[0] == "Box.__eq__" and "Other.__eq__" not in found and "Box.__contains__" not in found
    assert "Box.half" in in_box("test_property", ("test_box.py", 10))[:2]


def test_the_constructor_made_what_a_method_fails_on() -> None:
    assert in_box("test_given", ("test_box.py", 18), ("box.py", 16))[:2] == ["Box.fill", "Box.__init__"]


def test_functions_that_are_handed_over_are_called() -> None:
    assert in_box("test_handed_over", ("test_box.py", 22))[0] == "square"


def test_the_name_of_the_test_decides_between_equals() -> None:
    assert in_box("test_square", ("test_box.py", 14))[:2] == ["square", "square_root"]


def test_what_was_measured_leads_and_the_longer_function_is_first_of_equals() -> None:
    lines = {3: (1, 0), 6: (1, 0), 9: (1, 0), 13: (1, 3)}
    assert in_box("test_gone", lines=lines) == ["Box.__eq__", "Box.__init__", "Box.__contains__", "Box.half"]
    assert in_box("test_operators", ("test_box.py", 6), lines={3: (1, 9), 9: (1, 0)})[0] == "Box.__contains__"


SYMBOL = Symbol("f", "function", 1, 2, 0, 9, 0, 5)


@pytest.mark.parametrize(
    ("scores", "weak"),
    [([], True), ([1.0], False), ([1.0, 0.8], False), ([1.0, 0.9], True), ([0.5, 0.1], True)],
)
def test_a_ranking_is_weak_without_a_clear_first(scores: list[float], weak: bool) -> None:
    found = [Suspect("a.py", "f", SYMBOL, score, "") for score in scores]
    assert is_weak(report(failing("test_value")), found) is weak
    assert not is_weak(report(), found)


def test_the_test_that_reaches_the_least_tells_most() -> None:
    wide, narrow = failing("test_value", at(b"assert result")), failing("test_direct", at(b"assert rounded"))
    assert most_telling(report(wide, narrow), SOURCES) == (narrow, wide)
