"""One walk over a reply that finds its calls in every dialect, and leaves out what is only quoted.

Whatever opens first is taken as a whole: so a tag in a fence, a fence in a longer fence, the call of one
dialect inside an argument of another, and anything in `inline code`, in a diff or in a comment belongs to
what surrounds it. Marks that stand in a sentence, in an e-mail quote or in a diff's lines are quoted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from agent.models.dialects._dialect import MAX_CALLS, Dialect, Fence
from agent.models.dialects._json import extent
from agent.models.dialects._offer import Offer, Written
from agent.models.dialects._prose import intends, only_introduces, shows_a_form, talks
from agent.models.dialects._quoted import is_held, is_quoted

PATIENCE = 200
"""So many fences without a call, or a fifth as many marks that begin none, and the rest of the text is given
up: what a hostile text can cost stays linear in its length."""


class Found(NamedTuple):
    dialect: Dialect
    call: Written
    marked: bool
    """It stood behind a mark of its own, not in what may be ordinary text."""


def scan(text: str, offer: Offer, asked: Sequence[Dialect], *, strict: bool = True) -> list[Found]:
    """The calls of a reply in order: all marked ones, else all of the unmarked dialect of the lowest rank.

    Unless `strict`, also those of which the sentence in front neither says nor denies that they are meant.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if whole := _IN_TICKS.fullmatch(text):
        text = whole[1]
    found = _walk(text, offer, tuple(asked), strict)
    if marked := [one for one in found if one.marked]:
        return marked
    first = min(found, key=lambda one: one.dialect.rank, default=None)
    return [one for one in found if first and one.dialect is first.dialect]


def _walk(text: str, offer: Offer, asked: tuple[Dialect, ...], strict: bool) -> list[Found]:
    opening = _opening(asked)
    found: list[Found] = []
    position = done = failed = 0
    while failed < PATIENCE and len(found) < MAX_CALLS and (mark := opening.search(text, position)):
        kind = mark.lastgroup or ""
        start = mark.start(kind)
        if kind == "fence":
            fence, position = _fence(text, mark, done)
            held = is_held(text, done, mark.start(), position)
            calls = [] if held else _in_fence(fence, offer, asked, strict)
            failed += not calls
            found += calls
            done = position
        elif kind == "ticks":
            position = _inline_code_end(text, mark.end(), mark["ticks"])
        elif kind in ("comment", "hunk"):
            position = mark.end()
        else:
            dialect = asked[int(kind[1:])]
            reading = dialect.read(text, start, offer)
            if reading is None or not reading.calls:
                failed += 5
                position = max(mark.end(), start + 1, reading.end if reading else 0)
                continue
            position = max(reading.end, mark.end())
            line = text.rfind("\n", 0, start) + 1
            listed = _LISTED.fullmatch(text, line, start) is not None
            before, behind = text[done : _list_start(text, line) if listed else start], text[position:]
            if kind[0] == "l" and not listed and text[line:start].strip() and not intends(before):
                continue
            if not is_quoted(text, start, position, done) and not _only_talks(
                kind[0] == "m", dialect, before, behind, strict
            ):
                found += [Found(dialect, call, kind[0] == "m") for call in reading.calls]
                done = position
    return found


def _list_start(text: str, line: int) -> int:
    """Where the list begins whose entry is the line that begins there: what is said of it stands in front."""
    while line and _LISTED.match(text, above := text.rfind("\n", 0, line - 1) + 1):
        line = above
    return line


def _only_talks(marked: bool, dialect: Dialect, before: str, behind: str, strict: bool) -> bool:
    if (marked or dialect.names_tools) and only_introduces(before, strict=strict):
        return True
    if marked or dialect.announced:
        return shows_a_form(before, behind)
    return talks(before, behind, advice=not dialect.names_tools)


def _fence(text: str, mark: re.Match[str], done: int) -> tuple[Fence, int]:
    start = mark.end()
    closing = _fence_end(mark["marks"]).search(text, start)
    if closing and (value := _BRACKET.match(text, start)):
        closing = _fence_end(mark["marks"]).search(text, _value_end(text, value.end() - 1, closing.start()))
    end, position = closing.span() if closing else (len(text), len(text))
    info = mark["info"].strip().lower()
    before = text[done : mark.start()]
    above = text[: mark.start()]
    return Fence(info, text[start:end], closing is not None, before, text[position:], above), position


def _value_end(text: str, start: int, closing: int) -> int:
    """Where to look for the end of the fence around the JSON value at `start`.

    A file that a call writes may hold fences of its own: what closes such a one stands inside of a string.
    """
    reach = extent(text[:closing], start)
    if not reach.in_string:
        return closing
    whole = extent(text, start)
    return closing if whole.missing or whole.in_string else whole.end


def _in_fence(fence: Fence, offer: Offer, asked: tuple[Dialect, ...], strict: bool) -> list[Found]:
    """Calls that the fence consists of; marked ones only if it is the whole reply or was announced."""
    if _is_indented_quote(fence.before):
        return []
    body = fence.body.strip()
    if fence.info in _PLAIN and (mark := _opening(asked).match(body)) and (mark.lastgroup or "")[0] in "ml":
        alone = not fence.before.strip() and not fence.behind.strip()
        said = alone or (intends(fence.before) and not talks("", fence.behind))
        found = [one for one in _walk(body, offer, asked, strict) if one.marked or one.dialect.announced]
        if found or (mark.lastgroup or "").startswith("m"):
            return found if said else []
    read = [(dialect, calls) for dialect in asked if (calls := dialect.read_fence(fence, offer))]
    return [
        Found(dialect, call, False)
        for dialect, calls in read
        if not (dialect.names_tools and only_introduces(fence.before, strict=strict))
        and not talks(fence.before, fence.behind, advice=not dialect.names_tools)
        for call in calls
    ]


def _is_indented_quote(before: str) -> bool:
    return before.rpartition("\n")[2].lstrip().startswith(">")


def _inline_code_end(text: str, start: int, ticks: str) -> int:
    """Behind the closing backticks, which stand in the same paragraph; behind the opening ones if none do."""
    paragraph_end = text.find("\n\n", start)
    closing = re.compile(rf"(?<!`){ticks}(?!`)").search(
        text, start, paragraph_end if paragraph_end >= 0 else len(text)
    )
    return closing.end() if closing else start


_LISTED = re.compile(r"[ \t]*(?:-|\d+[.)])[ \t]+")
"""What an entry of a list begins with."""
_BRACKET = re.compile(r"\s*[{\[]")
_IN_TICKS = re.compile(r"\s*`([^`]+)`\s*")
_PLAIN = frozenset(
    ("", "xml", "json", "text", "txt", "plaintext", "tool", "tool_call", "tool_calls", "tool-call", "html")
)
"""Languages of a fence that may hold marked calls."""


@lru_cache(maxsize=64)
def _opening(asked: tuple[Dialect, ...]) -> re.Pattern[str]:
    """What may begin something: fences, inline code, what is passed over, the marks by rank."""
    ordered = sorted(range(len(asked)), key=lambda i: asked[i].rank)
    parts = [
        r"^[ \t]*(?:(?:[-*]|\d+\.)[ \t]+)?(?P<fence>(?P<marks>`{3,}|~{3,})(?P<info>[^\n`]*)\n)",
        r"(?P<ticks>`+)",
        r"(?P<comment><!--(?s:(?!<!--).)*?-->)",
        *(rf"(?P<m{i}>{asked[i].mark})" for i in ordered if asked[i].mark),
        *(
            rf"(?:^[ \t]*(?:(?:-|\d+[.)])[ \t]+)?|(?<=[.:!] ))(?P<l{i}>{asked[i].line_mark})"
            for i in ordered
            if asked[i].line_mark
        ),
        r"(?P<hunk>^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@.*\n(?:[ +\-\\].*(?:\n|\Z)|\n(?=[ +\-]))*)",
    ]
    return re.compile("|".join(parts), re.MULTILINE)


@lru_cache(maxsize=64)
def _fence_end(marks: str) -> re.Pattern[str]:
    """A line of at least as many marks; also right behind JSON or a tag, or at the end of the reply, where
    models forget the line break."""
    wanted = f"{re.escape(marks[0])}{{{len(marks)},}}"
    return re.compile(rf"(?:^[ \t]*|(?<=[}}\]>]))(?:{wanted})[ \t]*$|(?:{wanted})\s*\Z", re.MULTILINE)
