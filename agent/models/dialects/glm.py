"""GLM-4.5 and later: `<tool_call>read <arg_key>path</arg_key> <arg_value>a.py</arg_value> </tool_call>`.

Sources: the chat templates of GLM-4.5, where line breaks stand between the tags, and of GLM-4.7, where none
do; results are `<tool_response>` in an observation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._dialect import Dialect, Reading, text_of
from agent.models.dialects._offer import Offer
from agent.models.dialects._tags import Tags, read_tagged

_CALL = r"<tool_call>\s*{name}\s*(?=<arg_key>|</tool_call>|<arg_|\Z)"

TAGS = Tags(
    call=re.compile(_CALL.replace("{name}", r"(?P<name>[\w.:/-]+)")),
    call_end=re.compile(r"</tool_call>"),
    argument=re.compile(r"<arg_key>(?P<name>[^<]+?)\s*(?:</arg_key>)?\s*<arg_value>"),
    argument_end=re.compile(r"</arg_value>"),
    wrapper=re.compile(r"<\|observation\|>|<\|user\|>"),
    closing="</arg_value>",
)


class Glm(Dialect):
    name = "glm"
    rank = 12
    mark = _CALL.replace("{name}", r"[\w.:/-]+")

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        return read_tagged(text, start, TAGS, offer)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        inner = "".join(
            f"<arg_key>{key}</arg_key>\n<arg_value>{text_of(value)}</arg_value>\n"
            for key, value in arguments.items()
        )
        return f"<tool_call>{name}\n{inner}</tool_call>"


dialect = Glm()
