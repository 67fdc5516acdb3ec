"""The hint that a failure which looks like missing packages gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.setup import setup_hint
from tests.support.trees import make

HINTS: list[tuple[str, dict[str, str], str]] = [
    (
        "ModuleNotFoundError: No module named 'numpy'",
        {"requirements.txt": ""},
        "numpy is not installed; `--setup",
    ),
    ("/usr/bin/python3: No module named pytest", {"requirements.txt": ""}, "pytest is not installed"),
    ("Error: Cannot find module 'left-pad'", {"package.json": "{}"}, "`--setup 'npm install'`"),
    ("No module named 'numpy.linalg'", {"requirements.txt": "", "numpy.py": ""}, ""),
    ("No module named 'mine'", {"requirements.txt": "", "src/mine/a.py": ""}, ""),
    ("No module named 'numpy'", {"requirements.txt": "", ".venv/x": ""}, ""),
    ("No module named 'numpy'", {"a.py": ""}, ""),
    ("AssertionError", {"requirements.txt": ""}, ""),
]


@pytest.mark.parametrize(("output", "files", "hint"), HINTS)
def test_a_missing_module_is_worth_a_hint(
    tmp_path: Path, output: str, files: dict[str, str | bytes | tuple[int, bytes]], hint: str
) -> None:
    found = setup_hint(f"...\n{output}\n...", make(tmp_path / "p", files))
    assert (hint in found) if hint else not found
