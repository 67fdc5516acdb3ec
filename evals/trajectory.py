"""A rollout's session log as entries that a page or a terminal can show, in order.

The log may be broken or written by another program, so nothing in it is taken for granted; what is not
understood is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

Part = tuple[str, str]
"""Kind and text. The kinds: text, reasoning, arguments, output, error."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened. As an array, for a page that holds thousands of them."""

    kind: str
    """say (the model), call, result, user, check, attempt, note, end, begin."""
    title: str
    detail: str
    """Figures, such as tokens and seconds, in words."""
    at: float
    """Seconds since the log began."""
    step: int
    parts: tuple[Part, ...] = ()


def entries(events: Iterable[dict[str, Any]]) -> list[Entry]:
    """What the events of a session log say; those that have no form here are left out."""
    found = []
    begin: datetime | None = None
    for event in events:
        made = _FORMS.get(str(event["type"]), _nothing)(_Fields(event))
        moment = _moment(event.get("at"))
        begin = begin or moment
        if made is not None:
            kind, title, detail, parts = made
            seconds = (moment - begin).total_seconds() if moment and begin else 0.0
            step = event.get("step")
            texts = tuple(part for part in parts if part[1])
            found.append(Entry(kind, title, detail, seconds, step if isinstance(step, int) else 0, texts))
    return found


_Made = tuple[str, str, str, list[Part]]


class _Fields:
    """A JSON object of which any field may be missing or of another kind."""

    def __init__(self, raw: object) -> None:
        self.raw = raw if isinstance(raw, dict) else {}

    def text(self, name: str) -> str:
        value = self.raw.get(name)
        return (
            value if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()
        )

    def number(self, name: str) -> float:
        value = self.raw.get(name)
        return value if isinstance(value, int | float) else 0

    def inner(self, name: str) -> _Fields:
        return _Fields(self.raw.get(name))

    def many(self, name: str) -> list[Any]:
        value = self.raw.get(name)
        return value if isinstance(value, list) else []


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _nothing(event: _Fields) -> _Made | None:
    del event
    return None


def _began(event: _Fields) -> _Made:
    tools = [_Fields(tool).text("name") for tool in event.many("tools")]
    detail = f"tools: {', '.join(tools)}" if tools else "no tools"
    return "begin", event.text("model"), detail, [("text", event.text("system"))]


def _said(event: _Fields) -> _Made:
    message, usage = event.inner("message"), event.inner("usage")
    detail = (
        f"{usage.number('input_tokens'):,.0f} tokens read "
        f"({usage.number('cached_input_tokens'):,.0f} cached), "
        f"{usage.number('output_tokens'):,.0f} written, {event.number('duration_s'):.1f} s"
    )
    reason = event.text("reason")
    return (
        "say",
        "model" + (f" ({reason})" if reason not in ("", "stop", "tool_calls") else ""),
        detail,
        [("reasoning", message.text("reasoning")), ("text", message.text("text"))],
    )


def _called(event: _Fields) -> _Made:
    call = event.inner("call")
    return "call", call.text("name"), event.text("effect"), [("arguments", call.text("arguments"))]


def _answered(event: _Fields) -> _Made:
    result = event.inner("result")
    failed = result.raw.get("is_error") is True
    kind = "error" if failed else "output"
    title = result.text("name") + (" failed" if failed else "")
    return "result", title, f"{event.number('duration_s'):.1f} s", [(kind, result.text("text"))]


def _checked(event: _Fields) -> _Made:
    counts = ", ".join(f"{count} {name}" for name, count in event.inner("tests").raw.items() if count)
    ended = event.text("killed") or f"exit {event.text('exit_code') or 'unknown'}"
    command = " ".join(str(word) for word in event.many("command"))
    detail = ", ".join(part for part in (ended, counts, f"{event.number('duration_s'):.1f} s") if part)
    return "check", f"check ({event.text('where')})", detail, [("arguments", command)]


def _attempt_began(event: _Fields) -> _Made:
    title = f"attempt {event.number('number'):.0f} of {event.number('of'):.0f}"
    detail = f"{event.text('strategy')}, temperature {event.number('temperature'):g}"
    return "attempt", title, detail, [("text", event.text("target"))]


def _attempt_ended(event: _Fields) -> _Made:
    title = f"attempt {event.number('number'):.0f}: {event.text('outcome')}"
    return "attempt", title, f"{event.number('duration_s'):.1f} s", [("text", event.text("detail"))]


def _noted(event: _Fields) -> _Made:
    level = event.text("level")
    return "note", level, "", [("error" if level == "error" else "text", event.text("text"))]


def _set_up(event: _Fields) -> _Made:
    how = "kept from before" if event.raw.get("reused") is True else f"exit {event.text('exit_code')}"
    return "note", "set-up", how, [("arguments", event.text("command"))]


def _network(event: _Fields) -> _Made:
    allowed = "allowed" if event.raw.get("allowed") is True else "refused"
    place = f"{event.text('host')}:{event.number('port'):.0f}"
    return "note", f"network {allowed}", place, [("text", event.text("reason"))]


_FORMS: dict[str, Callable[[_Fields], _Made | None]] = {
    "conversation_started": _began,
    "turn_started": lambda event: ("user", "user", "", [("text", event.text("text"))]),
    "reminded": lambda event: ("user", "pawl", "", [("text", event.text("text"))]),
    "assistant_replied": _said,
    "tool_started": _called,
    "tool_finished": _answered,
    "check_ran": _checked,
    "attempt_started": _attempt_began,
    "attempt_ended": _attempt_ended,
    "noted": _noted,
    "setup_ran": _set_up,
    "network_decided": _network,
    "turn_ended": lambda event: ("end", event.text("status"), "", [("text", event.text("detail"))]),
}
