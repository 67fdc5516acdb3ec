"""What a command printed, as text that is safe and short enough to show."""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

# CSI, OSC (ended by BEL or ST), other two-byte escapes: ECMA-48, sections 5.4 and 5.6
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_IN_MEMORY = 256 * 1024
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")


_MAGIC = {
    b"%PDF": "a PDF",
    b"\x7fELF": "a program or library",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip data",
    b"SQLite format 3": "an SQLite database",
}


def kind_of(data: bytes) -> str:
    """What binary data is by its first bytes: `, a zip archive`; empty when that is not known."""
    return next((f", {kind}" for magic, kind in _MAGIC.items() if data.startswith(magic)), "")


def decode(data: bytes) -> str:
    r"""UTF-8; bytes that are not are shown as `\xNN`."""
    return data.decode("utf-8", "backslashreplace")


def readable(data: bytes) -> str:
    """Decoded output as a terminal would leave it: no control codes, progress lines in their last state."""
    text = _ESCAPES.sub("", decode(data)).replace("\r\n", "\n")
    lines = [_overwritten(line) if "\r" in line or "\b" in line else line for line in text.split("\n")]
    return _CONTROLS.sub("", "\n".join(lines))


def _overwritten(line: str) -> str:
    """The last state of a line that was drawn over itself."""
    states = [state for state in re.sub(r"[^\r]\x08", "", line).split("\r") if state]
    return states[-1] if states else ""


def ended_line(text: str) -> str:
    """The text with its last line ended, so that something can stand on the next."""
    return text if not text or text.endswith("\n") else text + "\n"


def clip(text: str, *, limit: int = 16_000, lines: int = 400, total: int = 0) -> str:
    """At most about `limit` bytes and `lines` lines: a quarter from the head, the rest from the tail.

    Errors stand at the end, what was started stands at the beginning. Cut at line ends where there are any; a
    line between says how much was left out. `total` is the size of the whole, when the middle of it is
    missing in `text` already.
    """
    if len(text.encode("utf-8", "surrogatepass")) <= limit and text.count("\n") <= lines:
        return text
    rows = text.splitlines(keepends=True)
    head = _fill(rows, limit // 4, lines // 4)
    tail = _fill(rows[::-1], limit - limit // 4, lines - lines // 4)
    if len(head) + len(tail) >= len(rows) or not tail:
        return _clip_characters(text, limit, total)
    left = rows[len(head) : len(rows) - len(tail)]
    what = f"{len(left)} lines, {_size(left)} bytes"
    if total:
        what = f"{total - _size(head) - _size(tail)} bytes"
    return f"{''.join(head)}... [{what} left out] ...\n{''.join(reversed(tail))}"


def _size(rows: list[str]) -> int:
    return len("".join(rows).encode("utf-8", "surrogatepass"))


def _fill(rows: list[str], limit: int, lines: int) -> list[str]:
    taken: list[str] = []
    for row in rows[:lines]:
        limit -= len(row.encode("utf-8", "surrogatepass"))
        if limit < 0:
            break
        taken.append(row)
    return taken


def _clip_characters(text: str, limit: int, total: int) -> str:
    """For lines longer than the whole limit."""
    data = text.encode("utf-8", "surrogatepass")
    head, tail = data[: limit // 4], data[len(data) - (limit - limit // 4) :]
    gap = f"\n... [{(total or len(data)) - len(head) - len(tail)} bytes left out] ...\n"
    return head.decode("utf-8", "ignore") + gap + tail.decode("utf-8", "ignore")


def save_whole(folder: Path, name: str, data: bytes) -> Path:
    """Keep the whole of an output as `folder/name-N.log`, N counting up; gives the path."""
    with _next_log(folder, name) as file:
        file.write(data)
    return Path(file.name)


class Spill:
    """An output as it comes: a short one stays in memory, a longer one goes to `folder/name-N.log`.

    The file is open only while something is written: a job may be silent for hours, and there may be many.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._memory = bytearray()
        self._path: Path | None = None
        self._kept = False

    def write(self, data: bytes) -> None:
        self._memory += data
        if self._kept or len(self._memory) > _IN_MEMORY:
            self._save()

    def _save(self) -> Path:
        if self._path is None:
            with _next_log(self._folder, self._name) as file:
                self._path = Path(file.name)
        with self._path.open("ab") as file:
            file.write(self._memory)
        self._memory.clear()
        return self._path

    def keep(self) -> Path:
        """Write what came so far and give the file's path; what comes later is written as it comes."""
        self._kept = True
        return self._save()

    def drop(self) -> None:
        """Keep nothing. After `keep` it does nothing."""
        if self._path is not None and not self._kept:
            self._path.unlink()


def _next_log(folder: Path, name: str) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        with suppress(FileExistsError):
            return (folder / f"{name}-{number}.log").open("xb")
    raise AssertionError("counting has no end")
