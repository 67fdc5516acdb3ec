"""Test reports from what the probe recorded, or pytest, unittest or a Python traceback printed. Pure."""

from __future__ import annotations

import re

import msgspec

from tools.testreport import Frame, Outcome, TestReport, TestResult, make_report, workspace_path

_DETAILS = 6000


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
    decoder = msgspec.json.Decoder(_Record)
    started, tests, open_tests = False, dict[str, TestResult](), dict[str, None]()
    lines: dict[str, dict[int, tuple[int, int]]] = {}
    measurable = False
    for line in data.splitlines():
        try:
            record = decoder.decode(line)
        except msgspec.DecodeError:
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
    for name in open_tests:
        if exit_code is None and not (name in tests and tests[name].bad):
            tests[name] = TestResult(name, "failed", "Timeout", "the test did not end", hung=True)
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


def parse_output(output: str, exit_code: int | None, root: str) -> TestReport | None:
    """The report of a runner's printed text (without control codes); None when nothing is recognised."""
    if report := _parse_pytest(output, exit_code, root):
        return report
    if report := _parse_unittest(output, exit_code, root):
        return report
    if exit_code != 0 and (found := _traceback(output, root)):
        exception, message, frames = found
        test = TestResult("command", "failed", exception, message, frames, details=_tail(output))
        return msgspec.structs.replace(make_report([test], exit_code, "python"), collected=0)
    return None


_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)\b")
_CLOSING = re.compile(
    r"^(?:=+ )?((?:\d+ \w+(?:, )?)+|no tests ran|no tests collected) in [\d.]+m?s.*$", re.MULTILINE
)
_NAMED = re.compile(r"^(FAILED|ERROR) ([^\n]+?)(?: - ([^\n]*))?$", re.MULTILINE)
_VERBOSE = re.compile(r"^(\S+\.py::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
_SECTION = re.compile(r"^_{3,} (.+?) _{3,}$\n(.*?)(?=^_{3,} .+ _{3,}$|^={3,} |\Z)", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"^([^\s:>][^:\n]*):(\d+): ?(?:in (\S+)|([\w.]+)(?:: .*)?)?$", re.MULTILINE)
_WORDS: dict[str, Outcome] = {
    "passed": "passed", "xpassed": "passed", "failed": "failed", "error": "error",
    "skipped": "skipped", "xfailed": "skipped", "xfail": "skipped", "xpass": "passed",
}  # fmt: skip


def _parse_pytest(output: str, exit_code: int | None, root: str) -> TestReport | None:
    closings = list(_CLOSING.finditer(output))
    sections = list(_SECTION.finditer(output))
    named = list(_NAMED.finditer(output))
    usage = re.search(r"^ERROR: |while loading conftest", output, re.MULTILINE) and exit_code == 4
    if not closings and not usage and not (sections and named):
        return None
    counts: dict[str, int] = {}
    for number, word in _COUNT.findall(closings[-1][1] if closings else ""):
        outcome = _WORDS[word.removesuffix("s") if word.startswith("error") else word]
        counts[outcome] = counts.get(outcome, 0) + int(number)
    tests = {m[1]: TestResult(m[1], _WORDS[m[2].lower()]) for m in _VERBOSE.finditer(output)}
    for match in named:
        exception, _, message = (match[3] or "").partition(": ")
        if message == "" and not exception.isidentifier():
            exception, message = "AssertionError" if exception.startswith("assert") else "", exception
        tests[match[2]] = TestResult(match[2], _WORDS[match[1].lower()], exception, message)
    for match in sections:
        found = _section(match[1], match[2], root)
        name = next((key for key in tests if _same_test(key, match[1])), match[1])
        tests[name] = msgspec.structs.replace(found, id=name)
    return make_report(list(tests.values()), exit_code, "pytest", counts or None)


def _same_test(name: str, title: str) -> bool:
    title = re.sub(r"^ERROR (?:collecting|at setup of|at teardown of) ", "", title)
    return name == title or name.endswith(("::" + title, "::" + title.replace(".", "::", 1)))


def _section(title: str, text: str, root: str) -> TestResult:
    """A failure's section, in pytest's long, short or native style."""
    explained = [line[1:].strip() for line in text.splitlines() if re.match(r"E( {3}|$)", line)]
    frames: list[Frame] = []
    exception, before = "", 0
    for place in _PLACE.finditer(text):
        defined = re.findall(r"^[ >]+(?:async )?def (\w+)", text[before : place.start()], re.MULTILINE)
        function = place[3] or (defined[-1] if defined else "")
        frames.append(placed(Frame(place[1], int(place[2]), function.removesuffix("()")), root))
        exception, before = place[4] or exception, place.end()
    message = "\n".join(explained)
    head = re.match(r"([\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Failed)\w*)(?:: |$)", message)
    if not exception and message.startswith("assert "):
        exception = "AssertionError"
    if head:
        exception, message = exception or head[1], message[head.end() :]
    for match in re.finditer(r'^E\s+File "([^"\n]+)", line (\d+)$', text, re.MULTILINE):
        # a syntax error: nothing of the file ran, so its place has no frame
        frames.append(placed(Frame(match[1], int(match[2])), root))
    if native := _traceback(text, root):
        exception, message, frames = native[0], native[1], list(native[2])
    outcome: Outcome = "error" if title.startswith("ERROR ") else "failed"
    return TestResult(title, outcome, exception, message, tuple(frames), details=_tail(text))


_UNITTEST = re.compile(
    r"^={70}\n(FAIL|ERROR): (\S+)(?: \(([^)\n]*)\))?([^\n]*)\n(.*?)(?=^={70}$|^-{70}\nRan )",
    re.MULTILINE | re.DOTALL,
)
_RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s$", re.MULTILINE)


def _parse_unittest(output: str, exit_code: int | None, root: str) -> TestReport | None:
    ran = list(_RAN.finditer(output))
    if not ran:
        return None
    tests = []
    for match in _UNITTEST.finditer(output):
        scope = match[3] or ""
        name = scope if scope.endswith("." + match[2]) else f"{scope}.{match[2]}".strip(".")
        if "_FailedTest" in scope:
            name = match[2]
        exception, message, frames = _traceback(match[5], root) or ("", "", ())
        outcome: Outcome = "failed" if match[1] == "FAIL" else "error"
        tests.append(
            TestResult(name + match[4].strip(), outcome, exception, message, frames, details=_tail(match[5]))
        )
    closing = output[ran[-1].end() :]
    numbers = {word: int(number) for word, number in re.findall(r"(failures|errors|skipped)=(\d+)", closing)}
    bad = {
        "failed": numbers.get("failures", 0),
        "error": numbers.get("errors", 0),
        "skipped": numbers.get("skipped", 0),
    }
    total = sum(int(match[1]) for match in ran)
    counts = {"passed": max(total - sum(bad.values()), 0), **bad}
    return make_report(tests, exit_code, "unittest", {key: n for key, n in counts.items() if n})


_TRACE_FRAME = re.compile(r'^\s*File "([^"\n]+)", line (\d+)(?:, in (.+))?$', re.MULTILINE)
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$", re.DOTALL)


def _traceback(text: str, root: str) -> tuple[str, str, tuple[Frame, ...]] | None:
    """(exception type, message, frames) of the last Python traceback in the text, with what it was caused by.

    The frames of chained tracebacks are joined in the order in which they are printed, the cause's first.
    """
    starts = [m.end() for m in re.finditer(r"^Traceback \(most recent call last\):$", text, re.MULTILINE)]
    matches = list(_TRACE_FRAME.finditer(text))
    if not matches or not (starts or "SyntaxError" in text or "IndentationError" in text):
        return None
    own = [m for m in matches if not re.search(r"/(_pytest|pluggy)/", m[1])] or matches
    frames = tuple(placed(Frame(m[1], int(m[2]), m[3] or ""), root) for m in own)
    rest = text[matches[-1].end() :].splitlines()
    after = [line for line in rest if line and not line.startswith(" ")]
    raised = _RAISED.match("\n".join(after[:20]).split("\n\n")[0]) if after else None
    return (raised[1], raised[2] or "", frames) if raised else ("", "", frames)


def _tail(text: str, limit: int = _DETAILS) -> str:
    return text if len(text) <= limit else "...\n" + text[-limit:]
