"""Search and replace blocks, each with the path of its file in front.

Source: aider's documentation, "Edit formats" (`diff`, `diff-fenced`); Cline's marks of minus and plus signs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._dialect import Dialect, Fence, Reading, json_of
from agent.models.dialects._edits import can_edit, can_write, edit, named_or_mentioned, path_line, write
from agent.models.dialects._offer import Offer, Written
from agent.models.dialects._prose import talks

_SEARCH = r"(?:<{5,9}|-{5,9}) ?(?:SEARCH|ORIGINAL)>?[ \t]*\n"
_BLOCK = re.compile(
    rf"^{_SEARCH}(?P<old>.*?)^={{5,9}}[ \t]*\n"
    r"(?P<new>.*?)(?P<end>^(?:>{5,9}|\+{5,9}) ?(?:REPLACE|UPDATED)>?[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)


class SearchReplace(Dialect):
    name = "search_replace"
    rank = 80
    line_mark = _SEARCH
    announced = True

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        start = text.rfind("\n", 0, start) + 1
        path, head = named_or_mentioned(text[:start])
        if not path or talks(head):
            return None
        calls: list[Written] = []
        position = start
        while block := _BLOCK.match(text, position):
            calls += _calls(path, block, offer)
            position = block.end()
            following = re.compile(r"\s*").match(text, position)
            at = following.end() if following else position
            next_path = path_line(text[at:].partition("\n")[0])
            at = text.find("\n", at) + 1 if next_path else at
            path = next_path or path
            if not re.compile(_SEARCH).match(text, at):
                break
            position = at
        return Reading(calls, position)

    def read_fence(self, fence: Fence, offer: Offer) -> list[Written]:
        body = fence.body
        path, head = named_or_mentioned(fence.before)
        first, _, rest = body.lstrip("\n").partition("\n")
        if inner := path_line(first):
            path, head, body = inner, fence.before, rest
        if not path or talks(head):
            return []
        calls: list[Written] = []
        position = 0
        for block in _BLOCK.finditer(body):
            between = body[position : block.start()].strip()
            if between and not path_line(between):
                return calls
            path = path_line(between) or path
            calls += _calls(path, block, offer)
            position = block.end()
        return calls

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name not in ("edit", "write"):
            return json_of({"name": name, "arguments": arguments})
        old = arguments.get("old_string", "")
        new = arguments.get("new_string", arguments.get("content", ""))
        return f"{arguments.get('path')}\n<<<<<<< SEARCH\n{_ended(old)}=======\n{_ended(new)}>>>>>>> REPLACE"


def _calls(path: str, block: re.Match[str], offer: Offer) -> list[Written]:
    """Nothing to search for means a new file. One newline is the line's end, not part of what is replaced."""
    old, new, cut = block["old"], block["new"], not block["end"]
    if old.strip():
        return (
            [edit(path, old.removesuffix("\n"), new.removesuffix("\n"), offer, cut=cut)]
            if can_edit(offer)
            else []
        )
    return [write(path, new, offer, cut=cut)] if can_write(offer) else []


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


dialect = SearchReplace()
