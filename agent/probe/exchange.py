"""One question to the probed model, and what came of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from agent.dispatch import decode_arguments
from agent.messages import Assistant, Usage
from agent.models.assemble import Assembler
from agent.models.base import (
    Model,
    ModelBadReply,
    ReasoningDelta,
    Request,
    StopReason,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
)
from tools.base import Tool, ToolError


class Reply(msgspec.Struct, frozen=True):
    """A whole reply. Times in seconds."""

    message: Assistant
    reason: StopReason
    usage: Usage
    pieces: int
    """How many pieces its text or its calls came in."""
    first_s: float
    total_s: float
    prompt_ms: float | None
    output_ms: float | None

    @property
    def native(self) -> bool:
        """The server itself told the calls."""
        return bool(self.message.tool_calls) and not self.message.dialect


async def ask(model: Model, request: Request, tools: tuple[ToolSpec, ...] = ()) -> Reply:
    """Raises ModelError. `tools` are those that its text may call."""
    assembler = Assembler(tools)
    began = time.monotonic()
    first = 0.0
    pieces = 0
    async with aclosing(model.stream(request)) as deltas:
        async for delta in deltas:
            if isinstance(delta, TextDelta | ReasoningDelta | ToolCallDelta):
                first = first or time.monotonic() - began
                pieces += not isinstance(delta, ReasoningDelta)
            assembler.add(delta)
    finish = assembler.finish
    if finish is None:
        raise ModelBadReply("the reply stopped without an end")
    total = time.monotonic() - began
    return Reply(
        assembler.message(),
        finish.reason,
        finish.usage,
        pieces,
        first,
        total,
        finish.prompt_ms,
        finish.output_ms,
    )


def decoded(reply: Reply, tools: Mapping[str, Tool]) -> list[tuple[str, dict[str, Any]]]:
    """The calls of a reply that could be run: of a tool that there is, with arguments that fit it."""
    calls: list[tuple[str, dict[str, Any]]] = []
    for call in reply.message.tool_calls:
        if tool := tools.get(call.name):
            try:
                calls.append((call.name, decode_arguments(tool, call.arguments)))
            except ToolError:
                continue
    return calls


def shown(reply: Reply) -> str:
    """A reply in one short line."""
    calls = " ".join(f"{call.name}({call.arguments})" for call in reply.message.tool_calls)
    text = " ".join((calls or reply.message.text).split())
    return json.dumps(text[:160], ensure_ascii=False)
