"""What the grading plugin wrote, checked and understood. Pure.

A record counts only if its signature, chained over all before it, is right; the first one that is not ends
the reading, and is told.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

import msgspec

Outcome = Literal["passed", "failed", "error", "skipped", "xfailed"]


class Record(msgspec.Struct):
    type: str
    id: str = ""
    ids: list[str] = []
    when: str = ""
    outcome: str = ""
    xfail: bool = False
    duration: float = 0.0
    message: str = ""
    names: list[str] = []
    plugins: list[str] = []
    exit: int = 0
    collected: int = 0


class Ended(msgspec.Struct, frozen=True):
    """How one test ended."""

    outcome: Outcome
    message: str = ""
    duration: float = 0.0


class Readback(msgspec.Struct):
    """One session of pytest."""

    started: bool = False
    finished: bool = False
    exit: int = -1
    collected: tuple[str, ...] = ()
    tests: dict[str, Ended] = {}
    collect_errors: dict[str, str] = {}
    changed: tuple[str, ...] = ()
    """Functions of the test framework and the clock that something replaced and did not put back."""
    plugins: tuple[str, ...] = ()
    """Files of the plugins that were loaded."""
    xfails: tuple[str, ...] = ()
    """Files whose code was running when it said of a test, while that ran, that it is to fail."""
    readers: tuple[tuple[str, ...], ...] = ()
    """For each file of tests that was opened while a test ran: whose code was running, inmost first."""
    forged: int = 0
    """Lines that carry no right signature."""

    @property
    def tests_s(self) -> float:
        return sum(test.duration for test in self.tests.values())


_decoder = msgspec.json.Decoder(Record)


def read(data: bytes, key: bytes) -> Readback:
    """Understand the lines of one session. `key` is what its plugin was given."""
    found = Readback()
    last = b""
    lines = data.splitlines()
    for number, line in enumerate(lines):
        text, _, sign = line.rpartition(b" ")
        expected = hmac.new(key, last + text, hashlib.sha256).hexdigest().encode()
        if not hmac.compare_digest(expected, sign):
            found.forged = len(lines) - number
            break
        last = expected
        _add(found, _decoder.decode(text))
    return found


def _add(found: Readback, record: Record) -> None:
    match record.type:
        case "start":
            found.started = True
        case "collected":
            found.collected = tuple(record.ids)
        case "collect_error":
            found.collect_errors[record.id] = record.message
        case "test":
            _add_test(found, record)
        case "changed":
            found.changed = tuple(dict.fromkeys((*found.changed, *record.names)))
        case "xfail":
            found.xfails = tuple(dict.fromkeys((*found.xfails, *record.ids)))
        case "read":
            found.readers = tuple(dict.fromkeys((*found.readers, tuple(record.ids))))
        case "finish":
            found.finished, found.exit = True, record.exit
            found.plugins = tuple(record.plugins)


def _add_test(found: Readback, record: Record) -> None:
    """The worst of a test's phases counts; a failure outside of its call is an error."""
    old = found.tests.get(record.id)
    outcome: Outcome
    if record.outcome == "failed":
        outcome = "failed" if record.when == "call" else "error"
    elif record.outcome == "skipped":
        outcome = "xfailed" if record.xfail else "skipped"
    else:
        outcome = "passed"
    if old is not None and old.outcome in ("failed", "error"):
        outcome = old.outcome
    seconds = record.duration + (old.duration if old else 0.0)
    message = record.message or (old.message if old else "")
    found.tests[record.id] = Ended(outcome, message, seconds)
