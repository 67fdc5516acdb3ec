"""Runs the examples (`>>> ...`) in the texts of Python files, docstrings or not, and tells which do not hold.

    python -m pawl_examples FILE...

Python >= 3.8, the standard library alone. Exit code 0: all hold; 1: some do not; 2: none could be run.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

SHOWN = 200
"""Characters of a value."""
LIMIT_S = 5
"""Of the examples of one text together."""
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class _Checker(doctest.OutputChecker):
    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """Also right is another way to write the same value, `[1,2]` for `[1, 2]`."""
        return super().check_output(want, got, optionflags) or _value(want) == _value(got) != (None,)


def _value(text: str) -> tuple[Any, ...]:
    try:
        return (ast.literal_eval(text.strip()), "")
    except Exception:
        return (None,)


class _Runner(doctest.DocTestRunner):
    def report_failure(self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str) -> None:
        out(_told(test, example, got.strip() or "nothing"))

    def report_unexpected_exception(
        self, out: Any, test: doctest.DocTest, example: doctest.Example, exc_info: Any
    ) -> None:
        out(_told(test, example, f"{exc_info[0].__name__}: {exc_info[1]}"))


def _told(test: doctest.DocTest, example: doctest.Example, got: str) -> str:
    line = (test.lineno or 0) + example.lineno + 1
    want = example.want.strip() or "nothing"
    return f"{test.filename}:{line}: {example.source.strip()}\n    expected {want}\n    got {got[:SHOWN]}\n"


class NeverEnds(BaseException):
    """Raised in what is too slow; no Exception, so that `except Exception` does not keep it."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise NeverEnds(f"not within {LIMIT_S} s")


def texts(source: str) -> Iterator[tuple[int, list[doctest.Example]]]:
    """Line (from 0) and examples of each string that has some."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ">>>" in node.value:
            try:
                found = doctest.DocTestParser().get_examples(node.value)
            except ValueError:  # prompts that are no examples
                continue
            if found:
                yield node.lineno - 1, found


def module_of(path: Path) -> Any:
    """Imported under its own name, from above the packages that it is in."""
    folder, name = path.resolve().parent, path.stem
    while (folder / "__init__.py").exists():
        folder, name = folder.parent, f"{folder.name}.{name}"
    sys.path.insert(0, str(folder))
    return importlib.import_module(name.removesuffix(".__init__"))


def main(paths: list[str]) -> int:
    runner = _Runner(_Checker(), verbose=False, optionflags=_FLAGS)
    for path in paths:
        try:
            found = list(texts(Path(path).read_text("utf-8")))
            names = vars(module_of(Path(path)))
        except Exception as error:
            print(f"{path}: {type(error).__name__}: {error}")
            return 2
        for line, examples in found:
            signal.alarm(LIMIT_S)
            runner.run(doctest.DocTest(examples, dict(names), path, path, line, None))
            signal.alarm(0)
    if not runner.tries:
        return 2
    print(f"{runner.failures} of {runner.tries} examples do not hold")
    return 1 if runner.failures else 0


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _stop)
    sys.exit(main(sys.argv[1:]))
