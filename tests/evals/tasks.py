"""A tiny task with everything in it: a package, tests, a bug, a reference; and patches against it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from evals.types import Files, Instance, Tests
from tools.patch import unified

SOURCE = '''\
"""Prices."""

import time


def total(prices):
    """The sum of all prices."""
    return sum(prices[1:])


def stamp():
    """Seconds since the epoch."""
    return time.time()
'''
TESTS = """\
import unittest

from shop.prices import stamp, total


def test_total():
    assert total([1, 2, 3]) == 6


class TestMore(unittest.TestCase):
    def test_one(self):
        self.assertEqual(total([4]), 4)


def test_empty():
    assert total([]) == 0


def test_stamp():
    assert stamp() > 1_500_000_000
"""
BASE = {
    "shop/__init__.py": "",
    "shop/prices.py": SOURCE,
    "tests/test_prices.py": TESTS.replace("def test_total", "def test_old").replace("6\n", "5 or True\n"),
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n[tool.pytest.ini_options]\naddopts = "-q"\n',
    "README.md": "# Shop\n",
}


def changed(files: Mapping[str, str | None]) -> str:
    """A patch that makes files what is given, by path; None removes one."""
    parts = []
    for path, text in files.items():
        old = BASE.get(path)
        head = f"diff --git a/{path} b/{path}\n"
        diff = unified(old or "", text or "", path)
        if old is None:
            head += "new file mode 100644\n"
            diff = diff.replace(f"--- a/{path}", "--- /dev/null", 1)
        elif text is None:
            head += "deleted file mode 100644\n"
            diff = diff.replace(f"+++ b/{path}", "+++ /dev/null", 1)
        parts.append(head + diff)
    return "".join(parts)


FIXED = SOURCE.replace("prices[1:]", "prices")
REFERENCE = changed({"shop/prices.py": FIXED})
FAIL = ("tests/test_prices.py::test_total", "tests/test_prices.py::TestMore::test_one")
KEEP = ("tests/test_prices.py::test_empty", "tests/test_prices.py::test_stamp")

TASK = Instance(
    id="prices",
    benchmark="folder",
    statement="total() forgets the first price",
    tree=Files({path: text.encode() for path, text in BASE.items()}),
    grading=Tests(
        ("python", "-m", "pytest", "-rA", "tests"),
        fail_to_pass=FAIL,
        pass_to_pass=KEEP,
        test_patch=changed({"tests/test_prices.py": TESTS}),
        files=("tests/test_prices.py",),
    ),
    reference=REFERENCE,
    licence="Apache-2.0",
)


def graded_by(task: Instance, **fields: object) -> Instance:
    """The task with other fields of its grading."""
    assert isinstance(task.grading, Tests)
    return msgspec.structs.replace(task, grading=msgspec.structs.replace(task.grading, **fields))
