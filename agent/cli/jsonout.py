"""`--output-format stream-json`: `init`, the events as logged, and exactly one `result` at the end."""

from __future__ import annotations

import json
from typing import BinaryIO

import msgspec

from agent import pictures
from agent.events import AnyEvent, Ephemeral
from agent.result import Result
from agent.session import Envelope


class JsonStream:
    """A sink of the bus that writes one JSON object a line. Deltas are left out: messages come whole."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def init(self, session_id: str, command: str, cwd: str, version: str) -> None:
        self._write(
            {"type": "init", "session_id": session_id, "command": command, "cwd": cwd, "version": version}
        )

    def __call__(self, event: AnyEvent, envelope: Envelope) -> None:
        if not isinstance(event, Ephemeral):
            body = msgspec.to_builtins(event)
            pictures.named(body)
            self._write({**msgspec.to_builtins(envelope), **body})

    def result(self, result: Result) -> None:
        self._write(result.as_dict())

    def _write(self, record: dict[str, object]) -> None:
        # file names that are not UTF-8 have lone surrogates, which no JSON reader takes
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
        self._out.write(line.encode("utf-8", "replace"))
        self._out.flush()
