"""Deltas to one message. Calls that the model wrote as text are found here, once the reply is whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from agent.messages import Assistant, ToolCall
from agent.models import dialects
from agent.models.base import (
    Delta,
    Finish,
    PromptProgress,
    ReasoningDelta,
    Restart,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
)
from agent.models.dialects import Dialect


class _CallPieces:
    """A native call while it streams."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Assembler:
    """Takes the deltas of one reply in order and makes its message; pieces are joined once, in linear time.

    `tools` are those of the request: without any, text is never read as a call. `id_prefix` begins the ids of
    calls that came without one and must be new in the conversation, such as `call_3_`. `asked` are the
    dialects to try, all known ones when None.
    """

    def __init__(
        self,
        tools: Sequence[ToolSpec] = (),
        *,
        id_prefix: str = "call_",
        asked: Iterable[Dialect] | None = None,
    ) -> None:
        self.finish: Finish | None = None
        """The end of the reply, once it has come."""
        self._tools = tools
        self._prefix = id_prefix
        self._dialects = asked
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _CallPieces] = {}
        self._renamed = False
        """The server gave two calls one id: what it wants back unchanged would name them wrongly."""

    def add(self, delta: Delta) -> None:
        match delta:
            case TextDelta():
                self._text.append(delta.text)
            case ReasoningDelta():
                self._reasoning.append(delta.text)
            case ToolCallDelta():
                pieces = self._calls.setdefault(delta.index, _CallPieces())
                pieces.id = pieces.id or delta.id
                pieces.name = pieces.name or delta.name
                pieces.arguments.append(delta.arguments)
            case Restart():
                self._text.clear()
                self._reasoning.clear()
                self._calls.clear()
            case PromptProgress():
                pass
            case Finish():
                self.finish = delta

    def message(self) -> Assistant:
        """The message so far. Before its end it has no calls, for none is known to be whole."""
        message = self._message()
        if self.finish is None:
            return message
        native = () if self._renamed else self.finish.native
        return msgspec.structs.replace(message, origin=self.finish.origin, native=native)

    def _message(self) -> Assistant:
        text, reasoning = "".join(self._text), "".join(self._reasoning)
        if self.finish is None:
            return Assistant(text, reasoning=reasoning)
        if self._calls:
            return Assistant(text, tool_calls=self._native_calls(), reasoning=reasoning)
        found = dialects.find(text, self._tools, self._prefix, reasoning=reasoning, asked=self._dialects)
        return Assistant(text, tool_calls=found.calls, reasoning=reasoning, dialect=found.dialect)

    def _native_calls(self) -> tuple[ToolCall, ...]:
        calls: list[ToolCall] = []
        taken: set[str] = set()
        for number, (_, pieces) in enumerate(sorted(self._calls.items()), 1):
            self._renamed = self._renamed or pieces.id in taken
            call_id = pieces.id if pieces.id and pieces.id not in taken else f"{self._prefix}{number}"
            taken.add(call_id)
            calls.append(ToolCall(call_id, pieces.name, "".join(pieces.arguments)))
        return tuple(calls)


def assemble(
    deltas: Iterable[Delta], tools: Sequence[ToolSpec] = (), *, id_prefix: str = "call_"
) -> tuple[Assistant, Finish | None]:
    """The message and the end of a reply whose deltas are all there."""
    assembler = Assembler(tools, id_prefix=id_prefix)
    for delta in deltas:
        assembler.add(delta)
    return assembler.message(), assembler.finish
