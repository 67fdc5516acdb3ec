"""MiniMax-M2: `<minimax:tool_call><invoke name="read"><parameter name="path">a.py</parameter></invoke>...`.

Sources: the chat template and tool calling guide of MiniMax-M2. Others write `<invoke>` too, in
`<function_calls>` or bare: DeepSeek-V3.2 when it drops its own marks, and models that learnt from Anthropic's
form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._dialect import Dialect, Reading, text_of
from agent.models.dialects._offer import Offer
from agent.models.dialects._tags import Tags, read_tagged


def invoke_tags(prefix: str, bare: str = "") -> Tags:
    """The form with `prefix`, a regular expression, in front of each tag's name; `bare` is it as trained."""
    return Tags(
        call=re.compile(rf"<{prefix}invoke\s+name\s*=\s*[\"']?(?P<name>[^\"'<>\s]+)[\"']?[^<>]*>"),
        call_end=re.compile(rf"</{prefix}invoke\s*>"),
        argument=re.compile(rf"<{prefix}parameter\s+name\s*=\s*[\"']?(?P<name>[^\"'<>\s]+)[\"']?[^<>]*>"),
        argument_end=re.compile(rf"</{prefix}parameter\s*>"),
        closing=f"</{bare}parameter>",
        wrapper=re.compile(
            rf"</?{prefix}(?:minimax:)?(?:tool_calls?|function_calls)\s*>|\[e~\[|<\|im_end\|>"
        ),
    )


_PREFIX = r"(?:[\w-]+:)?"
TAGS = invoke_tags(_PREFIX)


class MiniMax(Dialect):
    name = "minimax"
    rank = 14
    mark = (
        rf"(?:<{_PREFIX}(?:tool_calls?|function_calls)\s*>\s*)?"
        rf"<{_PREFIX}invoke\s+name\s*=\s*[\"']?[^\"'<>\s]+[\"']?[^<>]*>"
    )

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        return read_tagged(text, start, TAGS, offer)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return self.render_calls([(name, arguments)])

    def render_calls(self, calls: Any) -> str:
        invokes = "".join(
            f'<invoke name="{name}">\n'
            + "".join(
                f'<parameter name="{key}">{text_of(value)}</parameter>\n' for key, value in given.items()
            )
            + "</invoke>\n"
            for name, given in calls
        )
        return f"<minimax:tool_call>\n{invokes}</minimax:tool_call>"


dialect = MiniMax()
