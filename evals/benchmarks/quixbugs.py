"""QuixBugs: small programs with a bug on one line each, as its repository is laid out. The tests are hidden.

https://github.com/jkoppel/QuixBugs. `SOURCE` is a folder with `python_programs`, `correct_python_programs`,
`python_testcases` and `json_testcases`; a file beside them called `programs.txt` limits it to the programs it
names, one a line.
"""

from __future__ import annotations

from pathlib import Path

from evals.benchmark import DatasetError
from evals.types import Files, Instance, Tests
from tools.patch import unified

name = "quixbugs"
summary = "QuixBugs' Python programs, one wrong line each"

LIMIT = "programs.txt"
_SUPPORT = ("conftest.py", "python_testcases/load_testdata.py", "python_testcases/node.py")


def recognises(source: Path) -> bool:
    """True for a folder with QuixBugs' Python programs."""
    return (source / "python_programs").is_dir() and (source / "correct_python_programs").is_dir()


def load(source: Path | None) -> list[Instance]:
    """A task for each program that has a test."""
    if source is None or not recognises(source):
        raise DatasetError(f"{source}: not a checkout of QuixBugs, with its folder python_programs")
    names = _names(source)
    return [_instance(source, program) for program in names]


def _names(source: Path) -> list[str]:
    tests = sorted((source / "python_testcases").glob("test_*.py"))
    found = [path.stem.removeprefix("test_") for path in tests]
    limit = source / LIMIT
    if not limit.is_file():
        return found
    wanted = limit.read_text("utf-8").split()
    for number, program in enumerate(wanted, 1):
        if program not in found:
            raise DatasetError(f"{limit}, line {number}: no program is called {program!r}")
        if program in wanted[: number - 1]:
            raise DatasetError(f"{limit}, line {number}: {program!r} is there twice")
    return wanted


def _instance(source: Path, program: str) -> Instance:
    path, test = f"python_programs/{program}.py", f"python_testcases/test_{program}.py"
    buggy, right = _read(source, path), _read(source, f"correct_python_programs/{program}.py")
    contents = {path: buggy}
    if b"Node" in buggy or b"node" in _read(source, test):
        contents["python_programs/node.py"] = _read(source, "python_programs/node.py")
    hidden = {name: _read(source, name) for name in (test, *_SUPPORT) if (source / name).is_file()}
    if (source / f"json_testcases/{program}.json").is_file():
        hidden[f"json_testcases/{program}.json"] = _read(source, f"json_testcases/{program}.json")
    return Instance(
        id=program,
        benchmark=name,
        statement=(
            f"The function in `{path}` has a bug: it does not do what its documentation says. "
            "Find the bug and fix it with the smallest change."
        ),
        tree=Files(contents),
        grading=Tests(("python", "-m", "pytest", "-q", test), fail_to_pass=(), overlay=hidden),
        reference=unified(buggy.decode(), right.decode(), path),
        licence="MIT",
        timeout_s=60.0,
    )


def _read(source: Path, path: str) -> bytes:
    try:
        return (source / path).read_bytes()
    except OSError as error:
        raise DatasetError(f"{source / path}: {error.strerror}") from None
