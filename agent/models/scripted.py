"""A model that answers from a list, in this process: for tests and demonstrations without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

import msgspec

from agent.messages import ToolCall, Usage
from agent.models.base import (
    Delta,
    Finish,
    ModelError,
    ReasoningDelta,
    Request,
    StopReason,
    TextDelta,
    ToolCallDelta,
)

PIECE = 4
"""Characters in a streamed piece, about those of a token."""


class Reply(msgspec.Struct, frozen=True):
    """One scripted reply: reasoning, text, then calls, in pieces; then its end, or `error`."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    reason: StopReason | None = None
    """`tool_calls` or `stop` by what the reply holds, when None."""
    usage: Usage = Usage(input_tokens=100, cached_input_tokens=90, output_tokens=10, requests=1)
    error: ModelError | None = None
    """Raised where the end would be; with an empty reply, at once."""
    wait_for: asyncio.Event | None = None
    """The reply begins once this is set."""
    wait_at_end: asyncio.Event | None = None
    """The reply ends once this is set."""


class ScriptExhausted(Exception):
    """More was asked than was written: a defect of the script, or of who asks. No ModelError, so it shows."""


class ScriptedModel:
    """Answers request N with reply N. A plain string is a reply of that text, an error is raised."""

    def __init__(
        self,
        replies: Iterable[Reply | str | ModelError],
        *,
        name: str = "scripted",
        context_tokens: int | None = None,
    ) -> None:
        self.name = name
        self.context_tokens = context_tokens
        self.requests: list[Request] = []
        self.cancelled = 0
        """Streams that were closed before their end."""
        self._replies = [_reply(reply) for reply in replies]

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        number = len(self.requests)
        self.requests.append(request)
        if number >= len(self._replies):
            raise ScriptExhausted(
                f"the script holds {len(self._replies)} replies, this is request {number + 1}"
            )
        reply = self._replies[number]
        ended = False
        try:
            if reply.wait_for:
                await reply.wait_for.wait()
            for delta in _deltas(reply):
                await asyncio.sleep(0)
                yield delta
            if reply.wait_at_end:
                await reply.wait_at_end.wait()
            ended = True
            if reply.error:
                raise reply.error
            yield Finish(reply.reason or ("tool_calls" if reply.tool_calls else "stop"), reply.usage)
        finally:
            self.cancelled += not ended

    async def aclose(self) -> None:
        """Nothing is open."""


def _reply(reply: Reply | str | ModelError) -> Reply:
    match reply:
        case str():
            return Reply(reply)
        case ModelError():
            return Reply(error=reply)
        case Reply():
            return reply


def _deltas(reply: Reply) -> Iterable[Delta]:
    yield from map(ReasoningDelta, _pieces(reply.reasoning))
    yield from map(TextDelta, _pieces(reply.text))
    for index, call in enumerate(reply.tool_calls):
        yield ToolCallDelta(index, call.id, call.name)
        for piece in _pieces(call.arguments):
            yield ToolCallDelta(index, arguments=piece)


def _pieces(text: str) -> list[str]:
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
