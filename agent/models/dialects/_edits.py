"""Edits written as prose: the file they are for, and the calls of `edit` and `write` they become. Pure."""

from __future__ import annotations

import re

from agent.models.dialects._offer import Offer, Written
from agent.models.dialects._prose import intends, talks

_PATH = r"[\w.@+-]+(?:/[\w.@+-]+)*"
_ALONE = re.compile(
    r"(?:[-*]\s+|#+\s+|\d+\.\s+)?(?:\*\*|__)?(?:(?:new |updated )?(?:file(?:name)?|path)\s*:\s*)?"
    r"(?:\*\*|__)?[`\"']?"
    rf"(?P<path>{_PATH})[`\"']?(?:\*\*|__)?\s*:?(?:\*\*|__)?",
    re.IGNORECASE,
)
_NAMED_LIKE_A_FILE = re.compile(r"(?:.*/)?(?:[\w@+-][\w.@+-]*\.[A-Za-z]\w{0,9}|Makefile|Dockerfile|\.\w+)")


def can_edit(offer: Offer) -> bool:
    return {"path", "old_string", "new_string"} <= set(offer.properties("edit"))


def can_write(offer: Offer) -> bool:
    return {"path", "content"} <= set(offer.properties("write"))


def edit(path: str, old: str, new: str, offer: Offer, *, cut: bool = False) -> Written:
    given = {"path": path, "old_string": old}
    return offer.call_of_texts(
        "edit", given if cut else {**given, "new_string": new}, ("new_string", new) if cut else None
    )


def write(path: str, content: str, offer: Offer, *, cut: bool = False) -> Written:
    given = {"path": path}
    return offer.call_of_texts(
        "write", given if cut else {**given, "content": content}, ("content", content) if cut else None
    )


def path_line(line: str) -> str:
    """The path that a line consists of; empty when it holds anything else or looks like no file."""
    found = _ALONE.fullmatch(line.strip())
    path = found["path"] if found else ""
    return path if _NAMED_LIKE_A_FILE.fullmatch(path) and not path.startswith("/") else ""


def named_before(before: str) -> tuple[str, str]:
    """The path on the last line of the text in front of a block, and the text before that line."""
    head, _, last = before.rstrip().rpartition("\n")
    path = path_line(last)
    return (path, head) if path else ("", before)


def named_or_mentioned(before: str) -> tuple[str, str]:
    """The same, or the one path in backticks on that line: enough for an edit, which has to fit its file."""
    path, head = named_before(before)
    if path:
        return path, head
    last = before.rstrip().rpartition("\n")[2]
    mentioned = {path for code in _CODE.findall(last) if (path := path_line(code))}
    return (mentioned.pop() if len(mentioned) == 1 else "", before)


def is_meant(above: str, behind: str) -> bool:
    """An edit in prose counts when nothing is said with it, or when it is announced; never as an example.

    `Here is the fix:` announces one, too, unless the text tells that it was made already.
    """
    above, behind = _prose(above), _prose(behind)
    if talks(above, behind):
        return False
    if intends(above) or not (above or behind):
        return True
    return _OFFERED.search(above) is not None and not _DONE.search(f"{above}\n{behind}")


def _prose(text: str) -> str:
    """What is left of the text without fences and the paths above them."""
    lines = _FENCES.sub("", text).splitlines()
    return "\n".join(line for line in lines if line.strip() and not path_line(line))


_CODE = re.compile(r"`([^`]+)`")
_OFFERED = re.compile(
    r"\b(?:here(?:['’]s| is| are)|below is) (?:(?:the|a|an|my|your|complete|full|final|minimal) )*"
    r"(?:(?:fix|patch|solution|correction|edit|change)(?:es|s)?"
    r"|(?:fixed|corrected|updated|modified|revised|new) (?:\w+ )?(?:code|files?|version|function))\b[^\n]*\Z"
    r"|\bthe following (?:patch|diff|change|edit)s? (?:fix|correct|solve|make|add|remove)[^\n]*\Z",
    re.IGNORECASE,
)
_DONE = re.compile(
    r"\bI(?:['’]ve| have)? (?:just )?(?:changed|fixed|applied|made|edited|updated|replaced|corrected|did)\b"
    r"|\btests? (?:now )?(?:pass|passed)\b|\balready\b"
    r"|\b(?:was|were|been) (?:\w+ )?(?:applied|changed|made|fixed)\b|\bthat (?:you|was|were|is in)\b",
    re.IGNORECASE,
)
_FENCES = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
