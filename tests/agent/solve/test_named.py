"""Which functions a request names."""

from __future__ import annotations

import pytest

from agent.solve.named import MOST, MOST_BYTES, named

CART = b'''"""Carts."""


class Cart:
    def __init__(self, items=[]):
        self.items = items

    def add(self, item):
        self.items.append(item)


def total_price(cart):
    return sum(cart.items)
'''
SOURCES = {
    "shop/cart.py": CART,
    "shop/other.py": b"def add(a, b):\n    return a - b\n",
    "tests/test_cart.py": b"def test_total_price():\n    pass\n",
    "web/app.js": b"function total_price() {}\n",
}


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ("total_price in shop/cart.py is wrong", ["total_price"]),
        ("mend cart.py", ["Cart.__init__", "Cart.add", "total_price"]),
        ("total_price forgets the tax", ["total_price"]),
        ("the result of `Cart` is shared", ["Cart.__init__", "Cart.add"]),
        ("after `a = Cart()` the list is shared", ["Cart.__init__", "Cart.add"]),
        ("add() is wrong", ["Cart.add", "add"]),
        ("the function add in shop/other.py subtracts", ["add"]),
        # nothing is named: plain words, a question, tests, another language, what is not there
        ("the cart should add things up", []),
        ("What does total_price do?", []),
        ("mend tests/test_cart.py", []),
        ("mend web/app.js", []),
        ("mend `nothing_like_it`", []),
        ("", []),
    ],
)
def test_what_a_request_names(request_: str, found: list[str]) -> None:
    assert [s.qualname for s in named(request_, SOURCES)] == found


def test_too_much_is_as_good_as_nothing() -> None:
    many = b"".join(b"def f%d():\n    pass\n\n\n" % n for n in range(MOST + 1))
    assert named("mend many.py", {"many.py": many}) == ()
    assert len(named("mend f1 in many.py", {"many.py": many})) == 1
    long = b"def long():\n" + b"    x = 1\n" * (MOST_BYTES // 10 + 1)
    assert named("mend long()", {"long.py": long}) == ()
