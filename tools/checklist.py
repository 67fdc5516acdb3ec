"""The list of steps that a model keeps with the tool `todo`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Status = Literal["pending", "in_progress", "done"]
_MARKS: dict[Status, str] = {"pending": "[ ]", "in_progress": "[>]", "done": "[x]"}


class TodoItem(msgspec.Struct, frozen=True):
    text: str
    status: Status = "pending"


def checklist(items: Iterable[TodoItem]) -> str:
    """The items, a line each, behind a mark of how they stand."""
    return "\n".join(f"{_MARKS[item.status]} {item.text}" for item in items)


def progress(items: Iterable[TodoItem]) -> str:
    """Such as `2 of 5 done, now: write the test`."""
    items = tuple(items)
    if not items:
        return "the list is empty"
    now = next((item.text for item in items if item.status == "in_progress"), "")
    done = sum(item.status == "done" for item in items)
    return f"{done} of {len(items)} done" + (f", now: {now}" if now else "")
