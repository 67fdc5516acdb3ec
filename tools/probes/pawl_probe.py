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
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pawl_report import PACKAGES, ROOT, Records, TestHung, alarm, cut, frames, message_of

_OUT = os.environ.pop("PAWL_PROBE_OUT", "")
_MAX_HANGS = 3
_MAX_PARTS = 2000
"""Parts of tests that are measured one by one, at some milliseconds each."""
_ASIDE = "pawl"


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


def _describe(excinfo: Any, report: Any) -> dict[str, Any]:
    """What is known of a failure, as JSON-able values that pytest-xdist can carry."""
    error = excinfo.value
    hung = isinstance(error, TestHung)
    # a module that cannot be imported is wrapped: the error itself is the cause
    if type(error).__name__ == "CollectError" and error.__cause__ is not None:
        error = error.__cause__
    known: dict[str, Any] = {"exception": "Timeout" if hung else type(error).__name__, "hung": hung}
    try:
        known["message"] = message_of(error)
        with alarm(2.0, "details"):
            known["details"] = cut(str(report.longrepr or ""))
    except (Exception, TestHung):
        pass
    with contextlib.suppress(Exception):
        known["frames"] = frames(error)
    return known


class _Probe:
    """The hooks of one session."""

    def __init__(self, config: Any, out: str) -> None:
        self.config = config
        self.records = Records(out)
        self.limit = _positive(os.environ.get("PAWL_TEST_LIMIT", ""))
        self.hangs = 0
        self.coverage: Any = None
        self.measured = ""
        """What lines count for now."""
        self.failed: set[str] = set()
        self.passed: set[str] = set()
        self.parts: dict[str, int] = {}
        """test -> its parts that ended, of those (`subTest`, `subtests`) that are told one by one"""
        self.told = 0
        self.partly: set[str] = set()
        self.records.write({"type": "start", "coverage": _has_coverage()})

    def _limited(self) -> Any:
        return alarm(self.limit, f"pawl: the test ran longer than {self.limit:g} s")

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
        with alarm(limit, f"pawl: the import ran longer than {limit:g} s"):
            yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Iterator[None]:
        # the reprs of a failure run code of the workspace that the test itself did not
        if call.excinfo is not None:
            self._measure_for(_ASIDE)
        outcome: Any = yield
        with contextlib.suppress(Exception):
            report = outcome.get_result()
            if report.failed and call.excinfo is not None:
                report.pawl_probe = _describe(call.excinfo, report)
                if report.pawl_probe["hung"]:
                    self._hung(item.session)
        if sys.version_info >= (3, 11) or not hasattr(item, "addSubTest"):  # older ones tell all at the end
            self.parts.setdefault(item.nodeid, 0)
        self._measure_for(self._part(item.nodeid))

    def _part(self, test: str) -> str:
        """What is measured by itself: a test, or one of its parts, or what comes after the last one."""
        number = self.parts.get(test, 0)
        return f"{test}\0{number}" if number else test

    def _measure_for(self, test: str) -> None:
        with contextlib.suppress(Exception):
            if self.coverage is not None and test != self.measured:  # takes a while
                self.coverage.switch_context(test)
                self.measured = test

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
            known = getattr(report, "pawl_probe", None) or {"details": cut(str(report.longrepr))}
            self.records.write({"type": "collect", "id": report.nodeid, "outcome": "failed", **known})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: Any) -> None:
        with contextlib.suppress(Exception):
            if os.environ.get("PAWL_PROBE_COVERAGE") and self.records.out and sys.gettrace() is None:
                import coverage

                if coverage.Coverage.current() is None:
                    omit = ["*" + part + "*" for part in PACKAGES]
                    self.coverage = coverage.Coverage(
                        data_file=None, config_file=False, include=[ROOT + "*"], omit=omit
                    )
                    self.coverage.start()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self._measure_for(self._part(item.nodeid))
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: Any) -> None:
        with contextlib.suppress(Exception):
            if self.coverage is not None:
                self.coverage.stop()
                self.records.write({"type": "lines", "lines": self._lines(self.coverage.get_data())})

    def _lines(self, data: Any) -> dict[str, dict[int, tuple[int, int]]]:
        """path -> line -> (failed, passed) tests or parts that ran it, for lines that a failed one ran."""
        found: dict[str, dict[int, tuple[int, int]]] = {}
        # what came before the first part cannot be told from it, and the other parts may build on it
        built: dict[str, set[str]] = {}
        for test in self.partly:
            parts = {test, *(f"{test}\0{number}" for number in range(1, self.parts[test] + 1))}
            built[test] = parts & self.failed if test in self.failed else parts
        for path in data.measured_files():
            for line, tests in data.contexts_by_lineno(path).items():
                # what no test ran but an import, all tests build on
                named = set(tests) - {"", _ASIDE} or self.failed | self.passed
                named = named.union(*(built[test] for test in named & built.keys()))
                failed = len(named & self.failed)
                if failed:
                    found.setdefault(path, {})[line] = (failed, len(named & (self.passed - self.failed)))
        return found

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.records.write({"type": "begin", "id": nodeid})

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.outcome not in ("passed", "failed", "skipped") or (report.passed and report.when != "call"):
            return
        self._counted(report)
        record = {"type": "test", "id": report.nodeid, "when": report.when, "outcome": report.outcome}
        record["duration"] = round(report.duration, 4)
        known = getattr(report, "pawl_probe", None)
        if report.failed and not known:  # what pytest-xdist says of a worker that crashed
            known = {"details": cut(str(report.longrepr or ""))}
        self.records.write({**record, **(known or {})})

    def _counted(self, report: Any) -> None:
        """Which outcome the lines that ran count for."""
        test, ended = report.nodeid, self._part(report.nodeid)
        outcomes = self.failed if report.failed else self.passed
        if type(report).__name__.lower() != "subtestreport":
            if test not in self.partly:  # else it tells what its parts have told
                outcomes.add(ended)
        elif test in self.parts:
            outcomes.add(ended)
            if report.failed:
                self.partly.add(test)
            if self.told < _MAX_PARTS:
                self.told += 1
                self.parts[test] += 1
                self._measure_for(self._part(test))
        elif report.failed:
            self.failed.add(test)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.records.write({"type": "end", "id": nodeid})


def pytest_configure(config: Any) -> None:
    """Only the outermost session and its xdist workers are watched, not sessions that tests start."""
    global _OUT
    worker = hasattr(config, "workerinput")
    if not _OUT and not worker:
        return
    out, _OUT = ("" if worker else _OUT), ""
    with contextlib.suppress(Exception):
        config.pluginmanager.register(_Probe(config, out), "pawl_probe_session")
