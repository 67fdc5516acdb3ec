"""The cases of tests/golden/dialects: replies as models write them, and the calls that they hold.

A case has a `name`, a `text` (with `crlf` its line ends are CRLF), if need be `reasoning`, and `calls`: name
and arguments each, `-` for arguments that are told to the model because nobody knows what they mean.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.messages import Assistant
from agent.models.base import ToolSpec
from tools.toolset import default_toolset

FOLDER = Path(__file__).parents[1] / "golden" / "dialects"
TEXT = {"type": "string"}
TODO = {
    "items": {
        "type": "array",
        "items": {"type": "object", "properties": {"text": TEXT, "done": {"type": "boolean"}}},
    },
    "options": {"type": "object"},
}
TOOLS = (
    *(ToolSpec(tool.name, tool.description, tool.parameters) for tool in default_toolset().values()),
    ToolSpec("todo", "Keep a list.", {"type": "object", "properties": TODO, "required": ["items"]}),
)
BROKEN = "-"


class Case(msgspec.Struct, frozen=True):
    dialect: str
    name: str
    text: str
    calls: list[tuple[str, Any]]
    reasoning: str = ""

    def __str__(self) -> str:
        return f"{self.dialect}: {self.name}"


def cases() -> list[Case]:
    return [case for file in sorted(FOLDER.glob("*.toml")) for case in _cases(file)]


def calls_of(message: Assistant) -> list[tuple[str, Any]]:
    return [(call.name, _value(call.arguments)) for call in message.tool_calls]


def _cases(file: Path) -> Iterator[Case]:
    for entry in tomllib.loads(file.read_text())["case"]:
        text = entry["text"].replace("\n", "\r\n") if entry.get("crlf") else entry["text"]
        calls = [call.partition(" ") for call in entry["calls"]]
        expected = [(name, BROKEN if given == BROKEN else json.loads(given)) for name, _, given in calls]
        yield Case(file.stem, entry["name"], text, expected, entry.get("reasoning", ""))


def _value(arguments: str) -> Any:
    try:
        value = json.loads(arguments)
    except ValueError:
        return BROKEN
    return value if isinstance(value, dict) else BROKEN
