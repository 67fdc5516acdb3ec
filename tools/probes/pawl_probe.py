"""A pytest plugin: records how each test ended, where it failed and with which values; ends tests that hang.

Loaded by `PYTEST_ADDOPTS="-p pawl_probe"`. Python >= 3.8, pytest 6 to 9, the standard library alone. It
changes no outcome, except that of a test that runs longer than PAWL_TEST_LIMIT seconds. Whatever goes wrong
in here is swallowed.

Environment: PAWL_PROBE_OUT, the file to append JSON lines to (only the outermost pytest writes: the variable
is removed once read; workers of pytest-xdist hand their records to the controller on the report);
PAWL_PROBE_ROOT, the workspace, whose frames are recorded with their local variables; PAWL_TEST_LIMIT;
PAWL_PROBE_COVERAGE, to count which lines failing tests ran, if coverage.py can be imported and nothing else
traces.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import reprlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_OUT = os.environ.pop("PAWL_PROBE_OUT", "")
_ROOT = (os.environ.get("PAWL_PROBE_ROOT") or str(Path.cwd())).rstrip(os.sep) + os.sep
_MAX_FILE = 8 * 1024 * 1024
_MAX_TEXT = 4000
_MAX_VALUE = 120
_MAX_LOCALS = 12
_MAX_FRAMES = 24
_MAX_HANGS = 3
_ASIDE = "pawl"
_PACKAGES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep, os.sep + ".venv" + os.sep)


class TestHung(BaseException):
    """Raised inside a test that does not end; no Exception, so that `except Exception` cannot keep it."""

    __test__ = False


def _has_coverage() -> bool:
    try:
        return importlib.util.find_spec("coverage") is not None
    except Exception:
        return False


def _positive(text: str) -> float:
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0


@contextlib.contextmanager
def _alarm(seconds: float, message: str) -> Iterator[None]:
    """Raise TestHung in the main thread after `seconds`, then every second; a sooner alarm of others wins."""
    if (
        seconds <= 0
        or not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    other, interval = signal.getitimer(signal.ITIMER_REAL)
    if 0 < other <= seconds:
        yield
        return

    def ring(number: int, frame: Any) -> None:
        __tracebackhide__ = True
        raise TestHung(message)

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if other > 0:
            signal.setitimer(signal.ITIMER_REAL, max(other - (time.monotonic() - began), 0.01), interval)


class _Values(reprlib.Repr):
    """Bounded reprs; an object without a repr of its own is shown by its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = _MAX_VALUE
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxarray = 12
        self.maxdict = 8

    def repr_instance(self, x: Any, level: int) -> str:
        if "__repr__" not in {n for c in type(x).__mro__[:-1] for n in vars(c)} and getattr(
            x, "__dict__", None
        ):
            if level <= 1:
                return type(x).__name__ + "(...)"
            shown = [f"{k}={self.repr1(v, level - 1)}" for k, v in list(vars(x).items())[:6]]
            return f"{type(x).__name__}({', '.join(shown)})"
        return super().repr_instance(x, level)


_VALUES = _Values()


def _in_workspace(path: str) -> bool:
    return path.startswith(_ROOT) and not any(part in path for part in _PACKAGES)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit // 4] + "\n...\n" + text[-(limit - limit // 4) :]


def _locals(frame: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in list(frame.f_locals.items()):
        if len(found) == _MAX_LOCALS:
            break
        if name.startswith(("@", "__")) or type(value).__name__ in ("module", "function", "type"):
            continue
        try:
            text = _VALUES.repr(value)
        except Exception as error:
            text = f"<repr failed: {type(error).__name__}>"
        found.append((name, text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 3] + "..."))
    return found


def _frames(error: BaseException | None) -> list[dict[str, Any]]:
    """Frames of the exception, outermost first, then those of its causes; of a deep recursion the ends."""
    found: list[dict[str, Any]] = []
    chain = 0
    while error is not None and chain < 4:
        levels = []
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename != __file__ and not _framework(code.co_filename):
                levels.append((trace.tb_frame, code, trace.tb_lineno))
            trace = trace.tb_next
        if len(levels) > _MAX_FRAMES:
            levels = levels[: _MAX_FRAMES // 3] + levels[-(_MAX_FRAMES - _MAX_FRAMES // 3) :]
        for frame, code, line in levels:
            inside = _in_workspace(code.co_filename)
            found.append(
                {
                    "path": code.co_filename,
                    "line": line,
                    "function": getattr(code, "co_qualname", code.co_name).replace(".<locals>", ""),
                    "in_workspace": inside,
                    "locals": _locals(frame) if inside else [],
                }
            )
        if isinstance(error, SyntaxError) and error.filename:
            # the place of the fault has no frame: nothing of the file ran
            found.append({"path": error.filename, "line": error.lineno or 1, "function": ""})
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        chain += 1
    return found


def _framework(path: str) -> bool:
    parts = path.replace(os.sep, "/").split("/")
    return "_pytest" in parts or "pluggy" in parts or path.startswith("<frozen")


def _describe(excinfo: Any, report: Any) -> dict[str, Any]:
    """What is known of a failure, as JSON-able values that pytest-xdist can carry."""
    error = excinfo.value
    hung = isinstance(error, TestHung)
    # a module that cannot be imported is wrapped: the error itself is the cause
    if type(error).__name__ == "CollectError" and error.__cause__ is not None:
        error = error.__cause__
    known: dict[str, Any] = {"exception": "Timeout" if hung else type(error).__name__, "hung": hung}
    try:
        known["message"] = _cut(str(error), _MAX_TEXT)
        with _alarm(2.0, "values"):
            known["details"] = _cut(str(report.longrepr or ""), _MAX_TEXT)
            known["frames"] = _frames(error)
    except (Exception, TestHung):
        pass
    return known


class _Probe:
    """The hooks of one session."""

    def __init__(self, config: Any, out: str) -> None:
        self.config = config
        self.out = out
        self.limit = _positive(os.environ.get("PAWL_TEST_LIMIT", ""))
        self.hangs = 0
        self.written = 0
        self.coverage: Any = None
        self.failed: set[str] = set()
        self.passed: set[str] = set()
        self._write({"type": "start", "coverage": _has_coverage()})

    def _write(self, record: dict[str, Any]) -> None:
        if not self.out or self.written > _MAX_FILE:
            return
        try:
            line = (json.dumps(record, default=str) + "\n").encode("utf-8", "replace")
            descriptor = os.open(self.out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
            self.written += len(line)
        except Exception:
            self.out = ""

    def _limited(self) -> contextlib.AbstractContextManager[None]:
        return _alarm(self.limit, f"pawl: the test ran longer than {self.limit:g} s")

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: Any) -> Iterator[None]:
        with self._limited():
            yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: Any) -> Iterator[None]:
        with self._limited():
            yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: Any) -> Iterator[None]:
        with self._limited():
            yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector: Any) -> Iterator[None]:
        # modules may be slow to import: only what is far from usual is taken for endless
        limit = max(4 * self.limit, 20.0) if self.limit else 0.0
        with _alarm(limit, f"pawl: the import ran longer than {limit:g} s"):
            yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Iterator[None]:
        # the reprs of a failure run code of the workspace that the test itself did not
        self._measure_for(_ASIDE)
        outcome: Any = yield
        with contextlib.suppress(Exception):
            report = outcome.get_result()
            if report.failed and call.excinfo is not None:
                report.pawl_probe = _describe(call.excinfo, report)
                if report.pawl_probe["hung"]:
                    self._hung(item.session)
        self._measure_for(item.nodeid)

    def _measure_for(self, test: str) -> None:
        with contextlib.suppress(Exception):
            if self.coverage is not None:
                self.coverage.switch_context(test)

    def _hung(self, session: Any) -> None:
        """A suite in which many tests hang ends soon: shorter limits, and no more tests after the third."""
        self.hangs += 1
        self.limit = max(self.limit / 2, min(self.limit, 1.0))
        if self.hangs >= _MAX_HANGS:
            session.shouldfail = f"pawl: stopped after {self.hangs} tests that did not end"

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        with contextlib.suppress(Exception):
            if type(report).__name__ == "CollectReport" and call.excinfo is not None:
                report.pawl_probe = _describe(call.excinfo, report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
            known = getattr(report, "pawl_probe", None) or {"details": _cut(str(report.longrepr), _MAX_TEXT)}
            self._write({"type": "collect", "id": report.nodeid, "outcome": "failed", **known})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: Any) -> None:
        with contextlib.suppress(Exception):
            if os.environ.get("PAWL_PROBE_COVERAGE") and self.out and sys.gettrace() is None:
                import coverage

                if coverage.Coverage.current() is None:
                    omit = ["*" + part + "*" for part in _PACKAGES]
                    self.coverage = coverage.Coverage(
                        data_file=None, config_file=False, include=[_ROOT + "*"], omit=omit
                    )
                    self.coverage.start()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self._measure_for(item.nodeid)
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: Any) -> None:
        with contextlib.suppress(Exception):
            if self.coverage is not None:
                self.coverage.stop()
                self._write({"type": "lines", "lines": self._lines(self.coverage.get_data())})

    def _lines(self, data: Any) -> dict[str, dict[int, tuple[int, int]]]:
        """path -> line -> (failed tests, passed tests) that ran it, for lines that a failed test ran."""
        found: dict[str, dict[int, tuple[int, int]]] = {}
        for path in data.measured_files():
            for line, tests in data.contexts_by_lineno(path).items():
                # what no test ran but an import, all tests build on
                named = set(tests) - {"", _ASIDE} or self.failed | self.passed
                failed = len(named & self.failed)
                if failed:
                    found.setdefault(path, {})[line] = (failed, len(named) - failed)
        return found

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write({"type": "begin", "id": nodeid})

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.outcome not in ("passed", "failed", "skipped") or (report.passed and report.when != "call"):
            return
        (self.failed if report.failed else self.passed).add(report.nodeid)
        record = {"type": "test", "id": report.nodeid, "when": report.when, "outcome": report.outcome}
        record["duration"] = round(report.duration, 4)
        self._write({**record, **(getattr(report, "pawl_probe", None) or {})})

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._write({"type": "end", "id": nodeid})


def pytest_configure(config: Any) -> None:
    """Only the outermost session and its xdist workers are watched, not sessions that tests start."""
    global _OUT
    worker = hasattr(config, "workerinput")
    if not _OUT and not worker:
        return
    out, _OUT = ("" if worker else _OUT), ""
    with contextlib.suppress(Exception):
        config.pluginmanager.register(_Probe(config, out), "pawl_probe_session")
