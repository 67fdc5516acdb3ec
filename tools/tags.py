"""What a source file defines and what it refers to, in each language of `tools/grammars.py`.

What counts is said by a query a language, `tools/queries/*.scm`: its captures are kinds of definitions
(`KINDS`) on the name that is defined, and `ref` on a name that is used. Sources are hostile: how much is
read, and for how long, is bounded.
"""

from __future__ import annotations

import functools
import importlib.resources
import time
from collections import Counter

import msgspec
from tree_sitter import Node, Parser, Point, Query, QueryCursor, Tree

from tools.grammars import LANGUAGES, load

KINDS = ("module", "constant", "function", "method", "type", "class")
"""Where two patterns fit one name, the later kind is what it is."""
MAX_BYTES = 512 * 1024
"""Larger sources are generated or data; they get no tags."""
MAX_SECONDS = 2.0
"""For parsing one file."""
MAX_MATCHES = 100_000
"""Of a query that are open at a time: the search then takes memory and time in proportion to the file."""
MAX_DEFINITIONS = 2000
MAX_NAME = 80
MAX_LINE = 120
_BLOCK = 64 * 1024


class Definition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A name that a file defines."""

    name: str
    kind: str
    line: int
    """From 1."""
    text: str
    """The line, with its indent, clipped."""


class Tags(msgspec.Struct, frozen=True, array_like=True):
    """Definitions in the order of the text, and how often each name is referred to."""

    definitions: tuple[Definition, ...] = ()
    references: dict[str, int] = {}


def tags(source: bytes, language: str) -> Tags:
    """The tags of a source text in a language of `LANGUAGES`; none when it is too large or takes too long.

    Raises GrammarMissing.
    """
    parser, query = _tools(language)
    if len(source) > MAX_BYTES:
        return Tags()
    tree = parse(parser, source)
    if tree is None:
        return Tags()
    found = QueryCursor(query, match_limit=MAX_MATCHES).captures(tree.root_node)
    references = Counter(_name(source, node) for node in found.get("ref", ()))
    nodes = {node.start_byte: (kind, node) for kind in KINDS for node in found.get(kind, ())}
    lines = source.split(b"\n")
    definitions = (_definition(source, lines, *nodes[start]) for start in sorted(nodes)[:MAX_DEFINITIONS])
    return Tags(tuple(definitions), dict(references))


def _definition(source: bytes, lines: list[bytes], kind: str, node: Node) -> Definition:
    row = node.start_point.row
    text = lines[row][:MAX_LINE].decode("utf-8", "replace").rstrip().expandtabs(4)
    return Definition(_name(source, node), kind, row + 1, text)


def _name(source: bytes, node: Node) -> str:
    return source[node.start_byte : min(node.end_byte, node.start_byte + MAX_NAME)].decode("utf-8", "replace")


def parse(parser: Parser, source: bytes) -> Tree | None:
    """The tree, or None when it would take longer than `MAX_SECONDS`."""
    until = time.monotonic() + MAX_SECONDS

    def block(offset: int, _: Point) -> bytes:
        return source[offset : offset + _BLOCK]

    try:
        return parser.parse(block, progress_callback=lambda *_: time.monotonic() > until)
    except ValueError:
        parser.reset()
        return None


def first_error(source: bytes, language: str) -> tuple[int, str] | None:
    """Line and words of the first place that the grammar cannot read; None also where it takes too long."""
    tree = parse(parser(language), source)
    if tree is None or not tree.root_node.has_error:
        return None
    node = tree.root_node
    while not node.is_missing and (inner := next((c for c in node.children if c.has_error), None)):
        node = inner
    line = node.start_point.row + 1
    if node.is_missing:
        return line, f"missing {node.type!r}"
    return line, f"unexpected {_name(source, node).partition(chr(10))[0][:40]!r}"


@functools.cache
def parser(language: str) -> Parser:
    """The parser of a language, loaded once."""
    return Parser(load(language))


@functools.cache
def _tools(language: str) -> tuple[Parser, Query]:
    grammar = load(language)
    name = LANGUAGES[language].query or language
    text = importlib.resources.files("tools").joinpath("queries", f"{name}.scm").read_text("utf-8")
    return Parser(grammar), Query(grammar, text)
