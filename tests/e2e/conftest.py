"""A small repository with a bug, and the reply that mends it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

MODULE = """\
def total(items):
    result = 1
    for item in items:
        result += item
    return result
"""
TESTS = """\
from sums import total


def test_total():
    assert total([1, 2]) == 3


def test_type():
    assert isinstance(total([]), int)
"""
FIXED = "```python\n" + MODULE.replace("result = 1", "result = 0") + "```"
WRONG = "```python\n" + MODULE.replace("result = 1", "result = 2") + "```"
CHECK = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    folder = tmp_path / "project"
    (folder / "tests").mkdir(parents=True)
    (folder / "sums.py").write_text(MODULE)
    (folder / "tests" / "test_sums.py").write_text(TESTS)
    (folder / "conftest.py").write_text("")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    author = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    for words in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "base")):
        subprocess.run(
            ["git", *words], cwd=folder, check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
        )
