"""What became of each candidate, line by line, so that a miner that is killed goes on where it was.

tasks.jsonl            the rows; written whole again with each new one, so it can be used at any time
tasks.journal.jsonl    a head with what was asked for, then a line a candidate, on the disk before the next
tasks.report.json      why each candidate that is no task was rejected; written at the end
tasks.lock             who works on it
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from evals import lease
from evals.commit import CannotWrite, replace, writing
from evals.contamination import canary_line, new_canary

FORMAT = 2
TASK = "task"


Row = dict[str, Any]
Arrange = Callable[[list[Row]], list[Row]]
"""Puts rows in order, and each in a split."""


class JournalError(Exception):
    """The files of an earlier mining cannot be gone on with. Exit code 2."""

    exit_code = 2


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one candidate."""

    key: str
    outcome: str
    """`task`, or the reason of the rejection."""
    title: str = ""
    detail: str = ""
    seconds: float = 0.0
    row: Row | None = None


class Head(msgspec.Struct, frozen=True):
    """What was asked for. Tasks of one file are all made alike."""

    format: int
    asked: dict[str, Any]
    fixed: dict[str, Any] = {}
    """What was decided at the first start and stays so."""
    canary: str = ""
    """In each row: see `evals.contamination`."""


class Journal:
    """The files of one mining; for who has `held` them."""

    def __init__(self, out: Path, head: Head, arrange: Arrange) -> None:
        self.out = out
        self.head = head
        self.arrange = arrange
        self.entries: dict[str, Entry] = {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The tasks, oldest first, each in its split and with the canary."""
        found = [entry.row for entry in self.entries.values() if entry.row is not None]
        canary = {"canary": self.head.canary}
        return self.arrange([row | {"extra": row["extra"] | canary} for row in found])

    def add(self, entry: Entry) -> None:
        """Keep what became of a candidate. Raises CannotWrite."""
        with writing(_journal(self.out)), _journal(self.out).open("ab", buffering=0) as file:
            line = memoryview(_line(entry))
            while line:
                line = line[file.write(line) :]
            os.fsync(file.fileno())
        self.entries[entry.key] = entry
        if entry.row is not None:
            self.write_rows()

    def write_rows(self) -> None:
        replace(self.out, b"".join(json.dumps(row).encode() + b"\n" for row in self.rows))

    def counts(self) -> Counter[str]:
        return Counter(entry.outcome for entry in self.entries.values())

    def write_report(self, summary: dict[str, Any]) -> Path:
        """All that was found out, but for the rows."""
        entries = [
            {name: getattr(entry, name) for name in ("key", "outcome", "title", "detail", "seconds")}
            for entry in self.entries.values()
        ]
        head = {name: getattr(self.head, name) for name in ("asked", "fixed", "canary")}
        report = {**head, **summary, "candidates": entries}
        path = self.out.with_suffix(".report.json")
        replace(path, json.dumps(report, indent=2).encode() + b"\n")
        return path


@contextmanager
def held(out: Path, asked: dict[str, Any], fixed: dict[str, Any], arrange: Arrange) -> Iterator[Journal]:
    """Go on with the files at `out`, or begin them. `fixed` counts only at the beginning.

    Raises JournalError when they were made otherwise, lease.RunBusy, CannotWrite.
    """
    if out.suffix != ".jsonl":
        raise JournalError(f"{out}: the tasks are written as JSON lines; give a name that ends in .jsonl")
    asked = msgspec.json.decode(msgspec.json.encode(asked))  # as it is read back
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with lease.hold(out.with_suffix(".lock")):
        path = _journal(out)
        if not path.exists():
            if out.exists():
                raise JournalError(f"{out} is there and was not made by this command; choose another --out")
            replace(path, _line(Head(FORMAT, asked, fixed, canary_line(new_canary()))))
        journal = _open(out, path, arrange)
        _require(journal, asked)
        journal.write_rows()
        yield journal
    out.with_suffix(".lock").unlink(missing_ok=True)


def _open(out: Path, path: Path, arrange: Arrange) -> Journal:
    """Read it; a line that a kill tore is cut off."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    try:
        journal = Journal(out, msgspec.json.decode(lines[0] if lines else b"", type=Head), arrange)
        for line in lines[1:]:
            entry = msgspec.json.decode(line, type=Entry)
            journal.entries[entry.key] = entry
    except msgspec.DecodeError as error:
        raise JournalError(f"{path} is broken: {error}; choose another --out") from None
    if journal.head.format != FORMAT:
        raise JournalError(f"{path} has format {journal.head.format}, this pawl writes format {FORMAT}")
    if len(whole) < len(data):
        try:
            os.truncate(path, len(whole))
        except OSError as error:
            raise CannotWrite(f"{path} cannot be written: {error.strerror}") from error
    return journal


def _require(journal: Journal, asked: dict[str, Any]) -> None:
    was = journal.head.asked
    differing = [name for name in sorted({*was, *asked}) if was.get(name) != asked.get(name)]
    if differing:
        listed = "; ".join(f"{name}: {was.get(name)!r}, now {asked.get(name)!r}" for name in differing)
        raise JournalError(
            f"{journal.out} was begun with other settings, and its tasks would not be alike: {listed}. "
            "Ask for what it was begun with, or choose another --out"
        )


def _journal(out: Path) -> Path:
    return out.with_suffix(".journal.jsonl")


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"
