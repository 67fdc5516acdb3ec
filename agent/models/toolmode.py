"""How a model is told of its tools: by the server's template, or in its dialect in the messages. Pure.

`native` gives the tools to the server. `dialect` writes tools, calls and results into the messages as the
model was trained on them, for servers whose template cannot or loses them. `grammar` does that too, and lets
the server hold the calls to the tools' schema; there the first reply to a message has to be a call, for small
models like to talk about one instead. `auto` does what the catalogue says of the model, `native`
where it says nothing. In every mode calls that arrive as text are found.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from agent.messages import Assistant, Message, System, ToolCall, ToolResult
from agent.models import dialects
from agent.models.base import Request, ToolSpec
from agent.models.catalog import traits

ToolMode = Literal["auto", "native", "dialect", "grammar"]

GENERAL = "hermes"
"""What a model without a dialect of its own is asked to write, and what a grammar holds any model to."""


def dialect_of(model: str) -> str:
    """Name of the dialect that the model of this name was trained on; the general one if none is known."""
    return traits(model).dialect or GENERAL


def shaped(request: Request, model: str, mode: ToolMode, dialect: str = "") -> Request:
    """The request in that mode; `dialect` is the model's own when empty.

    Each message becomes a function of itself alone, so it still only grows.
    """
    if mode == "auto":
        mode = traits(model).tool_mode
    if not request.tools or mode in ("auto", "native"):
        return request
    name = GENERAL if mode == "grammar" else dialect or dialect_of(model)
    messages = tuple(_in_text(message, name) for message in request.messages)
    grammar = mode == "grammar" and not request.answer_only
    told = dialects.load()[name].render_tools(request.tools)
    return msgspec.structs.replace(
        request,
        messages=_with_tools(messages, told),
        tools=(),
        constrain=request.tools if grammar else (),
        must_call=grammar and not isinstance(request.messages[-1], ToolResult),
        output_schema=request.output_schema if request.answer_only else None,
    )


def right_form(name: str, tools: tuple[ToolSpec, ...]) -> str:
    """How a call of the tool is written in that dialect, for a model that wrote it wrongly."""
    return dialects.load()[name].render_calls([dialects.example(tool) for tool in tools])


def _in_text(message: Message, dialect: str) -> Message:
    """Calls that the server gave natively are written out; those found in text stand there already."""
    if not isinstance(message, Assistant) or not message.tool_calls or message.dialect:
        return message
    calls = [(call.name, _arguments(call)) for call in message.tool_calls]
    written = dialects.load()[dialect].render_calls(calls)
    text = f"{message.text}\n{written}" if message.text else written
    return msgspec.structs.replace(message, text=text, dialect=dialect, native=())


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(call.arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"unparsed": call.arguments}


def _with_tools(messages: tuple[Message, ...], told: str) -> tuple[Message, ...]:
    if messages and isinstance(messages[0], System):
        return (System(f"{messages[0].text}\n\n{told}"), *messages[1:])
    return (System(told), *messages)
