"""From events to messages: what a model is shown is a fold over the log, never a list kept beside it.

The fold only ever appends, but for a compaction (`agent.compaction`). A local server can then reuse all that
it read before: its cache is bound to the prefix, so one changed byte early in the prompt costs the reading of
all that follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from agent.compaction import BYTES_PER_TOKEN, View, compacted, weight
from agent.events import (
    AssistantReplied,
    Compacted,
    ConversationStarted,
    Durable,
    FilesRestored,
    Reminded,
    Resumed,
    Steered,
    TodoChanged,
    ToolFinished,
    TurnEnded,
    TurnStarted,
)
from agent.messages import Image, Message, System, ToolCall, ToolResult, User
from agent.models.base import ToolSpec
from tools.checklist import TodoItem

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
    `interrupted` one. More events therefore never change what is there already; they only add to it. Only a
    compaction makes a new beginning. While calls are open the projection ends in them and is not yet a valid
    request.
    """
    return view(events).messages


def view(events: Iterable[Durable]) -> View:
    """The same, with the places of what the person said in the turn that is running."""
    fold = _Fold()
    for event in events:
        if isinstance(event, ConversationStarted):
            fold = _Fold()
            fold.messages += [System(event.system)] if event.system else []
        fold.take(event)
    return fold.view()


class _Fold:
    """The messages so far."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.asked: list[int] = []
        self._todo: tuple[TodoItem, ...] = ()
        self._open: list[ToolCall] = []
        self._arrived: list[ToolResult] = []
        self._restored: list[str] = []

    def view(self) -> View:
        return View(tuple(self.messages), tuple(self.asked), self._todo)

    def take(self, event: Durable) -> None:
        match event:
            case FilesRestored():
                self._restored.append(f"[The user {RESTORED[event.how]}: {event.named}]")
            case Resumed() if event.told:
                self._restored.append(event.told)
            case TurnStarted():
                self.asked.clear()
                self._say(event.text, event.images, asked=True)
            case Steered():
                self._say(event.text, asked=True)
            case Reminded():
                self._say(event.text)
            case TodoChanged():
                self._todo = event.items
            case TurnEnded():
                self.asked.clear()
            case Compacted():
                self._close()
                shown = compacted(self.view(), event)
                self.messages, self.asked = list(shown.messages), list(shown.asked)
            case AssistantReplied():
                self._close()
                self.messages.append(event.message)
                self._open.extend(event.message.tool_calls)
            case ToolFinished() if event.result.call_id in {c.id for c in self._unanswered()}:
                self._arrived.append(event.result)
                self._settle()
            case _:
                pass

    def _say(self, text: str, images: tuple[Image, ...] = (), *, asked: bool = False) -> None:
        self._close()
        if asked:
            self.asked.append(len(self.messages))
        self.messages.append(User("\n\n".join([*self._restored, text]), images))
        self._restored.clear()

    def _settle(self) -> None:
        while self._open and (index := _find(self._arrived, self._open[0].id)) is not None:
            self.messages.append(self._arrived.pop(index))
            self._open.pop(0)

    def _close(self) -> None:
        self._arrived.extend(interrupted(call) for call in self._unanswered())
        self._settle()

    def _unanswered(self) -> list[ToolCall]:
        """The calls without a result. Two calls may share an id; each result then answers one of them."""
        ids = [result.call_id for result in self._arrived]
        left = []
        for call in self._open:
            if call.id in ids:
                ids.remove(call.id)
            else:
                left.append(call)
        return left


def conversation(events: Sequence[Durable]) -> ConversationStarted | None:
    """The opening of the conversation that `project` shows."""
    return next((event for event in reversed(events) if isinstance(event, ConversationStarted)), None)


def bytes_per_token(events: Sequence[Durable], head: int) -> float:
    """As the newest reply tells whose server counted its request; `head` are the bytes of the tools."""
    for place in range(len(events) - 1, -1, -1):
        event = events[place]
        if isinstance(event, AssistantReplied) and event.usage.input_tokens:
            return max((head + weight(project(events[:place]))) / event.usage.input_tokens, 1.0)
    return BYTES_PER_TOKEN


def request_hash(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str:
    """sha256, hexadecimal, of what the model is shown. Equal requests have equal hashes across runs."""
    return hashlib.sha256(msgspec.json.encode((messages, tools))).hexdigest()


def _find(results: Sequence[ToolResult], call_id: str) -> int | None:
    return next((i for i, result in enumerate(results) if result.call_id == call_id), None)
