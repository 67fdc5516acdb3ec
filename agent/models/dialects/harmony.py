"""gpt-oss: a message to `functions.name` in a channel of the harmony format.

Source: "OpenAI harmony response format" (OpenAI cookbook). The library `openai-harmony` is not used: it reads
tokens, not text, its wheel is 3 MB, and it downloads its vocabulary when it is first used (openai/harmony
#46, #95). Where the special tokens are lost on the way, `commentary to=functions.name json{...}` is what is
left of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import ToolResult
from agent.models.dialects._calls import arguments_call
from agent.models.dialects._dialect import MAX_CALLS, Dialect, Reading, json_of
from agent.models.dialects._json import object_at
from agent.models.dialects._offer import Offer, Written

_CHANNEL = r"(?:<\|channel\|>\s*\w+\s*|(?:assistant)?(?:commentary|analysis)\s*)"
_HEAD = re.compile(
    rf"\s*(?:<\|start\|>\s*(?:assistant)?\s*)?{_CHANNEL}?\s*to\s*=\s*(?P<name>[\w.:/-]+?)(?={_CHANNEL}|[\s<{{]|\Z)\s*{_CHANNEL}?\s*"
    r"(?:<\|constrain\|>\s*)?(?:json|code)?\s*(?:<\|constrain\|>\s*)?(?:json)?\s*(?P<message><\|message\|>)?\s*"
)
_END = re.compile(r"<\|(?:call|end|return|start|channel)\|>")
_ENDED = re.compile(
    r"\s*<\|(?:call|end|return)\|>(?:(?:assistant)?(?:commentary|analysis|final)(?=\s*(?:\n|\Z)))?"
)


class Harmony(Dialect):
    name = "harmony"
    rank = 22
    mark = (
        rf"<\|start\|>\s*(?:assistant)?\s*{_CHANNEL}?\s*to\s*=|<\|channel\|>\s*\w+\s*to\s*=|(?:assistant)?(?:commentary|analysis)\s+to=functions\."
        r"|(?<![\w.])to=functions\.[\w-]+"
    )

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        calls: list[Written] = []
        position = start
        while len(calls) < MAX_CALLS and (head := _HEAD.match(text, position)):
            if not head["message"] and text[head.end() : head.end() + 1] != "{":
                break
            arguments, position = object_at(text, head.end(), _END)
            calls.append(arguments_call(head["name"], arguments, offer))
            if ended := _ENDED.match(text, position):
                position = ended.end()
        return Reading(calls, position)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        head = f"<|channel|>commentary to=functions.{name} <|constrain|>json"
        return f"{head}<|message|>{json_of(arguments)}<|call|>"

    def render_results(self, results: Sequence[ToolResult]) -> str:
        return "\n".join(f"functions.{one.name} to=assistant: {one.text}" for one in results)


dialect = Harmony()
