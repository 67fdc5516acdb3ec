"""Qwen3-Coder: `<tool_call><function=read><parameter=path>a.py</parameter></function></tool_call>`.

Sources: the chat template of Qwen3-Coder-30B-A3B-Instruct, whose opening `<tool_call>` the model often leaves
out (vLLM and llama.cpp threads tell of it); Seed-OSS, whose tags are `<seed:tool_call>`, and Step-3.5 write
the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._dialect import Dialect, Reading, text_of
from agent.models.dialects._offer import Offer
from agent.models.dialects._tags import Tags, read_tagged

_WRAPPER = r"<(?:seed:)?tool_calls?(?:\s[^<>]*)?>"
_FUNCTION = r"<function(?:\s*=\s*|\s+name\s*=\s*)[\"']?[\w.:/-]+[\"']?\s*>(?!\s*[{\[])"

TAGS = Tags(
    call=re.compile(r"<function(?:\s*=\s*|\s+name\s*=\s*)[\"']?(?P<name>[\w.:/-]+)[\"']?\s*>(?!\s*[{\[])"),
    call_end=re.compile(r"</function\s*>"),
    argument=re.compile(
        r"<(?:parameter|param|arg)(?:\s*=\s*|\s+name\s*=\s*)[\"']?(?P<name>[^\"'<>=]+?)[\"']?\s*>"
    ),
    argument_end=re.compile(r"</(?:parameter|param|arg)(?:\s*=[^<>]*)?\s*>"),
    wrapper=re.compile(rf"{_WRAPPER}|</(?:seed:)?tool_calls?\s*>|<\|im_end\|>"),
    closing="</parameter>",
)


class Qwen3Coder(Dialect):
    name = "qwen3_coder"
    rank = 10
    mark = rf"(?:{_WRAPPER}\s*)?{_FUNCTION}"

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        return read_tagged(text, start, TAGS, offer)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        inner = "".join(
            f"<parameter={key}>\n{text_of(value)}\n</parameter>\n" for key, value in arguments.items()
        )
        return f"<tool_call>\n<function={name}>\n{inner}</function>\n</tool_call>"


dialect = Qwen3Coder()
