"""The examples in the texts of a Python file, run by tools/probes/pawl_examples.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.probe import PROBE_MOUNT_SOURCE

NEXT = 'def f(x):\n    """\n    >>> f(1)\n    2\n    """\n'
RAISED = "Traceback (most recent call last):\nZeroDivisionError: division by zero"


def run(folder: Path, *paths: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pawl_examples", *paths],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": PROBE_MOUNT_SOURCE},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("source", "code", "told"),
    [
        (NEXT + "    return x + 1\n", 0, "0 of 1 examples do not hold"),
        (NEXT + "    return x\n", 1, "m.py:3: f(1)\n    expected 2\n    got 1"),
        # a text that is no docstring, another way to write a value, one example after the other
        ('def f():\n    return [1, 2]\n\n"""\n>>> f()\n[1,2]\n"""\n', 0, "0 of 1"),
        ('"""\n>>> a = 3\n>>> a\n3\n"""\n', 0, "0 of 2"),
        ('"""\n>>> 1 / 0\n1\n"""\n', 1, "got ZeroDivisionError: division by zero"),
        (f'"""\n>>> 1 / 0\n{RAISED}\n"""\n', 0, "0 of 1"),
        ('"""\n>>> print(1)\n"""\n', 1, "expected nothing\n    got 1"),
        # none could be run
        ("x = 1\n", 2, ""),
        ('"""\n>>>no example\n"""\n', 2, ""),
        ('"""\n>>> 1\n1\n"""\nimport no_such_module\n', 2, "m.py: ModuleNotFoundError"),
        ("def f(:\n", 2, "m.py: SyntaxError"),
    ],
)  # fmt: skip
def test_what_is_told(tmp_path: Path, source: str, code: int, told: str) -> None:
    (tmp_path / "m.py").write_text(source)
    assert run(tmp_path, "m.py")[0] == code
    assert told in run(tmp_path, "m.py")[1]


def test_what_does_not_end_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text('def f():\n    while True:\n        pass\n\n"""\n>>> f()\n1\n"""\n')
    code, told = run(tmp_path, "m.py")
    assert (code, "got NeverEnds: not within 5 s" in told) == (1, True)


def test_a_module_of_a_package_is_imported_as_such(tmp_path: Path) -> None:
    package = tmp_path / "src" / "pack"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("ONE = 1\n")
    (package / "two.py").write_text('"""\n>>> ONE\n1\n"""\nfrom .one import ONE\n')
    assert run(tmp_path, "src/pack/two.py")[0] == 0
    assert run(tmp_path, "missing.py")[0] == 2
