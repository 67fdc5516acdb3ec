"""Whole files in fences, each with its path in front or in the fence's first line.

Code with a file's name above it is also how an explanation shows code, so it counts only when it is the whole
reply or was announced, and never when it leaves something out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._calls import read_calls
from agent.models.dialects._dialect import Dialect, Fence, json_of
from agent.models.dialects._edits import can_write, is_meant, named_before, path_line, write
from agent.models.dialects._offer import Offer, Written

_IN_INFO = re.compile(
    r"(?:[\w+#.-]*[ \t:]+)?(?:(?:path|file|filename|title)\s*=\s*)?[\"']?(?P<path>[\w./@+-]+)[\"']?$", re.I
)
_LEFT_OUT = re.compile(
    r"^\s*(?:#|//|--|/\*|<!--|;)?\s*(?:\.{3}|…).*\b(?:exist|rest|unchanged|remain|same|other|previous|omitted|code)"
    r"|^\s*(?:#|//|--|/\*|<!--|;).*\b(?:rest of|remains?|unchanged|existing|same as)\b"
    r".*(?:\.{3}|…|here|above|before)"
    r"|^\s*(?:#|//|--|/\*|<!--|;)\s*(?:\.{3}\s*)?(?:the )?(?:rest of (?:the|this|your) \w+|(?:\w+ )?unchanged"
    r"|(?:\w+ )?remains? (?:unchanged|the same)|existing code)\b.{0,40}$"
    r"|^\s*(?:#|//)\s*(?:\.{3}|…)\s*$",
    re.MULTILINE | re.IGNORECASE,
)
_EDITS = re.compile(r"^<{5,9} ?SEARCH|^@@ |^-{5,9} ?SEARCH", re.MULTILINE)


class WholeFile(Dialect):
    name = "whole_file"
    rank = 84

    def read_fence(self, fence: Fence, offer: Offer) -> list[Written]:
        if not can_write(offer) or not fence.body.strip() or _LEFT_OUT.search(fence.body):
            return []
        path = named_before(fence.before)[0]
        if not path and (found := _IN_INFO.match(fence.info)) and path_line(found["path"]) == found["path"]:
            path = found["path"]
        if not path or _EDITS.search(fence.body) or not is_meant(fence.above, fence.behind):
            return []
        if read_calls(fence.body, offer):
            return []  # a file that is said to hold a call: neither is meant
        return [write(path, fence.body, offer, cut=not fence.closed)]

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name != "write":
            return json_of({"name": name, "arguments": arguments})
        content = str(arguments.get("content", ""))
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", content)), 3)
        return f"{arguments.get('path')}\n{fence}\n{content.removesuffix(chr(10))}\n{fence}"


dialect = WholeFile()
