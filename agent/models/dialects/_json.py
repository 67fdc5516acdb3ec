"""JSON as models write it: where a value ends, and what a broken one means. Pure.

Repair is left to `json-repair`, and held to three rules, for a wrong repair is worse than an error that the
model is told: a text whose end is missing is not repaired, only closed, and not even that inside a string;
every letter that was written is still there afterwards; nothing is a placeholder.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any, NamedTuple


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


DECODER = json.JSONDecoder(strict=False, parse_constant=_no_number)
"""Lets raw line breaks in strings pass, for small models write them."""


class Extent(NamedTuple):
    """How far the brackets reach that a text begins with."""

    end: int
    missing: str
    """The brackets that the text's end left open, in the order in which they would close."""
    in_string: bool
    """The text ends inside a string."""


def extent(text: str, start: int) -> Extent:
    """From the bracket at `start` to the one that closes it; quotes of JSON and of Python are known."""
    brackets: list[str] = []
    position = start
    while token := _TOKEN.search(text, position):
        mark, position = token[0], token.end()
        if mark in _CLOSING:
            brackets.append(_CLOSING[mark])
        elif mark in "]})":
            if brackets:
                brackets.pop()
            if not brackets:
                return Extent(position, "", False)
        elif mark[0] == '"' or _opens_string(text, token.start(), start):
            closing = _STRINGS[mark].match(text, position)
            if closing is None:
                return Extent(len(text), "".join(reversed(brackets)), True)
            position = closing.end()
    return Extent(len(text), "".join(reversed(brackets)), False)


def value_at(text: str, start: int) -> tuple[Any, int] | None:
    """The JSON value at `start` and where it ends; None when it is no JSON."""
    try:
        return DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None


def object_at(text: str, start: int, stop: re.Pattern[str]) -> tuple[str, int]:
    """The text of the object at `start`, if need be in a fence, and where it ends.

    Where it has no end or is no object: all up to `stop`, else to the end of the text.
    """
    opening = _OPENING.match(text, start)
    begin = opening.end() if opening else start
    if opening:
        found = value_at(text, begin)
        reach = extent(text, begin)
        if found or not (reach.missing or reach.in_string):
            end = found[1] if found else reach.end
            return text[begin:end], end
    closing = stop.search(text, start)
    end = closing.start() if closing else len(text)
    return text[begin:end].strip().removesuffix("```").rstrip(), end


def repaired(text: str) -> Any:
    """The object or list that broken JSON means; None when that is not plain."""
    found = extent(text, 0)
    if found.in_string or text[found.end :].strip("}] \t\n"):
        return None
    text = _ESCAPE.sub(_escaped, _plain(text[: found.end]) + found.missing)
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        pass
    if _ELLIPSIS.search(_STRING.sub("", text)):
        return None
    import json_repair

    try:
        value = _python_value(text)
        if value is None and not found.missing:
            value = _without_guard(json_repair.loads(_STRING.sub(_guarded, text)))
        dumped = json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(value, dict | list) or _letters(text) != _letters(dumped) or _has_placeholder(value):
        return None
    return value


def undoubled(text: str) -> str:
    """Braces doubled, as in a template's example, made single."""
    return _DOUBLED.sub(lambda m: m[0] if m[0][0] == '"' else m[0][0], text)


def _opens_string(text: str, at: int, start: int) -> bool:
    """A single quote opens a string behind a bracket, comma, colon or equals sign; else it is a letter."""
    before = text[max(start, at - 20) : at].rstrip()
    return before[-1:] in "{[(,:="


def _escaped(match: re.Match[str]) -> str:
    """An escape that JSON does not know, such as `\\d`, is a backslash and a letter."""
    if match[1] == "'":
        return "'"
    return match[0] if match[1][0] in '"\\/bfnrt' or len(match[1]) == 5 else "\\" + match[0]


def _python_value(text: str) -> Any:
    """What the text is as a literal of Python; None when it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _guarded(string: re.Match[str]) -> str:
    text = string[0]
    return f"{text[:-1]}{_GUARD}{text[-1]}" if text[:-1].endswith(_BLANK) else text


def _without_guard(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_guard(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_guard(entry) for entry in value]
    return value.replace(_GUARD, "") if isinstance(value, str) else value


def _plain(text: str) -> str:
    """Without comments, and with strings in other languages' quotes as JSON's."""
    return _FOREIGN.sub(lambda m: m[0] if m["json"] else _as_json(m["triple"] or m["ticks"] or ""), text)


def _as_json(inner: str) -> str:
    quoted = re.sub(r'(?<!\\)"', r'\\"', inner).replace("\n", "\\n")
    return f'"{quoted}"' if inner else ""


def _letters(text: str) -> str:
    """What must not change: everything but white space and what JSON itself is made of."""
    return _NO_LETTERS.sub("", text).lower().replace("none", "null")


def _has_placeholder(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_placeholder, (*value, *value.values())))
    if isinstance(value, list):
        return any(map(_has_placeholder, value))
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value.strip()) is not None


_OPENING = re.compile(r"\s*(?:```\w*\s*)?(?=[{\[])")
_CLOSING = {"{": "}", "[": "]", "(": ")"}
_TOKEN = re.compile(r'"""|\'\'\'|["\'{}\[\]()]')
_STRINGS = {
    '"': re.compile(r'(?:[^"\\]|\\.)*"', re.DOTALL),
    "'": re.compile(r"(?:[^'\\]|\\.|'(?!\s*(?:[,:)\]}]|\Z)))*'", re.DOTALL),
    '"""': re.compile(r'(?:[^"\\]|\\.|"(?!""))*"""', re.DOTALL),
    "'''": re.compile(r"(?:[^'\\]|\\.|'(?!''))*'''", re.DOTALL),
}
"""Opening quote -> the rest of its string. A single one closes where JSON or Python goes on behind it."""
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_DOUBLED = re.compile(r'"(?:\\.|[^"\\])*"|\{\{|\}\}', re.DOTALL)
_GUARD = "\u2063"
"""Stands behind a blank at the end of a string while the library works, for it would take the blank away."""
_STRING = re.compile(r"""\"(?:\\.|[^"\\])*\"|(?<=[{\[,:\s])'(?:\\.|[^'\\\n])*'""", re.DOTALL)
_BLANK = ("\\n", "\\r", "\\t", "\n", "\t", " ")
_ELLIPSIS = re.compile(r"\.{3}|…")
_FOREIGN = re.compile(
    r"""(?P<marks>\"{3}|'{3})(?P<triple>.*?)(?P=marks)|(?P<json>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?<=[:,\[\s])`(?P<ticks>[^`]*)`(?=\s*[,}\]])|(?<=[\s,{\[}\]])//[^\n]*|/\*.*?\*/""",
    re.DOTALL,
)
_NO_LETTERS = re.compile(r"""\\u[0-9a-fA-F]{4}|\\.|[^!-~]+|["',:{}\[\]]+""", re.DOTALL)
_PLACEHOLDER = re.compile(r"(?:\.{3}|…|<[^<>]*>?)\}*")
