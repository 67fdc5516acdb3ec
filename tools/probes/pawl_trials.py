"""A pytest plugin: tries many small changes of the code under test, each in a forked child; tells what came.

Loaded by `PYTEST_ADDOPTS="-p pawl_trials"`. Python >= 3.8, pytest 6 to 9, the standard library alone, a
system that forks. Tests are collected once and run in children alone; no file is changed. A child puts the
changed function's `__code__` into all function objects that have the old one, runs the tests that fail, and
where all of them pass the others, until a few do not pass any more.

Environment: PAWL_TRIALS, the file with what to try, as `tools/trying.py` writes it; PAWL_PROBE_OUT, the file
to append JSON lines to (`none`: why nothing was tried; `base`: the tests without a change; `trial`); both are
removed once read. PAWL_PROBE_ROOT, the workspace.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import gc
import json
import os
import select
import signal
import time
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.reports import TestReport
from _pytest.runner import runtestprotocol
from pawl_report import ROOT, Records, alarm

_ASKED = os.environ.pop("PAWL_TRIALS", "")
_OUT = os.environ.pop("PAWL_PROBE_OUT", "") if _ASKED else ""
_SAMPLE_S = 1.0
"""For the tests that passed, of one trial."""
_BROKEN = 3
"""So many tests that pass no more end a trial."""
_STUCK = 2
"""So many failing tests that still fail end a trial; the first one where the next would take a while."""
_WHILE_S = 0.02
_TRIALS = 400
"""For so many there is to be time, where failing tests are slow."""
_BASE_LIMIT_S, _LEAST_LIMIT_S, _SLOWER = 2.0, 0.2, 10.0
_HUNG_LIMIT_S = 0.5
"""For a test that does not end as it is."""
_MORE_S, _MORE = 1.0, 0.5
"""How long trials go on after one that mends all: seconds, or a share of the time until then."""
_MEMORY = 1 << 30
"""Bytes that a child may take more."""
_FLAGS = 0
for _name in __future__.all_feature_names:
    _FLAGS |= getattr(__future__, _name).compiler_flag
_Write = Callable[[Any], None]
_Key = tuple[str, int, str]
"""(file, first line, name) of a code"""


class _PartFailed(BaseException):
    """Ends a test."""


class _Texts:
    """Compiles changes, and knows the functions that are there."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._files = {path: Path(ROOT + path).read_text("utf-8") for path in paths}
        self._trees = {path: ast.parse(text) for path, text in self._files.items()}
        self._before: dict[tuple[str, int], dict[_Key, types.CodeType]] = {}
        self._live: dict[_Key, list[types.FunctionType]] = {}
        self._flags: dict[str, int] = {}
        names = {os.path.realpath(ROOT + path): path for path in self._files}
        known: dict[str, str | None] = {}
        for function in gc.get_objects():
            if type(function) is not types.FunctionType:
                continue
            code = function.__code__
            if code.co_filename not in known:
                known[code.co_filename] = names.get(os.path.realpath(code.co_filename))
            path = known[code.co_filename]
            if path is not None:
                self._live.setdefault((path, code.co_firstlineno, code.co_name), []).append(function)
                self._flags[path] = code.co_flags & _FLAGS

    def changed(
        self, path: str, start: int, end: int, text: str
    ) -> list[tuple[types.FunctionType, types.CodeType]]:
        """The functions that a change of bytes is for, each with its new code; empty when none is there."""
        source = self._files[path].encode()
        above, begin, stop = _part(self._trees[path], source, source.count(b"\n", 0, start) + 1)
        if (path, begin) not in self._before:
            self._before[path, begin] = self._codes(path, above + source[begin:stop])
        old = self._before[path, begin]
        new = self._codes(path, above + source[begin:start] + text.encode() + source[end:stop])
        return [
            (function, code)
            for key, code in new.items()
            if key in old and code != old[key]
            for function in self._live.get(key, ())
            if _fits(function.__code__, code)
        ]

    def _codes(self, path: str, part: bytes) -> dict[_Key, types.CodeType]:
        """Every code of a part of a file that stands on its own lines, if no other begins there."""
        with _quiet():
            whole = compile(
                part.decode(), ROOT + path, "exec", flags=self._flags.get(path, 0), dont_inherit=True
            )
        found: dict[_Key, list[types.CodeType]] = {}
        stack = [whole]
        while stack:
            code = stack.pop()
            found.setdefault((path, code.co_firstlineno, code.co_name), []).append(code)
            stack += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
        return {key: codes[0] for key, codes in found.items() if len(codes) == 1}


def _fits(old: types.CodeType, new: types.CodeType) -> bool:
    """Whether a function may have the one in place of the other: compiled with its module it can differ."""
    arguments = old.co_argcount + old.co_kwonlyargcount
    same = old.co_varnames[:arguments] == new.co_varnames[:arguments] and old.co_flags == new.co_flags
    return same and old.co_freevars == new.co_freevars


def _part(tree: ast.Module, source: bytes, line: int) -> tuple[bytes, int, int]:
    """(what stands above, first byte, byte after the end) of what is to be compiled for a change at `line`.

    It is the statement of the top level, or the method with only the heads of its classes above it: their
    names decide what `__private` and `super()` mean, the rest is left out to be quick. Lines stay where they
    are, as empty ones.
    """
    lines = source.split(b"\n")
    kept: dict[int, bytes] = {}
    node, first, last = _holding(tree.body, line)
    while isinstance(node, ast.ClassDef):
        inner, begins, ends = _holding(node.body, line)
        head = min(_first(child) for child in node.body)
        if inner is None or head <= node.lineno:
            break
        kept.update((number, lines[number - 1]) for number in range(first, head))
        node, first, last = inner, begins, ends
    starts = [0]
    for text in lines:
        starts.append(starts[-1] + len(text) + 1)
    above = b"".join(kept.get(number, b"") + b"\n" for number in range(1, first))
    return above, starts[first - 1], starts[last]


def _holding(body: list[ast.stmt], line: int) -> tuple[ast.stmt | None, int, int]:
    """The statement that holds a line, its first and its last one; None and the line itself for none."""
    for node in body:
        if _first(node) <= line <= (node.end_lineno or node.lineno):
            return node, _first(node), node.end_lineno or node.lineno
    return None, line, line


def _first(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


class _Trials:
    """The hooks of one session."""

    def __init__(self, config: Any, asked: dict[str, Any]) -> None:
        self.config = config
        self.asked = asked
        self.records = Records(_OUT)
        self.part_failed = 0.0
        self.whole = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        try:
            self._all(session)
        except Exception as error:
            self.records.write({"type": "none", "why": f"{type(error).__name__}: {error}"})
        return True

    def _all(self, session: Any) -> None:
        if not hasattr(os, "fork") or self.config.pluginmanager.hasplugin("dsession"):
            self.records.write(
                {"type": "none", "why": "tests run in several processes, or none can be forked"}
            )
            return
        began = time.monotonic()
        items = {item.nodeid: item for item in session.items}
        failing = [items[name] for name in self.asked["failing"] if name in items]
        others = [items[name] for name in self.asked["others"] if name in items]
        with contextlib.suppress(Exception):
            self.config._tmp_path_factory.getbasetemp()  # once, not in each child
        texts = _Texts({trial[0] for trial in self.asked["trials"]})
        gc.collect()
        gc.freeze()
        tests = self._base(failing, others)
        if not tests[0]:
            self.records.write({"type": "none", "why": "no test fails when it is run by itself"})
            return
        limit = sum(limit for _, limit, _ in tests[0]) + _SAMPLE_S + 2.0
        until = began + min(
            self.asked["most"], max(self.asked["seconds"], _TRIALS * tests[0][0][2] / _workers())
        )

        # what mends all is seldom in two places: a while longer the others have their turn
        ends = [until]

        def jobs() -> Iterator[tuple[int, Callable[[_Write], None]]]:
            for number, (path, start, end, text) in enumerate(self.asked["trials"]):
                if time.monotonic() > min(ends):
                    return
                try:
                    changes = texts.changed(path, start, end, text)
                except (SyntaxError, ValueError):
                    continue
                if changes:
                    yield number, lambda write, changes=changes: self._try(write, changes, *tests)  # type: ignore[misc]

        for number, lines in _forked(jobs(), limit, _workers()):
            record: dict[str, Any] = {
                "type": "trial",
                "number": number,
                "of": len(tests[0]),
                "fixed": 0,
                "kept": 0,
                "broken": 0,
            }
            for line in lines:
                record.update(line)
            if record["fixed"] == record["of"] and not record["kept"] + record["broken"] and tests[1]:
                record["broken"] = 1  # it did not live to tell
            if record["fixed"] == record["of"] and not record["broken"]:
                now = time.monotonic()
                ends.append(now + max(_MORE_S, _MORE * (now - began)))
            self.records.write(record)

    def _base(self, failing: list[Any], others: list[Any]) -> tuple[list[Any], list[Any]]:
        """[(test, its limit, its seconds)] of those that fail, and of those that pass, with no change.

        The limit is for all of a test, the seconds are up to where its first part fails.
        """

        def run(write: _Write) -> None:
            self.whole = True
            for which, some, wanted in ((0, failing, False), (1, others, True)):
                until = time.monotonic() + self.asked["seconds"] / 5
                for number, item in enumerate(some):
                    began = time.monotonic()
                    if began > until:
                        break
                    if self._run(item, _BASE_LIMIT_S) == wanted:
                        ended = time.monotonic()
                        write([which, number, (self.part_failed or ended) - began, ended - began])

        tests: tuple[list[Any], list[Any]] = ([], [])
        for _, lines in _forked([(0, run)], self.asked["seconds"] / 2, 1):
            for which, number, seconds, whole in sorted(
                lines, key=lambda line: line[0] * 1e6 + line[2] * (not line[0])
            ):
                hung = whole >= _BASE_LIMIT_S
                limit = _HUNG_LIMIT_S if hung else max(_LEAST_LIMIT_S, _SLOWER * whole)
                tests[which].append(((failing, others)[which][number], limit, seconds))
        self.records.write({"type": "base", "failing": len(tests[0]), "others": len(tests[1])})
        return tests

    def _try(self, write: _Write, changes: list[Any], failing: list[Any], others: list[Any]) -> None:
        for function, code in changes:
            function.__code__ = code
        fixed = stuck = 0
        for item, limit, seconds in failing:
            if stuck >= _STUCK or (stuck and seconds > _WHILE_S):
                break
            passed = self._run(item, limit)
            fixed, stuck = fixed + passed, stuck + (not passed)
        write({"fixed": fixed})
        if fixed < len(failing):
            return
        kept = broken = 0
        until = time.monotonic() + _SAMPLE_S
        for item, limit, _ in others:
            passed = self._run(item, limit)
            kept, broken = kept + passed, broken + (not passed)
            write({"kept": kept, "broken": broken})
            if broken >= _BROKEN or time.monotonic() > until:
                break

    def _run(self, item: Any, limit: float) -> bool:
        """Whether a test passes; unless it is `whole`, it ends where a part of it fails."""
        self.part_failed, passed = 0.0, False
        with alarm(limit, "trial"):
            for report in runtestprotocol(item, log=False, nextitem=None):
                if report.failed or self.part_failed:
                    return False
                passed = passed or (report.when == "call" and report.passed)
        return passed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Of parts of tests alone, as whole ones are run without it."""
        if report.failed:
            self.part_failed = self.part_failed or time.monotonic()
            if not self.whole:
                raise _PartFailed

    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        """As pytest's own, without the text, which takes longer than most tests."""
        error = call.excinfo.value if call.excinfo else None
        longrepr: Any = None
        outcome: Any = "passed"
        if isinstance(error, pytest.skip.Exception):
            outcome, longrepr = "skipped", (str(item.path if hasattr(item, "path") else item.fspath), 0, "")
        elif error is not None:
            outcome = longrepr = "failed"
        return TestReport(item.nodeid, item.location, {}, outcome, longrepr, call.when)


def _workers() -> int:
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(own, 4))


def _forked(
    jobs: Iterable[tuple[int, Callable[[_Write], None]]], limit: float, workers: int
) -> Iterator[tuple[int, list[Any]]]:
    """What each job wrote, by its number; a job that takes longer than `limit` seconds is killed."""
    running: dict[int, tuple[int, int, float, bytearray]] = {}
    waiting = iter(jobs)
    more = True
    while more or running:
        while more and len(running) < workers:
            job = next(waiting, None)
            more = job is not None
            if job is not None:
                pid, reading = _fork(job[1])
                running[reading] = (job[0], pid, time.monotonic() + limit, bytearray())
        ready = select.select(list(running), [], [], 0.05)[0] if running else []
        for reading, (number, pid, until, heard) in list(running.items()):
            data = os.read(reading, 65536) if reading in ready else None
            heard += data or b""
            if data == b"" or time.monotonic() > until:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                os.close(reading)
                os.waitpid(pid, 0)
                del running[reading]
                yield number, [json.loads(line) for line in heard.split(b"\n")[:-1]]


def _fork(job: Callable[[_Write], None]) -> tuple[int, int]:
    """(process, where to read what it writes)"""
    reading, writing = os.pipe()
    with _quiet():
        pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        _bounded()

        def write(line: Any) -> None:
            os.write(writing, (json.dumps(line) + "\n").encode())

        job(write)
    except BaseException:
        pass
    finally:
        os._exit(0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Where the project makes errors of warnings, of a fork beside threads or of odd code, they are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _bounded() -> None:
    """A change may well make a list that never ends."""
    with contextlib.suppress(Exception):
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = taken + _MEMORY if hard == resource.RLIM_INFINITY else min(hard, taken + _MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def pytest_configure(config: Any) -> None:
    global _ASKED
    asked, _ASKED = _ASKED, ""
    if asked:
        with contextlib.suppress(Exception):
            known = json.loads(Path(asked).read_text("utf-8"))
            config.pluginmanager.register(_Trials(config, known), "pawl_trials_session")
