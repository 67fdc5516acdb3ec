"""What a test run said, in one form for every runner: which tests, how they ended, where and why they failed.

Pure. `tools/runners/` makes reports from what runners print and write.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import ClassVar, Literal

import msgspec

from sandbox.base import ExecResult
from tools.output import clip

Outcome = Literal["passed", "failed", "error", "skipped"]


class Frame(msgspec.Struct, frozen=True):
    """One level of a traceback."""

    path: str
    """Relative to the workspace when it lies in it, else as it was printed."""
    line: int
    function: str = ""
    in_workspace: bool = False
    locals: tuple[tuple[str, str], ...] = ()
    """Names with the bounded repr of their values; empty where nobody recorded them."""
    chained: str = ""
    """Of the first frame of a further exception: what it is, such as `caused by KeyError: 'x'`."""


class TestResult(msgspec.Struct, frozen=True):
    """How one test ended. `error` is a failure outside of the test itself: collection, set-up, tear-down."""

    __test__: ClassVar[bool] = False

    id: str
    outcome: Outcome
    exception: str = ""
    message: str = ""
    frames: tuple[Frame, ...] = ()
    """Outermost first: the last one raised."""
    duration: float = 0.0
    """Seconds, set-up and tear-down included."""
    details: str = ""
    """The runner's own words: source lines, assertion explanation, captured output. Bounded."""
    hung: bool = False
    """True when the test was stopped because it did not end."""
    flaky: bool = False
    """True when it passed as it was run once more, with nothing changed in between."""

    @property
    def bad(self) -> bool:
        return self.outcome in ("failed", "error")


class TestReport(msgspec.Struct, frozen=True):
    """One run of a test command."""

    __test__: ClassVar[bool] = False

    tests: tuple[TestResult, ...]
    """All tests that are known by name; from a runner's text often only the failed ones."""
    counts: dict[str, int]
    """Number of tests per outcome, as the runner counts them."""
    ok: bool
    """True when the command ended with 0, at least one test passed and none failed: skipped tests prove
    nothing."""
    runner: str
    """A name of `tools/runners/`; `python` is a bare traceback."""
    collected: int
    """Number of tests that were found; 0 also for a bare traceback."""
    lines: dict[str, dict[int, tuple[int, int]]] = {}
    """Path -> line -> (failed tests, passed tests) that ran it, for each line that a failed test ran; empty
    where nobody measured."""
    measurable: bool = False
    """Whether coverage.py is where the tests ran, so that lines can be asked for."""

    @property
    def failures(self) -> tuple[TestResult, ...]:
        return tuple(test for test in self.tests if test.bad)

    @property
    def summary(self) -> str:
        """Such as `1 failed, 3 passed`."""
        order = ("failed", "error", "passed", "skipped")
        return (
            ", ".join(f"{self.counts[key]} {key}" for key in order if self.counts.get(key)) or "no tests ran"
        )


class CheckResult(msgspec.Struct, frozen=True):
    """One run of a check command, with all that is known about it."""

    exec: ExecResult
    report: TestReport | None
    """None when nothing of a test runner or a traceback was recognised."""
    output: str
    """The output as readable text; of a command that was killed, the last line says why."""
    killed: str = ""
    """Why it was killed, naming the limit that it met; empty when it ended by itself."""

    @property
    def ok(self) -> bool:
        """Exit code 0, and not a test run in which none passed.

        A command of which nobody knows the output, or that is silent, passes by its exit code alone: that is
        what compilers, linters and scripts of a project have, and the person chose it.
        """
        return self.exec.ok and (self.report is None or self.report.ok)


def make_report(
    tests: list[TestResult], exit_code: int | None, runner: str, counts: dict[str, int] | None = None
) -> TestReport:
    """A report whose counts, unless the runner told them, are those of `tests`."""
    counted = counts if counts is not None else dict(Counter[str](test.outcome for test in tests))
    collected = sum(counted.values())
    ok = exit_code == 0 and counted.get("passed", 0) > 0
    ok = ok and not counted.get("failed") and not counted.get("error")
    return TestReport(tuple(tests), counted, ok, runner, collected)


_TEST_FOLDER = re.compile(r"(^|[_.-])(tests?|testing|testcases?|testdata|specs?)($|[_.-])", re.IGNORECASE)


_TEST_ENDS = (".test", ".tests", ".spec", ".cy", "-test", "-spec", "_spec")
"""Of stems, as JavaScript, TypeScript and Ruby name test files."""
_OF_CLASSES = (".java", ".kt", ".groovy", ".scala", ".php", ".cs", ".swift")
_TEST_CLASS = re.compile(r"^Test[A-Z]|(?:Test|Tests|TestCase|Spec|IT)$")


@functools.lru_cache(maxsize=20_000)
def is_test_path(path: str) -> bool:
    """True for a file that tests and their support live in, by the usual names."""
    parts = PurePosixPath(path)
    name = parts.name
    if name == "conftest.py" or any(_TEST_FOLDER.search(folder) for folder in parts.parts[:-1]):
        return True
    stem = parts.stem
    if stem.startswith("test_") or stem.endswith(("_test", "_tests")) or stem in ("test", "tests"):
        return True
    if parts.suffix in _OF_CLASSES:
        return bool(_TEST_CLASS.search(stem))
    return parts.suffix != ".py" and stem.endswith(_TEST_ENDS)


def workspace_path(path: str, root: str) -> tuple[str, bool]:
    """(path relative to the workspace, True), or (path, False) for one outside or of installed packages."""
    pure = PurePosixPath(path)
    if pure.is_absolute():
        if not pure.is_relative_to(root):
            return path, False
        pure = pure.relative_to(root)
    parts = pure.parts
    outside = (
        ".." in parts
        or path.startswith("<")
        or {"site-packages", "dist-packages", ".venv", "node_modules"} & set(parts)
    )
    return (path, False) if outside else (str(pure), True)


_NOT_INSTALLED = re.compile(
    r"No module named '?(?:pytest|unittest|tox|nox)\b.*"
    r"|^npm (?:ERR!|error) npx canceled due to missing packages.*"
    r"|^.*Command \"?[\w./-]+\"? not found.*"
    r"|^(?:sh|/bin/sh|bash|env):.*: (?:command )?not found$"
    r"|^bundler: command not found: .*"
    r"|^Could not find .* in (?:cached|locally installed) gems.*",
    re.MULTILINE,
)
_NOT_STARTED = re.compile(
    r"^make: \*\*\* No rule to make target.*"
    r"|^.*can't open file .*\[Errno 2\].*"
    r"|^ERROR: (?:file or directory not found|usage:|not found:).*"
    r"|^npm (?:ERR!|error) Missing script: .*"
    r"|^error: could not find `Cargo\.toml`.*"
    r"|^error: no matching package named .*"
    r"|^go: (?:cannot find main module|.*: module lookup disabled|.*dial tcp).*"
    r"|^\[ERROR\].*(?:no POM in this directory|Could not resolve dependencies|in offline mode).*"
    r"|^> No cached version of .* available for offline mode.*"
    r"|^CMake Error: .*",
    re.MULTILINE,
)


def not_installed(result: CheckResult) -> str | None:
    """What says that the runner itself is not where the command ran; None when it is."""
    if result.exec.ok or result.exec.timed_out or _ran_tests(result):
        return None
    if result.exec.exit_code == 127:
        return f"the command was not found: {_last_line(result)}"
    found = _NOT_INSTALLED.search(result.output)
    return found[0].strip() if found else None


def could_not_start(result: CheckResult) -> str | None:
    """Why the check command itself, and not the code under test, is at fault; None when it ran.

    Exit codes: 126 and 127 as shells give them; pytest's 3 (internal error), 4 (usage error) and 5 (no tests
    collected), https://docs.pytest.org/en/stable/reference/exit-codes.html; unittest's 5 (no tests ran).
    """
    code, output = result.exec.exit_code, result.output
    if result.exec.timed_out or (result.exec.ok and result.report is None):
        return None
    if reason := not_installed(result):
        return reason
    if code == 126:
        return f"the command cannot be executed: {_last_line(result)}"
    if not _ran_tests(result) and (match := _NOT_STARTED.search(output)):
        return match[0].strip()
    if result.report is not None and result.report.runner != "python":
        return _nothing_ran(result.report, code, output)
    return None


def _ran_tests(result: CheckResult) -> bool:
    report = result.report
    return report is not None and report.runner != "python" and report.collected > 0


def _last_line(result: CheckResult) -> str:
    return result.output.strip().rpartition("\n")[2]


def _nothing_ran(report: TestReport, code: int | None, output: str) -> str | None:
    if report.failures or report.counts.get("failed") or report.counts.get("error"):
        return None
    # a conftest.py that does not import is a fault of the code under test, though pytest calls it usage
    if report.runner == "pytest" and code in (3, 4):
        if "while loading conftest" in output:
            return None
        lines = [line for line in output.splitlines() if line.startswith(("ERROR:", "INTERNALERROR>"))]
        return (lines[-1] if lines else f"pytest ended with exit code {code}").strip()
    if code is not None and report.collected == 0:
        return "no tests were collected"
    if code == 0 and not report.counts.get("passed"):
        return f"no test ran: {report.summary}; skipped tests prove nothing"
    return None


def describe(report: TestReport, *, limit: int = 5, details_chars: int = 1500, change: str = "") -> str:
    """The report in short, for a model: counts, `change`, then each failure: places, values, details."""
    parts = ["\n".join(filter(None, [report.summary, change and f"Since the last run: {change}"]))]
    for test in report.failures[:limit]:
        lines = [f"{test.outcome.upper()} {test.id}{_FLAKY if test.flaky else ''}"]
        frames = _shown_frames(test)
        lines += [
            f"  {frame.path}:{frame.line}" + (f" in {frame.function}" if frame.function else "")
            for frame in frames
        ]
        lines += [f"    with {_values(frames[-1])}"] if frames and frames[-1].locals else []
        reason = f"{test.exception}: {test.message}".strip(": ")
        if test.details and not test.hung:
            lines.append(clip(test.details, limit=details_chars).strip("\n"))
        elif reason:
            lines.append(f"  {reason}")
        parts.append("\n".join(lines))
    if len(report.failures) > limit:
        names = ", ".join(test.id for test in report.failures[limit : limit + 20])
        parts.append(f"{len(report.failures) - limit} more failed: {names}")
    return "\n\n".join(parts)


_FLAKY = " (flaky: it passes when it is run once more alone, with nothing changed)"
_VALUES_CHARS = 300


def _values(frame: Frame) -> str:
    """Local variables of a frame, as many as fit into one line."""
    shown: list[str] = []
    for name, value in frame.locals:
        shown.append(f"{name} = {' '.join(value.split())}")
        if len("; ".join(shown)) > _VALUES_CHARS:
            return "; ".join([*shown[:-1], "..."])
    return "; ".join(shown)


def _shown_frames(test: TestResult) -> list[Frame]:
    """Frames of the workspace; of a deep recursion its beginning and end."""
    frames = [frame for frame in test.frames if frame.in_workspace]
    return frames if len(frames) <= 6 else [*frames[:2], *frames[-4:]]
