"""JSON lines that the pytest plugin of `tools/probes/` records. Pure."""

from __future__ import annotations

import msgspec

from tools.runners._runner import decoded
from tools.testreport import Frame, Outcome, TestReport, TestResult, make_report, workspace_path


class _Record(msgspec.Struct):
    """A line of tools/probes/pawl_probe.py, of the type start, begin, test, end, collect or lines."""

    type: str
    id: str = ""
    when: str = ""
    outcome: str = ""
    duration: float = 0.0
    exception: str = ""
    message: str = ""
    details: str = ""
    hung: bool = False
    frames: list[Frame] = []
    lines: dict[str, dict[int, tuple[int, int]]] = {}
    coverage: bool = False


def read_probe(data: bytes, exit_code: int | None, root: str) -> TestReport | None:
    """The report of the probe's JSON lines; None when the probe saw no session. Torn lines are skipped."""
    started, tests, open_tests = False, dict[str, TestResult](), dict[str, None]()
    lines: dict[str, dict[int, tuple[int, int]]] = {}
    measurable = False
    for line in data.splitlines():
        if (record := decoded(line, _Record)) is None:
            continue
        started, measurable = True, measurable or record.coverage
        if record.type == "begin":
            open_tests[record.id] = None
        elif record.type == "end":
            open_tests.pop(record.id, None)
        elif record.type in ("test", "collect"):
            tests[record.id] = _merge(tests.get(record.id), _from_record(record, root))
        elif record.type == "lines":
            placed = {workspace_path(path, root): found for path, found in record.lines.items()}
            lines = {path: found for (path, inside), found in placed.items() if inside}
    whole = data.endswith(b"\n")  # of records cut off at the bound the last test has no end
    for name in open_tests:
        if name in tests and tests[name].bad:
            continue
        if exit_code is None:
            tests[name] = TestResult(name, "failed", "Timeout", "the test did not end", hung=True)
        elif whole:
            told = f"the process ended with exit code {exit_code} inside this test; later tests did not run"
            tests[name] = TestResult(name, "failed", "Exit", told)
    if not started:
        return None
    return msgspec.structs.replace(
        make_report(list(tests.values()), exit_code, "pytest"), lines=lines, measurable=measurable
    )


def _from_record(record: _Record, root: str) -> TestResult:
    outcome: Outcome = "passed"
    if record.outcome == "skipped":
        outcome = "skipped"
    elif record.outcome == "failed":
        outcome = "failed" if record.when == "call" else "error"
    frames = tuple(placed(frame, root) for frame in record.frames)
    return TestResult(
        record.id,
        outcome,
        record.exception,
        record.message,
        frames,
        record.duration,
        record.details,
        record.hung,
    )


def _merge(old: TestResult | None, new: TestResult) -> TestResult:
    """Set-up, call and tear-down of one test as one result: the first thing that went wrong counts."""
    if old is None:
        return new
    kept = old if old.bad or (old.outcome == "skipped" and not new.bad) else new
    return msgspec.structs.replace(kept, duration=old.duration + new.duration)


def placed(frame: Frame, root: str) -> Frame:
    """With its path relative to the workspace when it lies in it."""
    path, inside = workspace_path(frame.path, root)
    return msgspec.structs.replace(frame, path=path, in_workspace=inside)
