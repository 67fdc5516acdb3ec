"""How code that runs inside the sandbox reports: records in a file; values and exceptions, bounded.

Python >= 3.8, the standard library alone; found beside the probes on PYTHONPATH. The workspace's own reprs
are run for this: one that raises, hangs or is endless costs its own text and no more.

Environment: PAWL_PROBE_ROOT, the workspace, whose frames are told with their local variables.
"""

from __future__ import annotations

import _thread
import contextlib
import itertools
import json
import os
import reprlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = (os.environ.get("PAWL_PROBE_ROOT") or str(Path.cwd())).rstrip(os.sep) + os.sep
PACKAGES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep, os.sep + ".venv" + os.sep)
TOO_LONG = "<took too long>"
_HERE = str(Path(__file__).resolve().parent) + os.sep
_MAX_FILE = 8 * 1024 * 1024
_MAX_TEXT = 4000
_MAX_VALUE = 120
_MAX_LOCALS = 12
_MAX_FRAMES = 24
_MAX_CHAIN = 4
_MAX_BITS = 4096
_MAX_RINGS = 8
_SORTED = 1000


class TestHung(BaseException):
    """Raised inside what does not end; no Exception, so that `except Exception` cannot keep it."""

    __test__ = False


class Records:
    """JSON lines appended to a file, up to 8 MB of a process. A place that cannot be written is no error."""

    def __init__(self, out: str) -> None:
        self.out = out
        self._written = 0

    def write(self, record: dict[str, Any]) -> None:
        if not self.out or self._written > _MAX_FILE:
            return
        try:
            line = (json.dumps(record, default=str) + "\n").encode("utf-8", "replace")
            descriptor = os.open(self.out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
            self._written += len(line)
        except Exception:
            self.out = ""


@contextlib.contextmanager
def alarm(seconds: float, message: str) -> Iterator[None]:
    """Raise TestHung after `seconds`, then every second; a sooner alarm of others wins in the main thread.

    In another thread what waits outside of Python, as `time.sleep` does, is waited for.
    """
    if seconds <= 0 or not hasattr(signal, "setitimer"):
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        with _thread_alarm(seconds):
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


@contextlib.contextmanager
def _thread_alarm(seconds: float) -> Iterator[None]:
    """For a thread that no signal reaches: a second one watches it."""
    try:
        from ctypes import c_ulong, py_object, pythonapi
    except ImportError:
        yield
        return
    thread, over = c_ulong(threading.get_ident()), _thread.allocate_lock()
    over.acquire()

    def watch() -> None:
        for wait in (seconds, *[1.0] * _MAX_RINGS):
            if over.acquire(timeout=wait):
                return
            pythonapi.PyThreadState_SetAsyncExc(thread, py_object(TestHung))

    _thread.start_new_thread(watch, ())
    try:
        yield
    finally:
        over.release()


class Clock:
    """Seconds that the texts of one report may take together; a single one may take `each`."""

    def __init__(self, total: float = 2.0, each: float = 0.25) -> None:
        self.left = total
        self.each = each

    def text(self, make: Callable[[], str]) -> str:
        """What `make` gives, on one line and cut; or why there is nothing."""
        if self.left <= 0:
            return TOO_LONG
        began = time.monotonic()
        try:
            with alarm(min(self.each, self.left), "values"):
                text = make()[: 4 * _MAX_VALUE].replace("\n", " ")
        except TestHung:
            return TOO_LONG
        except BaseException as error:  # a repr may call sys.exit
            return f"<repr failed: {type(error).__name__}>"
        finally:
            self.left -= time.monotonic() - began
        return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 3] + "..."


class _Values(reprlib.Repr):
    """Bounded reprs; an object without a repr of its own is shown by its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = _MAX_VALUE
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxarray = 12
        self.maxdict = 8

    def repr_int(self, x: int, level: int) -> str:
        bits = x.bit_length()  # no alarm stops the making of the digits
        return f"<an int of {bits} bits>" if bits > _MAX_BITS else super().repr_int(x, level)

    def repr_dict(self, x: Any, level: int) -> str:
        """In the dictionary's own order: sorting a large one for each hit of a breakpoint takes too long."""
        if level <= 0 and x:
            return "{...}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in itertools.islice(x.items(), self.maxdict)
        ]
        return "{" + ", ".join(shown + ["..."] * (len(x) > self.maxdict)) + "}"

    def repr_set(self, x: Any, level: int) -> str:
        if len(x) <= _SORTED:
            return super().repr_set(x, level)
        shown = [self.repr1(item, level - 1) for item in itertools.islice(x, self.maxset)]
        return "{" + ", ".join(shown) + ", ...}"

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
shown = _VALUES.repr


def in_workspace(path: str) -> bool:
    return path.startswith(ROOT) and not any(part in path for part in PACKAGES)


def cut(text: str, limit: int = _MAX_TEXT) -> str:
    return text if len(text) <= limit else text[: limit // 4] + "\n...\n" + text[-(limit - limit // 4) :]


def message_of(error: BaseException) -> str:
    try:
        with alarm(0.25, "message"):
            return cut(str(error))
    except BaseException as failed:
        return TOO_LONG if isinstance(failed, TestHung) else f"<str failed: {type(failed).__name__}>"


def headline(error: BaseException) -> str:
    """Such as `KeyError: 'name'`, on one line."""
    first = message_of(error).strip().partition("\n")[0][:_MAX_VALUE]
    return f"{type(error).__name__}: {first}".rstrip(": ")


def values(frame: Any, clock: Clock) -> list[tuple[str, str]]:
    """The local variables that say something: no modules, functions and classes."""
    found: list[tuple[str, str]] = []
    for name, value in list(frame.f_locals.items()):
        if len(found) == _MAX_LOCALS:
            break
        if name.startswith(("@", "__", ".")) or type(value).__name__ in ("module", "function", "type"):
            continue
        found.append((name, clock.text(lambda value=value: shown(value))))  # type: ignore[misc]
    return found


def level(frame: Any, line: int, clock: Clock) -> dict[str, Any]:
    """One frame as a record."""
    code = frame.f_code
    inside = in_workspace(code.co_filename)
    return {
        "path": code.co_filename,
        "line": line,
        "function": getattr(code, "co_qualname", code.co_name).replace(".<locals>", ""),
        "in_workspace": inside,
        "locals": values(frame, clock) if inside else [],
    }


def ends(levels: list[Any]) -> list[Any]:
    """Of a deep recursion the beginning and the end."""
    if len(levels) <= _MAX_FRAMES:
        return levels
    return levels[: _MAX_FRAMES // 3] + levels[-(_MAX_FRAMES - _MAX_FRAMES // 3) :]


def frames(error: BaseException) -> list[dict[str, Any]]:
    """Frames of the exception, outermost first, then those of the ones in its group and of its causes."""
    found: list[dict[str, Any]] = []
    clock, known = Clock(), {id(error)}
    chain = [("", error)]
    for link, one in itertools.islice(_growing(chain), _MAX_CHAIN):
        places = []
        trace = one.__traceback__
        while trace is not None:
            if not foreign(trace.tb_frame.f_code.co_filename):
                places.append((trace.tb_frame, trace.tb_lineno))
            trace = trace.tb_next
        told = [level(frame, line, clock) for frame, line in ends(places)]
        if isinstance(one, SyntaxError) and one.filename:
            # the place of the fault has no frame: nothing of the file ran
            told.append({"path": one.filename, "line": one.lineno or 1, "function": ""})
        if told and link:
            told[0]["chained"] = f"{link} {headline(one)}"
        found += told
        for further in _further(one):
            if id(further[1]) not in known:
                known.add(id(further[1]))
                chain.append(further)
    return found


def _growing(chain: list[Any]) -> Iterator[Any]:
    """The items of a list that becomes longer meanwhile."""
    yield from chain


def _further(error: BaseException) -> list[tuple[str, BaseException]]:
    """What else was raised with an exception: the members of a group, and what it was raised from."""
    members = getattr(error, "exceptions", ()) if "ExceptionGroup" in type(error).__name__ else ()
    found = [("in the group:", member) for member in members]
    if error.__cause__ is not None:
        found.append(("caused by", error.__cause__))
    elif error.__context__ is not None and not error.__suppress_context__:
        found.append(("raised while handling", error.__context__))
    return found


def foreign(path: str) -> bool:
    """Frames of pawl's own and of test frameworks, which tell nothing."""
    parts = path.replace(os.sep, "/").split("/")
    return "_pytest" in parts or "pluggy" in parts or path.startswith(("<frozen", _HERE))
