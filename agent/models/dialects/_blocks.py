"""Where in a reply a call may stand: in code fences and in tags, but not in what a sentence quotes.

One walk from the start that takes whatever opens first as a whole. So a tag inside a fence, a fence inside a
longer fence, and anything inside `inline code` belongs to what surrounds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from json import JSONDecoder
from typing import Literal, NamedTuple


class Block(NamedTuple):
    kind: Literal["fence", "tag"]
    info: str
    """What follows the backticks of a fence, in lower case; empty for a tag."""
    body: str
    closed: bool


def blocks(text: str, tag: str) -> Iterator[Block]:
    """The fences and the `<tag>` elements of the text, in order; quoted ones are left out."""
    position = 0
    while opening := _opening(tag).search(text, position):
        start = opening.end()
        if fence := opening["fence"]:
            closing = _fence_end(fence).search(text, start)
            end, position = closing.span() if closing else (len(text), len(text))
            yield Block("fence", opening["info"].strip().lower(), text[start:end], closing is not None)
        elif ticks := opening["ticks"]:
            position = _inline_code_end(text, start, ticks)
        else:
            closing = _tag_end(tag).search(text, json_end(text, start))
            end, position = closing.span() if closing else (len(text), len(text))
            closed = closing is not None and position > end
            if not _is_quoted(text, opening.start(), position):
                yield Block("tag", "", text[start:end], closed)


def json_end(text: str, start: int) -> int:
    """Where the JSON values that begin at `start` end; `start` itself when there are none.

    Raw line breaks in strings are let pass, for small models write them.
    """
    while True:
        try:
            space = _SPACE.match(text, start)
            _, start = _JSON.raw_decode(text, space.end() if space else start)
        except (ValueError, RecursionError):
            return start


def _inline_code_end(text: str, start: int, ticks: str) -> int:
    """Behind the closing backticks, which stand in the same paragraph; behind the opening ones if none do."""
    paragraph_end = text.find("\n\n", start)
    closing = re.compile(rf"(?<!`){ticks}(?!`)").search(
        text, start, paragraph_end if paragraph_end >= 0 else len(text)
    )
    return closing.end() if closing else start


def _is_quoted(text: str, start: int, end: int) -> bool:
    """In a sentence (words before and behind on the line), in an e-mail quote, or in a diff."""
    before = text[text.rfind("\n", 0, start) + 1 : start].strip()
    behind = text[end:].partition("\n")[0].strip()
    return (
        before.startswith(">")
        or before in ("+", "-")
        or bool(before and behind and not behind.startswith("<"))
    )


_JSON = JSONDecoder(strict=False)
_SPACE = re.compile(r"\s*")


@cache
def _opening(tag: str) -> re.Pattern[str]:
    return re.compile(
        rf"^[ \t]*(?P<fence>`{{3,}}|~{{3,}})(?P<info>[^\n`]*)\n|(?P<ticks>`+)|<{re.escape(tag)}>",
        re.MULTILINE,
    )


@cache
def _tag_end(tag: str) -> re.Pattern[str]:
    """The closing tag, or where the next one opens because a model forgot to close."""
    name = re.escape(tag)
    return re.compile(rf"</{name}>|(?=<{name}>)")


@cache
def _fence_end(fence: str) -> re.Pattern[str]:
    """A line of at least as many marks; also right behind JSON, where models forget the line break."""
    marks = f"{re.escape(fence[0])}{{{len(fence)},}}"
    return re.compile(rf"(?:^[ \t]*|(?<=[}}\]])){marks}[ \t]*$", re.MULTILINE)
