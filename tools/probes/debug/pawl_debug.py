"""Watches one Python process of a debugged command: breakpoints, what it failed with, where it stands.

Started by `sitecustomize` before the program. Python >= 3.8, the standard library alone. It changes no
outcome; whatever goes wrong in here is swallowed. Failures of pytest are told by pawl_probe.

Environment: PAWL_DEBUG, JSON: `out` is the file to append JSON lines to, `breakpoints` have path, line and
condition, `expressions` is a list, `caught` asks for exceptions that the program catches; `kept` hits of the
first and of the last are told, after `most` no more are watched. It is left to child processes. On the signal
of the number `signal` the process tells the stack of each thread and asyncio task: first in the interpreter's
own words, which need no bytecode to be run, then, when it comes to that, with the values.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import importlib.util
import json
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from pawl_report import Clock, Records, ends, foreign, frames, headline, level, message_of
from pawl_trace import Point, Tracer

_MAX_FAILURES = 5
_MAX_CAUGHT = 200
_MAX_TASKS = 20


class _Session:
    """What one process tells."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._records = Records(order["out"])
        self._failures: list[BaseException] = []
        self._caught = 0
        self._last_caught: BaseException | None = None
        points = [
            Point(number, one["path"], one["line"], one["condition"], order["kept"])
            for number, one in enumerate(order["breakpoints"])
        ]
        caught = self.caught if order["caught"] else None
        self._signal = order["signal"]
        self._tracer = Tracer(points, order["expressions"], order["most"], caught, self.write)

    def write(self, record: dict[str, Any]) -> None:
        self._records.write({"type": "", "pid": os.getpid(), **record})

    def start(self) -> None:
        self._listen()
        self._hello()
        atexit.register(self.end)
        threading.excepthook = _before(threading.excepthook, self._thread_failed)
        os._exit = _before(os._exit, lambda _: self.end())
        os.register_at_fork(after_in_child=self._forked)
        sys.meta_path.insert(0, _OnImport("unittest.result", self._watch_unittest))
        self._tracer.start()

    def _hello(self) -> None:
        self.write({"type": "start", "python": platform.python_version()})
        self._tracer.flush()

    def _forked(self) -> None:
        for point in self._tracer.points:
            point.clear()
        self._hello()

    def end(self) -> None:
        """What ended the program is still in `sys`, whoever printed it."""
        with contextlib.suppress(Exception):
            self._tell_last()
            self._tracer.flush()
            if self._tracer.displaced():
                self.write({"type": "displaced"})

    def _tell_last(self) -> None:
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if isinstance(error, BaseException) and not _of_pytest(error):
            self.failed("", error)

    def failed(self, where: str, error: BaseException) -> None:
        if len(self._failures) == _MAX_FAILURES or any(error is known for known in self._failures):
            return
        self._failures.append(error)
        told = {"exception": type(error).__name__, "message": message_of(error), "frames": frames(error)}
        self.write({"type": "failure", "id": where, **told})

    def _thread_failed(self, args: Any) -> None:
        if args.exc_type is not SystemExit:
            self.failed(f"thread {args.thread.name if args.thread else '?'}", args.exc_value)

    def caught(self, frame: Any, error: BaseException) -> None:
        """An exception came into a frame of the workspace: told where that was first."""
        if error is self._last_caught or self._caught == _MAX_CAUGHT:
            return
        self._last_caught = error
        self._caught += 1
        told = {"error": headline(error), "frame": level(frame, frame.f_lineno, Clock(total=0.5))}
        self.write({"type": "caught", **told})

    def _watch_unittest(self, module: Any) -> None:
        def add(result: Any, test: Any, err: Any, *_: Any) -> None:
            if err is not None:
                self.failed(test.id(), err[1])

        kind = module.TestResult
        kind.addError = _before(kind.addError, add)
        kind.addFailure = _before(kind.addFailure, add)
        kind.addSubTest = _before(kind.addSubTest, lambda result, test, sub, err: add(result, sub, err))

    def _listen(self) -> None:
        with contextlib.suppress(Exception):
            signal.signal(self._signal, self._tell_stacks)
            descriptor = os.open(
                self._records.out, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            faulthandler.register(self._signal, file=descriptor, all_threads=True, chain=True)

    def _tell_stacks(self, number: int, frame: Any) -> None:
        with contextlib.suppress(Exception):
            clock = Clock()
            running = {**sys._current_frames(), threading.get_ident(): frame}
            stacks = [_stack(_called(i), _levels(f), clock) for i, f in running.items()]
            stacks += [_stack(name, levels, clock) for name, levels in _tasks(running.values())]
            self.write({"type": "stack", "stacks": stacks})
            self._tell_last()
            self._tracer.flush()


class _OnImport:
    """Calls `then` with a module once it is imported, whenever that is."""

    def __init__(self, name: str, then: Any) -> None:
        self._name = name
        self._then = then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                run(module)
                with contextlib.suppress(Exception):
                    self._then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _before(function: Any, tell: Any) -> Any:
    """The function, with `tell` called first with the same arguments."""

    def both(*args: Any, **named: Any) -> Any:
        with contextlib.suppress(Exception):
            tell(*args, **named)
        return function(*args, **named)

    return both


def _of_pytest(error: BaseException) -> bool:
    trace = error.__traceback__
    return trace is not None and "_pytest" in trace.tb_frame.f_code.co_filename


def _called(ident: int) -> str:
    """A thread, in words."""
    if ident == threading.main_thread().ident:
        return "the main thread"
    return next((f"thread {t.name}" for t in threading.enumerate() if t.ident == ident), "a thread")


def _levels(frame: Any) -> list[tuple[Any, int]]:
    found = []
    while frame is not None:
        if not foreign(frame.f_code.co_filename):
            found.append((frame, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def _stack(name: str, levels: list[tuple[Any, int]], clock: Clock) -> dict[str, Any]:
    return {"name": name, "frames": [level(frame, line, clock) for frame, line in ends(levels)]}


def _tasks(running: Any) -> Iterator[tuple[str, list[tuple[Any, int]]]]:
    """The awaiting tasks of the event loops that run: their threads' own stacks end in the loop."""
    for frame in running:
        while frame is not None and frame.f_code.co_name != "run_forever":
            frame = frame.f_back
        if frame is None or not frame.f_code.co_filename.endswith("base_events.py"):
            continue
        asyncio = sys.modules["asyncio"]
        current = asyncio.current_task(frame.f_locals["self"])
        tasks = sorted(asyncio.all_tasks(frame.f_locals["self"]) - {current}, key=lambda t: t.get_name())
        for task in tasks[:_MAX_TASKS]:
            yield f"task {task.get_name()}", list(_awaited(task.get_coro()))


def _awaited(awaitable: Any) -> Iterator[tuple[Any, int]]:
    """The frames of a suspended coroutine and of what it awaits."""
    while awaitable is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaitable, f"{kind}_frame", None)
            if frame is not None:
                yield frame, frame.f_lineno
                further = "gi_yieldfrom" if kind == "gi" else f"{kind}_await"
                awaitable = getattr(awaitable, further, None)
                break
        else:
            return


def start() -> None:
    if os.environ.get("PAWL_DEBUG"):
        _Session(json.loads(os.environ["PAWL_DEBUG"])).start()
