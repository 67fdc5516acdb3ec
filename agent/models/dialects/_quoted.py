"""Where a call stands: by itself, or inside of what is quoted. Pure."""

from __future__ import annotations

import re

from agent.models.dialects._prose import intends


def is_quoted(text: str, start: int, end: int, since: int) -> bool:
    """The call from `start` to `end` is part of something else; `since` is where the last call ended.

    Inside of a sentence: words before and behind on the line, unless one sentence ends before and another
    begins behind. In quotes, an e-mail quote, a diff, a table, a line of a log, a string of a program, a
    block of code by indentation, or between tags that hold a text of somebody's.
    """
    line = text.rfind("\n", 0, start) + 1
    before = text[line:start].strip()
    behind = text[end : end + 200].partition("\n")[0].strip()
    if before.startswith((">", "//", "#", "|")) or _LOGGED.match(before):
        return True
    if before in ("+", "-", "*") and text[start - 2 : start] != "- ":
        return True
    if before[-1:] in _QUOTES and behind[:1] == _QUOTES[before[-1:]]:
        return True
    if is_held(text, since, start, end) or _is_indented_code(text, line, start, since):
        return True
    if not before or not behind or behind[0] in "<[|｜":
        return False
    ended = before[-1] in ".!" or (before[-1] == ":" and intends(before))
    return not (ended and (behind[0].isupper() or not re.search(r"\w", behind)))


def is_held(text: str, since: int, start: int, end: int) -> bool:
    """In a string over several lines, a here-document, or between tags such as `<example>`."""
    before = text[since:start]
    if before.count('"""') % 2 or before.count("'''") % 2 or _CODE.search(before):
        return True
    tags = {found.lower() for found in _HOLDER.findall(before)}
    if not tags:
        return False
    lower, behind = before.lower(), text[end:].lower()
    return any(lower.rfind(f"<{tag}") > lower.rfind(f"</{tag}") and f"</{tag}" in behind for tag in tags)


def _is_indented_code(text: str, line: int, start: int, since: int) -> bool:
    """As Markdown has code: by four blanks, below text that does not announce it."""
    before = text[since:line]
    indent = text[line:start]
    return (
        not indent.strip()
        and len(indent.expandtabs(4)) >= 4
        and bool(before.strip())
        and before.endswith("\n\n")
        and not intends(before)
    )


_LOGGED = re.compile(r"\[?\d{1,4}[-:/]\d\d|\d+\s*[|│]|L?\d{2,5}:")
"""What a line of a log, or one that is numbered, begins with."""
_CODE = re.compile(r"(?:[=(\[]|<<-?\s*['\"]?\w+['\"]?)[ \t]*\\?\s*\Z")
"""An assignment, the arguments of a function, a here-document that begins."""
_HOLDER = re.compile(
    r"<(examples?|samples?|details|pre|code|blockquote|file(?:_?contents?)?|documents?|docs?|contents?|quote|log"
    r"|transcript|tool_(?:response|result|output)|results?|observation|untrusted\w*|context|page|email|message"
    r"|snippet|diff|tests?|user_input|data)\b[^<>\n]*>",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "(": ")", "„": "“", "「": "」"}
