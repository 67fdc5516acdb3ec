"""Whether a result that looks good holds from another side. Pure; what is found is a notice and no proof.

- The tests took far less time than with the reference: perhaps they did not do their work.
- The mended tests fail in an interpreter that heeds no variable, no user site and not the folder that it is
  started in (`python -I`): perhaps something that is loaded unasked made them pass. Where such a run does not
  come to its tests at all it says nothing, for some projects need those things.
"""

from __future__ import annotations

import itertools
from pathlib import PurePosixPath

from evals.readback import Readback
from evals.types import Flag, Tests

LEAST_SHARE = 0.2
LEAST_S = 2.0
"""Below so many seconds with the reference, starting the tests is most of it."""
MOST_IDS = 200
_WITH_A_VALUE = ("-p", "-c", "-o", "-W", "--rootdir")
_START = """
import sys
sys.path.insert(0, sys.argv[1])
sys.path.append("")
import pytest
sys.exit(pytest.main(sys.argv[2:]))
"""
"""The folder with the plugin comes first and the tree last, where it hides nothing."""


def too_fast(seconds: float, reference_s: object) -> Flag | None:
    """`reference_s` is what the dataset says of the reference; anything but a number says nothing."""
    if not isinstance(reference_s, int | float) or reference_s < LEAST_S:
        return None
    if seconds >= LEAST_SHARE * reference_s:
        return None
    return Flag(
        "time", "notice", f"the tests took {seconds:.1f} s, and {reference_s:.1f} s with the reference"
    )


def isolated(tests: Tests, plugins: str) -> tuple[str, ...] | None:
    """The command that runs the mended tests alone under -I; None where it is not `python -m pytest ...`.

    `plugins` is the folder with the grading plugin.
    """
    interpreter, *rest = tests.command
    if rest[:2] != ["-m", "pytest"] or not PurePosixPath(interpreter).name.startswith("python"):
        return None
    if not 0 < len(tests.fail_to_pass) <= MOST_IDS:
        return None
    pairs = itertools.pairwise(rest[1:])
    options = [word for before, word in pairs if word.startswith("-") or before in _WITH_A_VALUE]
    return interpreter, "-I", "-c", _START, plugins, *options, *tests.fail_to_pass


def differs(tests: Tests, alone: Readback) -> Flag | None:
    """Where mended tests ran under -I and failed."""
    failed = [name for name in tests.fail_to_pass if name in alone.tests]
    failed = [name for name in failed if alone.tests[name].outcome in ("failed", "error")]
    if not alone.finished or alone.forged or not failed:
        return None
    return Flag("isolated", "notice", f"fails in an isolated interpreter: {failed[0]}")
