"""Frames between the host and the agent, without blocking.

A frame is two big-endian 32-bit lengths, a JSON header in ASCII and a raw payload.
"""

from __future__ import annotations

import collections
import json
import os
import struct
from collections.abc import Iterator
from typing import Any, Deque, Dict

Header = Dict[str, Any]

_LENGTHS = struct.Struct(">II")
_FRAME_BYTES = 64 * 1024 * 1024
_BLOCK = 256 * 1024


class HungUp(Exception):
    """The host is gone, or what it sends makes no sense."""


class Channel:
    """Both directions. `queued` counts the bytes that wait for the host to take them."""

    def __init__(self, inward: int, outward: int) -> None:
        self.inward, self.outward = inward, outward
        self.queued = 0
        self._incoming = bytearray()
        self._outgoing: Deque[memoryview] = collections.deque()
        os.set_blocking(inward, False)
        os.set_blocking(outward, False)

    def send(self, header: Header, payload: bytes = b"") -> None:
        text = json.dumps(header).encode("ascii")
        frame = memoryview(_LENGTHS.pack(len(text), len(payload)) + text + payload)
        self._outgoing.append(frame)
        self.queued += len(frame)

    def flush(self) -> None:
        """Write what the host takes now; raises HungUp."""
        while self._outgoing:
            try:
                written = os.write(self.outward, self._outgoing[0])
            except BlockingIOError:
                return
            except OSError:
                raise HungUp from None
            self.queued -= written
            if written == len(self._outgoing[0]):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = self._outgoing[0][written:]

    def receive(self) -> Iterator[tuple[Header, bytes]]:
        """Read once; yields the frames that are complete; raises HungUp."""
        try:
            data = os.read(self.inward, _BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise HungUp
        self._incoming += data
        while len(self._incoming) >= _LENGTHS.size:
            header, payload = _LENGTHS.unpack_from(self._incoming)
            middle, end = _LENGTHS.size + header, _LENGTHS.size + header + payload
            if end > _FRAME_BYTES:
                raise HungUp
            if len(self._incoming) < end:
                return
            text = bytes(self._incoming[_LENGTHS.size : middle])
            body = bytes(self._incoming[middle:end])
            del self._incoming[:end]
            yield json.loads(text), body
