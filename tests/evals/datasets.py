"""A tiny dataset of each kind, written to disk as its makers would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from evals import cli_twins
from evals.gitrun import git
from tests.evals.tasks import BASE, FAIL, KEEP, REFERENCE, TESTS, changed
from tools.patch import unified

STUB = "def shout(text):\n    pass\n"
SOLVED = "def shout(text):\n    return text.upper()\n"
SHOUT_TEST = "from shout import shout\n\n\ndef test_shout():\n    assert shout('a') == 'A'\n"
FAST = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest -rA"


def write(folder: Path, files: dict[str, str]) -> Path:
    """Files below a folder."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def repository(folder: Path) -> str:
    """A repository with the base and, after it, the fix; gives the base's commit."""
    write(folder, BASE)
    git("init", "--quiet", "--initial-branch=main", str(folder))
    git("add", "--all", at=folder)
    git("commit", "--quiet", "-m", "first", at=folder)
    base = git("rev-parse", "HEAD", at=folder).decode().strip()
    git("apply", "-", at=folder, stdin=REFERENCE.encode())
    git("commit", "--quiet", "--all", "-m", "the fix", at=folder)
    return base


def row(repo: Path, commit: str, **fields: object) -> dict[str, object]:
    """A row of SWE-bench for `repository`."""
    return {
        "repo": str(repo),
        "instance_id": "shop__prices-1",
        "base_commit": commit,
        "patch": REFERENCE,
        "test_patch": changed({"tests/test_prices.py": TESTS}),
        "problem_statement": "total() forgets the first price",
        "hints_text": "",
        "created_at": "2024-01-23 04:10:47",
        "version": "1.0",
        "FAIL_TO_PASS": json.dumps(FAIL),
        "PASS_TO_PASS": list(KEEP),
        "extra": {"test_cmd": f"{FAST} tests", "license": "MIT"},
        **fields,
    }


def swebench(folder: Path) -> Path:
    commit = repository(folder / "repo")
    (folder / "rows.jsonl").write_text(json.dumps(row(folder / "repo", commit)) + "\n")
    return folder / "rows.jsonl"


def harbor(folder: Path) -> Path:
    test = '[ "$(cat answer.txt)" = 42 ] && n=1 || n=0\necho $n > /logs/verifier/reward.txt\n'
    return write(
        folder / "answer",
        {
            "task.toml": 'schema_version = "1.4"\n[task]\nname = "tiny/answer"\n',
            "instruction.md": "Write the answer into answer.txt.",
            "environment/question.txt": "What do you get if you multiply six by seven?\n",
            "tests/test.sh": test,
            "solution/solve.sh": "echo 42 > answer.txt\n",
        },
    )


def _exercise(folder: Path) -> None:
    names = {"solution": ["shout.py"], "test": ["shout_test.py"], "example": [".meta/example.py"]}
    files = {
        ".meta/config.json": json.dumps({"files": names}),
        ".meta/example.py": SOLVED,
        ".docs/instructions.md": "# Instructions\n\nMake it loud.\n",
        "shout.py": STUB,
        "shout_test.py": SHOUT_TEST,
    }
    write(folder / "exercises" / "practice" / "shout", files)


def exercism(folder: Path) -> Path:
    _exercise(folder)
    return folder


def polyglot(folder: Path) -> Path:
    _exercise(folder / "python")
    return folder


def quixbugs(folder: Path) -> Path:
    test = "from python_programs.shout import shout\n\n\ndef test_shout():\n    assert shout('a') == 'A'\n"
    files = {
        "python_programs/shout.py": SOLVED.replace("upper", "lower"),
        "correct_python_programs/shout.py": SOLVED,
        "python_testcases/test_shout.py": test,
        "json_testcases/other.json": "[]\n",
        "conftest.py": "",
    }
    return write(folder, files)


def folder(folder: Path) -> Path:
    task = f"""
statement = "Make it loud."
reference = "shout.patch"
tree = "shout"
licence = "MIT"
[tests]
command = ["sh", "-c", "{FAST} test_shout.py"]
hidden = "shout.tests"
"""
    patch = unified(STUB, SOLVED, "shout.py")
    files = {"shout.toml": task, "shout.patch": patch, "shout/shout.py": STUB}
    return write(folder, {**files, "shout.tests/test_shout.py": SHOUT_TEST})


def smoke(folder: Path) -> None:
    """It ships."""


def twins(place: Path) -> Path:
    """As the command makes it of a task that ships."""
    cli_twins.twins("smoke", place / "twins", ["running-mean"])
    return place / "twins"


MAKERS: dict[str, Callable[[Path], Path | None]] = {
    "exercism": exercism,
    "folder": folder,
    "harbor": harbor,
    "polyglot": polyglot,
    "quixbugs": quixbugs,
    "smoke": smoke,
    "swebench": swebench,
    "twins": twins,
}
