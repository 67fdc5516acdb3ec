"""Breakpoints that do not stop: each time a line is come by, expressions are evaluated and the values kept.

Python >= 3.8. With `sys.monitoring` (3.12) only the functions that hold a breakpoint are watched, and the
rest runs as ever; before, `sys.settrace` is called for every function and looks up its file.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

from pawl_report import TOO_LONG, Clock, alarm, headline, in_workspace, shown, values

_MAX_NEAR = 2
_MAX_SLOW = 3
_MAX_IDLE = 50_000
_FLUSH_S = 0.5
_QUIET = (StopIteration, StopAsyncIteration, GeneratorExit)
_TOOL = "pawl"


class Point:
    """One breakpoint and what was seen there."""

    def __init__(self, number: int, path: str, line: int, condition: str, kept: int) -> None:
        self.number = number
        self.path = path
        self.line = line
        self.kept = kept
        self.condition = compile(condition, "<condition>", "eval") if condition else None
        self.owner: tuple[str, int] = ("", 0)
        self.near: list[int] = []
        self.trouble = ""
        self._find()
        self.clear()

    def clear(self) -> None:
        self.passed = self.hits = 0
        self.file_ran = self.function_ran = False
        self.last: deque[dict[str, Any]] = deque(maxlen=self.kept)
        self.before: dict[str, str] = {}

    def _find(self) -> None:
        """The function that the line belongs to; a function's own `def` stands for its first line."""
        try:
            tree = ast.parse(Path(self.path).read_bytes(), self.path)
            codes = _codes(compile(tree, self.path, "exec", dont_inherit=True))
        except Exception as error:
            self.trouble = f"the file cannot be compiled: {headline(error)}"
            return
        lines: dict[int, tuple[str, int]] = {}
        for code in codes:  # outer ones first: what a comprehension runs is its function's line
            for line in _lines(code):
                lines.setdefault(line, _key(code))
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._enter(node, lines)
        self.owner = lines.get(self.line, self.owner)
        if self.line not in lines:
            below = sorted((line for line in lines if line < self.line), reverse=True)[:_MAX_NEAR]
            self.near = sorted(below + sorted(line for line in lines if line > self.line)[:_MAX_NEAR])

    def _enter(self, node: ast.FunctionDef | ast.AsyncFunctionDef, lines: dict[int, tuple[str, int]]) -> None:
        body = node.body[1:] if len(node.body) > 1 and ast.get_docstring(node, False) else node.body
        if self.line == node.lineno == body[0].lineno:
            lines[self.line] = (node.name, min([node.lineno, *(d.lineno for d in node.decorator_list)]))
        elif node.lineno <= self.line < node.body[0].lineno:
            self.line = body[0].lineno

    def state(self) -> dict[str, Any]:
        return {
            "type": "point", "point": self.number, "line": self.line, "function": self.owner[0],
            "passed": self.passed, "hits": self.hits, "file_ran": self.file_ran,
            "function_ran": self.function_ran, "near": self.near, "trouble": self.trouble,
            "last": list(self.last),
        }  # fmt: skip


def _codes(code: CodeType) -> list[CodeType]:
    found = [code]
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found += _codes(inner)
    return found


def _key(code: CodeType) -> tuple[str, int]:
    """The first line of a module depends on who compiled it."""
    return (code.co_name, 0 if code.co_name == "<module>" else code.co_firstlineno)


def _lines(code: CodeType) -> set[int]:
    return {line for _, line in dis.findlinestarts(code) if line}


class Tracer:
    """Watches the breakpoints in all threads of this process."""

    def __init__(
        self,
        points: list[Point],
        expressions: list[str],
        most: int,
        caught: Callable[[Any, BaseException], None] | None,
        write: Callable[[dict[str, Any]], None],
    ) -> None:
        self.points = points
        self.expressions = [(text, compile(text, "<expression>", "eval")) for text in expressions]
        self._most = most
        self.caught = caught
        self.write = write
        self.engine = "none"
        self._monitoring: Any = getattr(sys, "monitoring", None)
        self._files: dict[str, list[Point]] = {}
        for point in points:
            self._files.setdefault(os.path.realpath(point.path), []).append(point)
        self._names: dict[str, list[Point]] = {}
        """What a code object calls its file -> the breakpoints in that file."""
        self._idle: dict[int, CodeType] = {}
        """Functions that `sys.settrace` need not watch."""
        self._slow: dict[str, int] = {}
        self._written = 0.0

    def start(self) -> None:
        if not self.points and self.caught is None:
            return
        if self._monitoring is not None:
            self.engine = "monitoring" if self._monitor() else "none"
        else:
            self.engine = "settrace"
            threading.settrace(self._called)
            sys.settrace(self._called)

    def displaced(self) -> bool:
        """Whether the program took the tracer's place (of `sys.settrace` there is one)."""
        return self.engine == "settrace" and sys.gettrace() != self._called

    def flush(self) -> None:
        for point in self.points:
            self.write(point.state())
        self._written = time.monotonic()

    def _watched(self, name: str) -> list[Point]:
        """The breakpoints in a file, by what code objects call it."""
        if name not in self._names:
            self._names[name] = self._files.get(os.path.realpath(name), [])
        return self._names[name]

    def _entered(self, code: CodeType, points: list[Point]) -> bool:
        key, here = _key(code), False
        for point in points:
            known = point.file_ran, point.function_ran
            here |= point.owner == key
            point.file_ran, point.function_ran = True, point.function_ran or point.owner == key
            if known != (point.file_ran, point.function_ran):
                self.write(point.state())
        return here

    # sys.monitoring

    def _monitor(self) -> bool:
        monitoring = self._monitoring
        free = [number for number in range(6) if monitoring.get_tool(number) is None]
        if not free:
            return False
        self._tool = free[0]
        monitoring.use_tool_id(self._tool, _TOOL)
        events = monitoring.events
        monitoring.register_callback(self._tool, events.PY_START, self._started)
        monitoring.register_callback(self._tool, events.LINE, self._came_by)
        wanted = events.PY_START if self.points else 0
        if self.caught is not None:
            monitoring.register_callback(self._tool, events.RAISE, self._raised)
            wanted |= events.RAISE
        monitoring.set_events(self._tool, wanted)
        return True

    def _started(self, code: CodeType, offset: int) -> Any:
        points = self._watched(code.co_filename)
        if points and self._entered(code, points):
            self._monitoring.set_local_events(self._tool, code, self._monitoring.events.LINE)
        return self._monitoring.DISABLE

    def _came_by(self, code: CodeType, line: int) -> Any:
        if self._hit(self._names.get(code.co_filename, []), line, sys._getframe(1)):
            return None
        return self._monitoring.DISABLE

    def _raised(self, code: CodeType, offset: int, error: BaseException) -> None:
        if in_workspace(code.co_filename):
            self._tell_caught(sys._getframe(1), error)

    # sys.settrace

    def _called(self, frame: Any, event: str, arg: Any) -> Any:
        code = frame.f_code
        if id(code) in self._idle:
            return None
        points = self._watched(code.co_filename)
        if points and self._entered(code, points):
            return self._traced
        if self.caught is not None and in_workspace(code.co_filename):
            frame.f_trace_lines = False
            return self._traced
        if len(self._idle) < _MAX_IDLE:
            self._idle[id(code)] = code  # kept, so that the number stays its own
        return None

    def _traced(self, frame: Any, event: str, arg: Any) -> Any:
        if event == "line":
            self._hit(self._names[frame.f_code.co_filename], frame.f_lineno, frame)
        elif event == "exception" and self.caught is not None:
            self._tell_caught(frame, arg[1])
        return self._traced

    # what both do: the interpreter does not watch what such a call runs, a repr for one

    def _tell_caught(self, frame: Any, error: Any) -> None:
        if self.caught is None or not isinstance(error, BaseException) or isinstance(error, _QUIET):
            return
        with contextlib.suppress(BaseException):  # the stack may be full: the program raises that itself
            self.caught(frame, error)

    def _hit(self, points: list[Point], line: int, frame: Any) -> bool:
        """Whether the line is still to be watched."""
        here = [point for point in points if point.line == line and point.hits < self._most]
        with contextlib.suppress(BaseException):
            for point in here:
                self._look(point, frame)
        return bool(here)

    def _look(self, point: Point, frame: Any) -> None:
        if point.owner != _key(frame.f_code):
            return
        point.passed += 1
        # as globals: what an expression defines inside itself sees the function's variables too
        names = {**frame.f_globals, **frame.f_locals}
        if point.condition is not None and not self._holds(point, names):
            return
        point.hits += 1
        told = dict(self._told(frame, names))
        changed = [name for name, text in told.items() if point.before.get(name, text) != text]
        row = {"hit": point.hits, "values": told, "changed": changed, "where": _where(frame)}
        point.before = told
        point.last.append(row)
        if point.hits <= point.kept:
            self.write({"type": "hit", "point": point.number, **row})
            self.write(point.state())
        elif time.monotonic() - self._written > _FLUSH_S:
            self.flush()

    def _holds(self, point: Point, names: dict[str, Any]) -> bool:
        try:
            with alarm(0.25, "condition"):
                return bool(eval(point.condition, names))  # type: ignore[arg-type]  # noqa: S307
        except BaseException as error:
            point.trouble = point.trouble or f"the condition failed: {headline(error)}"
            return False

    def _told(self, frame: Any, names: dict[str, Any]) -> Iterator[tuple[str, str]]:
        if not self.expressions:
            yield from values(frame, Clock(total=0.5))
        for text, code in self.expressions:
            if self._slow.get(text, 0) >= _MAX_SLOW:
                yield text, TOO_LONG
                continue
            told = Clock().text(lambda code=code: _evaluated(code, names))
            self._slow[text] = self._slow.get(text, 0) + (told == TOO_LONG)
            yield text, told


def _evaluated(code: CodeType, names: dict[str, Any]) -> str:
    try:
        value = eval(code, names)  # noqa: S307
    except Exception as error:
        return f"<{headline(error)}>"
    return str(shown(value))


def _where(frame: Any) -> str:
    """Thread, asyncio task and depth of a recursion, as far as they are not the usual ones."""
    found = []
    thread = threading.current_thread()
    if thread is not threading.main_thread():
        found.append(f"thread {thread.name}")
    with contextlib.suppress(Exception):  # no asyncio, no loop, no task
        found.append(f"task {sys.modules['asyncio'].current_task().get_name()}")
    depth, above = 1, frame.f_back
    while above is not None:
        depth += above.f_code is frame.f_code
        above = above.f_back
    return ", ".join(found + [f"depth {depth}"] * (depth > 1))
