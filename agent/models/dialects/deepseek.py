"""DeepSeek V3, R1, V3.1 and V3.2, in marks with fullwidth bars.

V3 and R1 write `function`, a separator, the name and the arguments in a fence; V3.1 the name, the separator
and bare JSON; V3.2 and V4 tags with `｜DSML｜` in front of `invoke` and `parameter`. Sources: the chat
templates of these models; DeepSeek-V3.2's `encoding` folder. Some servers give out plain bars and blanks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.messages import ToolResult
from agent.models.dialects._dialect import Dialect, Reading, json_of
from agent.models.dialects._marked import Marks, read_marked
from agent.models.dialects._offer import Offer
from agent.models.dialects._tags import read_tagged
from agent.models.dialects.minimax import invoke_tags


def _token(words: str) -> str:
    return r"<[|｜]?" + words.replace(" ", "[▁_ ]") + r"[|｜]?>"


_DSML = r"[|｜]+\s*DSML\s*[|｜]+\s*"
_BEGIN = re.compile(_token("tool calls? begin"))
_MARKS = re.compile(
    rf"\s*(?:{_token('tool calls begin')}|{_token('tool calls end')}|{_token('tool outputs? begin')})"
)
_CALL = re.compile(
    rf"\s*(?:{_token('tool call begin')})?\s*(?:function\s*{_token('tool sep')}\s*(?P<old>[\w.:/-]+)"
    rf"|(?P<new>[\w.:/-]+)\s*{_token('tool sep')})"
)
_END = re.compile(rf"\s*(?:```)?\s*(?:{_token('tool call end')})?")
_MARKED = Marks(_MARKS, _CALL, _END, stop=re.compile(_token("tool calls? end")))
_TAGS = invoke_tags(_DSML, "｜DSML｜")


class DeepSeek(Dialect):
    name = "deepseek"
    rank = 16
    mark = (
        rf"{_BEGIN.pattern}|(?:<{_DSML}(?:function_calls|tool_calls)\s*>\s*)?<{_DSML}invoke\s+name\s*="
        rf"|function{_token('tool sep')}"
    )

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        if re.compile(rf"<{_DSML}").match(text, start):
            return read_tagged(text, start, _TAGS, offer)
        return read_marked(text, start, _MARKED, offer)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        return self.render_calls([(name, arguments)])

    def render_calls(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        inner = "".join(
            f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{json_of(given)}<｜tool▁call▁end｜>"
            for name, given in calls
        )
        return f"<｜tool▁calls▁begin｜>{inner}<｜tool▁calls▁end｜>"

    def render_results(self, results: Sequence[ToolResult]) -> str:
        return "".join(f"<｜tool▁output▁begin｜>{one.text}<｜tool▁output▁end｜>" for one in results)


dialect = DeepSeek()
