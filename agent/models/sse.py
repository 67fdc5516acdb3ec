"""Server-Sent Events, parsed as the bytes come in, whatever way the network cut them.

Follows the event stream format of the WHATWG HTML standard, section 9.2.6, as far as model APIs need it: only
`data` fields count. Pure: no I/O, no clock.
"""

from __future__ import annotations

DONE = b"[DONE]"
"""Data of the last event in OpenAI's protocols."""

MAX_EVENT_BYTES = 32 * 2**20

_BOM = b"\xef\xbb\xbf"


class SSEParser:
    """Feed chunks, get the data of every event that is complete.

    Data stays bytes: a character cut between two chunks is whole again once its line is. An event that the
    stream's end cuts off is never given out, as the standard demands.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        """Pieces of the line that has no end yet; joined once, so a long line costs linear time."""
        self._line_bytes = 0
        self._data: list[bytes] = []
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the data of the events that they complete, in order.

        Raises ValueError when an event is larger than MAX_EVENT_BYTES.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        events: list[bytes] = []
        for line in chunk.splitlines(keepends=True):
            if not line.endswith((b"\n", b"\r")):
                self._keep(line)
                break
            whole = line.rstrip(b"\r\n")
            if self._line:
                self._line.append(whole)
                whole = b"".join(self._line)
                self._line.clear()
                self._line_bytes = 0
            self._take(whole, events)
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return events

    def _keep(self, piece: bytes) -> None:
        self._line.append(piece)
        self._line_bytes += len(piece)
        if self._line_bytes > MAX_EVENT_BYTES:
            raise ValueError(f"an event of more than {MAX_EVENT_BYTES} bytes")

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data.clear()
        elif line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            self._data.append(b"")
