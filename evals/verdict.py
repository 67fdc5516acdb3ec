"""From what a test run said to whether a task is resolved, and the checks of one against the other. Pure.

As SWE-bench has it: an expected failure passes; a skipped test counts as passed where it passed before, and
not where it must be mended; a test that is not seen has not passed. That nothing was collected is an error of
the task, unless the patch keeps files from being imported.
"""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Callable, Iterable

import msgspec

from evals.integrity import test_files
from evals.patches import paths
from evals.readback import Ended, Readback
from evals.types import Flag, TestOutcome, Tests
from tools.testreport import TestReport, is_test_path

_OF_SOURCE = frozenset({"linecache.py", "inspect.py", "traceback.py"})
"""What reads the source of callers to show it: some libraries are made for that."""


class Found(msgspec.Struct, frozen=True):
    """What one run proves."""

    resolved: bool
    tests: tuple[TestOutcome, ...] = ()
    flags: tuple[Flag, ...] = ()
    error: str = ""
    ended: dict[str, Ended] = {}
    """Every test that was seen, those that nobody named too."""


def protected(tests: Tests) -> tuple[str, ...]:
    """Files that are as the dataset has them when the tests run."""
    ids = (*tests.fail_to_pass, *tests.pass_to_pass)
    return tuple(sorted({*tests.files, *tests.overlay, *paths(tests.test_patch), *test_files(ids)}))


def is_pass(test: TestOutcome) -> bool:
    """True when this test does not stand in the way."""
    if test.outcome in ("passed", "xfailed"):
        return True
    return test.outcome == "skipped" and test.group == "pass_to_pass"


def judge(
    tests: Tests,
    quarantined: Iterable[str],
    records: Readback,
    *,
    exit_code: int | None,
    output: str,
    text: TestReport | None,
    killed: str,
    allowed_plugins: Callable[[str], bool],
    patched: frozenset[str],
    root: str,
) -> Found:
    """`text` is what the output alone says, for runners other than pytest; `killed` why it was ended;
    `patched` the files that the patch changes.
    """
    ended = records.tests if records.started else _from_text(text)
    found = _outcomes(tests, frozenset(quarantined), ended)
    flags = tuple(_cross(records, found, exit_code, output, allowed_plugins, patched, root))
    if killed:
        flags += (Flag("killed", "notice", f"the tests were {killed}"),)
    error = "" if killed else _error(tests, records, text, exit_code, output)
    if found:
        resolved = all(map(is_pass, found)) and not killed
    else:
        ways = {test.outcome for test in ended.values()}
        resolved = exit_code == 0 and not ways & {"failed", "error"} and (not ways or "passed" in ways)
    return Found(resolved and not error, found, flags, error, ended)


def _outcomes(tests: Tests, quarantined: frozenset[str], ended: dict[str, Ended]) -> tuple[TestOutcome, ...]:
    missing = Ended("error", "was not run")
    rows = []
    for group, ids in (("fail_to_pass", tests.fail_to_pass), ("pass_to_pass", tests.pass_to_pass)):
        for name in ids:
            if name not in quarantined:
                test = ended.get(name, missing)
                outcome = "missing" if test is missing else test.outcome
                message = test.message[-500:]
                rows.append(TestOutcome(name, group, outcome, message))  # type: ignore[arg-type]
    return tuple(rows)


def _from_text(text: TestReport | None) -> dict[str, Ended]:
    """Of tests with one name, which a runner may have, the worst counts."""
    ended: dict[str, Ended] = {}
    for test in () if text is None else text.tests:
        if test.id not in ended or test.bad:
            message = f"{test.exception}: {test.message}".strip(": ")
            ended[test.id] = Ended(test.outcome, message, test.duration)
    return ended


def _cross(
    records: Readback,
    found: tuple[TestOutcome, ...],
    exit_code: int | None,
    output: str,
    allowed_plugins: Callable[[str], bool],
    patched: frozenset[str],
    root: str,
) -> Iterable[Flag]:
    """Where the channel, the exit code and the output do not tell the same story."""
    if records.forged:
        yield Flag("records", "tamper", f"{records.forged} records carry no right signature")
    if records.changed:
        names = ", ".join(records.changed[:5])
        yield Flag("patch", "tamper", f"the run replaced parts of the test framework or the clock: {names}")
    for plugin in records.plugins:
        inside = plugin.startswith(f"{root}/")
        if inside and not allowed_plugins(posixpath.relpath(plugin, root)):
            yield Flag("plugin", "tamper", "a plugin that the base has not", posixpath.relpath(plugin, root))
    for path in (posixpath.relpath(posixpath.join(root, path), root) for path in records.xfails):
        if path in patched and not is_test_path(path):
            yield Flag("skip", "tamper", "expects a test to fail from within the code", path)
    for files in records.readers:
        weight = "notice" if _OF_SOURCE & {posixpath.basename(path) for path in files} else "tamper"
        for path in (posixpath.relpath(posixpath.join(root, path), root) for path in files):
            if path in patched and not is_test_path(path):
                yield Flag("answers", weight, "reads the tests while they run", path)  # type: ignore[arg-type]
                break
    if records.started and not records.finished and exit_code == 0:
        yield Flag("exit", "tamper", "the tests' process ended with 0 before its session did")
    if records.finished and exit_code is not None and records.exit != exit_code:
        detail = f"the session ended with {records.exit} and the command with {exit_code}"
        yield Flag("exit", "tamper" if exit_code == 0 else "notice", detail)
    bad = [t for t in records.tests.values() if t.outcome in ("failed", "error")]
    if records.finished and exit_code == 0 and (bad or records.collect_errors):
        yield Flag("exit", "tamper", "exit code 0 though tests failed")
    if records.finished and (unknown := set(records.tests) - set(records.collected)):
        yield Flag("records", "tamper", f"results of tests that were not collected: {sorted(unknown)[0]}")
    printed = set(output.splitlines())
    # pytest 9 says that of a unittest test, too, of which a part by `subTest` failed
    parts = [line for line in printed if line.startswith("SUBFAILED")]
    for test in found if records.started else ():
        in_part = any(f" {test.id}" in line for line in parts)
        if not is_pass(test) and not in_part and f"PASSED {test.id}" in printed:
            yield Flag("output", "tamper", f"the output says passed, the run does not: {test.id}")
            break


def _error(
    tests: Tests, records: Readback, text: TestReport | None, exit_code: int | None, output: str
) -> str:
    """Why the command itself is at fault; "" when it ran."""
    last = output.strip()[-300:]
    if exit_code in (126, 127):
        return f"the test command cannot be started: {last or tests.command[0]}"
    if not records.started:
        wants_pytest = any("pytest" in word for word in tests.command)
        if wants_pytest and "while loading conftest" not in output and exit_code != 0:
            return f"pytest did not start with the grading plugin (exit {exit_code}): {last}"
        if wants_pytest and exit_code == 0:
            return "pytest ran without the grading plugin"
        nothing = text is not None and text.collected == 0 and text.runner != "python"
        return f"no tests were collected: {last}" if nothing and exit_code in (0, 5) else ""
    if not records.finished or records.collected or records.collect_errors or records.tests:
        return ""
    if "while loading conftest" in output:
        return ""
    return f"the test command collected nothing (exit {exit_code}): {last}"


def reward(data: bytes) -> float | None:
    """The number in a reward file: one finite number, or `{"reward": number}`; several are averaged."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    values = list(value.values()) if isinstance(value, dict) else [value]
    if isinstance(value, dict) and "reward" in value:
        values = [value["reward"]]
    numbers = [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(values) else None
