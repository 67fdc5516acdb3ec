"""From events to messages: what a model is shown is a fold over the log, never a list kept beside it.

The fold only ever appends. A local server can then reuse everything that it read before: its cache is bound
to the prefix, so one changed byte early in the prompt costs the reading of all that follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from agent.events import (
    AssistantReplied,
    ConversationStarted,
    Durable,
    FilesRestored,
    Reminded,
    ToolFinished,
    TurnStarted,
)
from agent.messages import Message, System, ToolCall, ToolResult, User
from agent.models.base import ToolSpec

RESTORED = {
    "undo": "undid the file changes of your last step",
    "redo": "did the file changes again that had been undone",
    "undo_accept": "took your applied changes out of the project",
}
INTERRUPTED = "The call was interrupted before it finished."


def interrupted(call: ToolCall) -> ToolResult:
    """The result of a call that never got one of its own."""
    return ToolResult(call.id, call.name, INTERRUPTED, is_error=True)


def project(events: Iterable[Durable]) -> tuple[Message, ...]:
    """The messages of the last conversation that was started on this line of events.

    Every call gets exactly one result, in the order in which the calls were written: a result waits for those
    before it, and a call that is still open when the next user or assistant message comes gets an
    `interrupted` one. More events therefore never change what is there already; they only add to it. While
    calls are open the projection ends in them and is not yet a valid request.
    """
    messages: list[Message] = []
    open_calls: list[ToolCall] = []
    arrived: list[ToolResult] = []
    restored: list[str] = []

    def settle() -> None:
        while open_calls and (index := _find(arrived, open_calls[0].id)) is not None:
            messages.append(arrived.pop(index))
            open_calls.pop(0)

    def close() -> None:
        arrived.extend(interrupted(call) for call in _unanswered(open_calls, arrived))
        settle()

    for event in events:
        match event:
            case ConversationStarted():
                messages[:] = [System(event.system)] if event.system else []
                open_calls.clear()
                arrived.clear()
                restored.clear()
            case FilesRestored():
                restored.append(f"[The user {RESTORED[event.how]}: {event.named}]")
            case TurnStarted() | Reminded():
                close()
                images = event.images if isinstance(event, TurnStarted) else ()
                messages.append(User("\n\n".join([*restored, event.text]), images))
                restored.clear()
            case AssistantReplied():
                close()
                messages.append(event.message)
                open_calls.extend(event.message.tool_calls)
            case ToolFinished() if event.result.call_id in {c.id for c in _unanswered(open_calls, arrived)}:
                arrived.append(event.result)
                settle()
            case _:
                pass
    return tuple(messages)


def conversation(events: Sequence[Durable]) -> ConversationStarted | None:
    """The opening of the conversation that `project` shows."""
    return next((event for event in reversed(events) if isinstance(event, ConversationStarted)), None)


def request_hash(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str:
    """sha256, hexadecimal, of what the model is shown. Equal requests have equal hashes across runs."""
    return hashlib.sha256(msgspec.json.encode((messages, tools))).hexdigest()


def _find(results: Sequence[ToolResult], call_id: str) -> int | None:
    return next((i for i, result in enumerate(results) if result.call_id == call_id), None)


def _unanswered(calls: Sequence[ToolCall], arrived: Sequence[ToolResult]) -> list[ToolCall]:
    """The calls without a result. Two calls may share an id; each result then answers one of them."""
    ids = [result.call_id for result in arrived]
    left = []
    for call in calls:
        if call.id in ids:
            ids.remove(call.id)
        else:
            left.append(call)
    return left
