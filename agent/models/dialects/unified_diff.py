"""Unified diffs: each hunk becomes an edit of the lines that it names, its line numbers are not relied on.

A diff is what explanations and summaries hold, so it counts only when it is the whole reply or was announced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.models.dialects._dialect import Dialect, Fence, Reading, json_of
from agent.models.dialects._edits import can_edit, can_write, edit, is_meant, write
from agent.models.dialects._offer import Offer, Written

_FILE = re.compile(r"^--- (?P<old>\S+)[^\n]*\n\+\+\+ (?P<new>\S+)[^\n]*\n", re.MULTILINE)
_HUNK = re.compile(r"^@@[^\n]*\n(?P<lines>(?:[ +\-\\][^\n]*(?:\n|\Z)|\n(?=[ +\-@\n]|\Z))*)", re.MULTILINE)
_NOWHERE = "/dev/null"


class UnifiedDiff(Dialect):
    name = "unified_diff"
    rank = 82
    line_mark = r"(?:diff --git [^\n]*\n(?:[^\n-][^\n]*\n)*)?--- \S+[^\n]*\n\+\+\+ \S+[^\n]*\n@@"

    def read(self, text: str, start: int, offer: Offer) -> Reading | None:
        end = _end(text, start)
        calls = _calls(text[start:end], offer) if is_meant(text[:start], text[end:]) else []
        return Reading(calls, end)

    def read_fence(self, fence: Fence, offer: Offer) -> list[Written]:
        if fence.info not in ("diff", "patch", "udiff") or not is_meant(fence.above, fence.behind):
            return []
        return _calls(fence.body, offer, cut=not fence.closed)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name not in ("edit", "write"):
            return json_of({"name": name, "arguments": arguments})
        path, old = arguments.get("path"), str(arguments.get("old_string", ""))
        new = str(arguments.get("new_string", arguments.get("content", "")))
        lines = [f"-{line}" for line in old.splitlines()] + [f"+{line}" for line in new.splitlines()]
        before = f"a/{path}" if name == "edit" else _NOWHERE
        return "\n".join(["```diff", f"--- {before}", f"+++ b/{path}", "@@ @@", *lines, "```"])


def _end(text: str, start: int) -> int:
    """Behind the last hunk of the files that follow one another."""
    position = start
    while True:
        if file := re.compile(
            r"(?:(?:diff --git|index|new file|similarity)[^\n]*\n)*" + _FILE.pattern, re.M
        ).match(text, position):
            position = file.end()
        elif hunk := _HUNK.match(text, position):
            position = hunk.end()
        else:
            return position


def _calls(diff: str, offer: Offer, *, cut: bool = False) -> list[Written]:
    """All edits of a diff, or none when one of them has no place or a file is removed."""
    files = list(_FILE.finditer(diff))
    calls: list[Written] = []
    for n, file in enumerate(files):
        end = files[n + 1].start() if n + 1 < len(files) else len(diff)
        path = re.sub(r"^[ab]/", "", file["new"])
        hunks = list(_HUNK.finditer(diff, file.end(), end))
        if file["new"] == _NOWHERE or not hunks:
            return []
        for hunk in hunks:
            old, new = _sides(hunk["lines"])
            last = cut and hunk is hunks[-1] and end == len(diff) and not _is_whole(hunk[0], old, new)
            if file["old"] == _NOWHERE and len(hunks) == 1 and can_write(offer):
                calls.append(write(path, new, offer, cut=last))
            elif old.strip() and old != new and can_edit(offer):
                calls.append(edit(path, old.removesuffix("\n"), new.removesuffix("\n"), offer, cut=last))
            else:
                return []
    return calls


def _is_whole(hunk: str, old: str, new: str) -> bool:
    """As many lines as the hunk's head says; a head without numbers says nothing."""
    head = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", hunk)
    counts = (old.count("\n"), new.count("\n"))
    return head is not None and counts == (int(head[1] or 1), int(head[2] or 1)) and hunk.endswith("\n")


def _sides(hunk: str) -> tuple[str, str]:
    """The text before and after; a line without a mark is an empty one whose blank was lost."""
    lines = [line or " " for line in hunk.removesuffix("\n").split("\n")]
    while lines and not lines[-1].strip(" "):
        lines.pop()
    old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    return old, new


dialect = UnifiedDiff()
