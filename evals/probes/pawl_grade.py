"""A pytest plugin for grading: says which tests were found and how each ended, signed.

Loaded by `PYTEST_ADDOPTS="-p pawl_grade"` from a read-only folder. Python >= 3.7, pytest 5 to 9, the standard
library alone. It changes no outcome.

The key comes as the first 32 bytes of stdin, read before anything of the workspace is imported. Each line of
PAWL_GRADE_OUT is a record's JSON, a blank and the HMAC of it, chained with the one before: other processes,
and code that only knows the file, can cut records off but forge none. Code in this very process can look for
the key in memory. No plugin can prevent that; `evals.integrity` looks for code that tries.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
import unittest
import unittest.case
from collections.abc import Callable
from typing import Any

import _pytest.python
import _pytest.reports
import _pytest.runner
import _pytest.skipping
import pluggy
import pytest

_WATCHED: list[tuple[Any, tuple[str, ...]]] = [
    (
        unittest.case.TestCase,
        ("run", "__call__", "debug", "assertEqual", "assertTrue", "assertFalse", "fail"),
    ),
    (unittest.case.TestCase, ("assertRaises", "assertIn", "_callTestMethod", "_baseAssertEqual", "skipTest")),
    (_pytest.runner, ("runtestprotocol", "call_runtest_hook", "pytest_runtest_call", "call_and_report")),
    (_pytest.runner, ("pytest_runtest_makereport",)),
    (_pytest.reports.TestReport, ("__init__", "from_item_and_call")),
    (_pytest.python.Function, ("runtest", "setup")),
    (_pytest.python, ("pytest_pyfunc_call", "pytest_pycollect_makeitem")),
    (_pytest.skipping, ("pytest_runtest_setup", "pytest_runtest_makereport")),
    (pluggy.HookCaller if hasattr(pluggy, "HookCaller") else pluggy._hooks._HookCaller, ("__call__",)),
    (pytest, ("raises", "skip", "fail", "approx", "mark")),
    (time, ("time", "monotonic", "perf_counter", "process_time")),
    (sys, ("exit",)),
    (os, ("_exit", "write", "open")),
    (hmac, ("new", "digest")),
    (json, ("dumps",)),
]


def _state() -> dict[str, Any]:
    return {
        getattr(owner, "__name__", str(owner)) + "." + name: vars(owner).get(name)
        for owner, names in _WATCHED
        for name in names
    }


_BEFORE = _state()
_DUMPS, _WRITE, _NEW, _RESOLVE = json.dumps, os.write, hmac.new, os.path.realpath


def _channel() -> Callable[..., None] | None:
    """A function that signs and writes one record; None when nobody asked for records."""
    path = os.environ.pop("PAWL_GRADE_OUT", "")
    if not path:
        return None
    key = b""
    while len(key) < 32:
        more = os.read(0, 32 - len(key))
        if not more:
            break
        key += more
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if len(key) < 32:
        return None
    out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
    last = [b""]

    def record(**values: Any) -> None:
        line = _DUMPS(values).encode()
        last[0] = _NEW(key, last[0] + line, hashlib.sha256).hexdigest().encode()
        _WRITE(out, line + b" " + last[0] + b"\n")

    return record


_RECORD = _channel()


class _Grade:
    def __init__(self, config: Any, record: Callable[..., None]) -> None:
        self.config = config
        self.record = record
        self.tests: set[str] = set()
        self.running = False
        if hasattr(sys, "addaudithook"):
            sys.addaudithook(self._opened)
        record(type="start", pytest=pytest.__version__, python=sys.version.split()[0])

    def pytest_collection_finish(self, session: Any) -> None:
        self.record(type="collected", ids=[item.nodeid for item in session.items])
        self.tests = {_RESOLVE(str(item.fspath)) for item in session.items}
        self._changed("collection")

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.record(type="collect_error", id=report.nodeid, message=str(report.longrepr)[-2000:])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        message = "" if report.outcome == "passed" else str(report.longrepr)[-2000:]
        self.record(
            type="test",
            id=report.nodeid,
            when=report.when,
            outcome=report.outcome,
            xfail=hasattr(report, "wasxfail"),
            duration=round(getattr(report, "duration", 0.0), 4),
            message=message,
        )

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Any:
        self.running = True
        yield
        self.running = False

    def _opened(self, event: str, args: Any) -> None:
        """Tell what opens a file of tests while a test runs: what is expected stands there."""
        if event != "open" or not self.running or isinstance(args[0], int):
            return
        try:
            path = _RESOLVE(os.fsdecode(args[0]))
        except Exception:  # a test may have replaced the file system
            return
        if path in self.tests:
            files: list[str] = []
            step: Any = sys._getframe(1)
            while step is not None:
                files.append(step.f_code.co_filename)
                step = step.f_back
            self.record(type="read", ids=list(dict.fromkeys(files)))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        """Tell from where a test was made to be expected to fail while it ran: that counts as passed."""
        yield
        if call.excinfo is not None and isinstance(call.excinfo.value, pytest.xfail.Exception):
            files, step = [], call.excinfo.tb
            while step is not None:
                files.append(step.tb_frame.f_code.co_filename)
                step = step.tb_next
            self.record(type="xfail", id=item.nodeid, ids=files)

    def _changed(self, when: str) -> None:
        now = _state()
        names = [name for name in _BEFORE if now.get(name) is not _BEFORE[name]]
        if names:
            self.record(type="changed", when=when, names=names)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: Any, exitstatus: Any) -> None:
        self._changed("end")
        plugins = []
        for plugin in self.config.pluginmanager.get_plugins():
            path = getattr(plugin, "__file__", "") or ""
            if not path:
                path = getattr(sys.modules.get(type(plugin).__module__), "__file__", "") or ""
            if path:
                plugins.append(path)
        self.record(type="finish", exit=int(exitstatus), collected=session.testscollected, plugins=plugins)


def pytest_configure(config: Any) -> None:
    """Only the outermost session is told of: its record function is used up."""
    global _RECORD
    record, _RECORD = _RECORD, None
    if record is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Grade(config, record), "pawl_grade_session")
