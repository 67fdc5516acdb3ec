"""Small faults put into source text by its syntax tree, in each language of `tools/mutable.py`. Pure.

    for mutant in mutants(source, "python"):
        worse = mutant.apply(source)

The kinds are those of the literature (Jia and Harman, "An Analysis and Survey of the Development of Mutation
Testing", 2011): an operator exchanged, a boundary moved, a condition turned round, a constant off by one, a
statement left out. Whether a mutant does any harm is for the tests to say.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Literal

import msgspec
from tree_sitter import Node

from tools.mutable import LANGUAGES, Mutable
from tools.tags import MAX_BYTES, parse, parser, tags

Kind = Literal["compare", "arithmetic", "logic", "condition", "number", "truth", "drop"]
_TRUTHS = ("true", "false", "boolean", "boolean_literal", "kTrue", "kFalse")
_ENCLOSED = ("parenthesized_expression", "condition_clause")
_TEXTS = ("string", "concatenated_string")
_MOST_LINES = 3
"""Of a statement that is left out."""


class Mutant(msgspec.Struct, frozen=True):
    """One fault. `start` and `end` are offsets of the bytes that `text` takes the place of."""

    kind: Kind
    start: int
    end: int
    text: bytes
    line: int
    """From 1."""
    scope: str
    """The nearest definition above; "" at the top of a file."""

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text + source[self.end :]


def mutants(source: bytes, language: str) -> list[Mutant]:
    """All faults, in the order of the text, no two alike. Whether the result still `parses` is to be asked.

    None for a text that is too large, no UTF-8, or does not parse itself. Raises GrammarMissing.
    """
    table, own = LANGUAGES[language], parser(language)
    tree = parse(own, source) if len(source) <= MAX_BYTES and _is_text(source) else None
    if tree is None or tree.root_node.has_error:
        return []
    known = [(each.line, each.name) for each in tags(source, language).definitions]
    lines = [line for line, _ in known]
    found: dict[tuple[int, int, bytes], Mutant] = {}
    for node in _walk(tree.root_node):
        line = node.start_point.row + 1
        above = bisect.bisect_right(lines, line)
        for kind, start, end, text in _faults(node, source, table):
            scope = known[above - 1][1] if above else ""
            found.setdefault((start, end, text), Mutant(kind, start, end, text, line, scope))
    return sorted(found.values(), key=lambda each: (each.start, each.end, each.text))


def parses(source: bytes, language: str) -> bool:
    """Whether a text has no syntax error, as far as its grammar knows; for Python as the interpreter says."""
    if language == "python":
        return _compiles(source)
    tree = parse(parser(language), source)
    return tree is not None and not tree.root_node.has_error


def _compiles(source: bytes) -> bool:
    from tools.syntax import errors

    return not errors(source)


def _is_text(source: bytes) -> bool:
    try:
        return b"\r" not in source and bool(source.decode())
    except UnicodeDecodeError:
        return False


def _walk(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def _faults(node: Node, source: bytes, table: Mutable) -> Iterator[tuple[Kind, int, int, bytes]]:
    text = source[node.start_byte : node.end_byte]
    if node.child_count == 0 or not node.is_named:  # `not in` is a token of two
        yield from _of_token(node, text.decode(), table)
    if node.type in table.branches and (condition := node.child_by_field_name("condition")):
        yield _turned(condition, source, table)
    if node.type in table.statements and (parent := node.parent) and parent.type in table.blocks:
        documentation = node.named_child_count == 1 and node.named_children[0].type in _TEXTS
        if not documentation and node.end_point.row - node.start_point.row < _MOST_LINES:
            yield _dropped(node, parent, source, table)


def _of_token(node: Node, text: str, table: Mutable) -> Iterator[tuple[Kind, int, int, bytes]]:
    above = node.parent.type if node.parent is not None else ""
    if node.type in table.integers and text.isdecimal() and text.isascii():
        yield "number", node.start_byte, node.end_byte, str(int(text) + 1).encode()
        return
    if text in table.truth and (node.type in _TRUTHS or above in _TRUTHS):
        yield "truth", node.start_byte, node.end_byte, table.truth[text].encode()
    if node.type not in table.infix and above not in table.infix:
        return
    exchanges: tuple[tuple[Kind, dict[str, str]], ...] = (
        ("compare", dict(table.compare)),
        ("arithmetic", dict(table.arithmetic)),
        ("logic", dict(table.logic)),
    )
    for kind, exchange in exchanges:
        if text in exchange:
            yield kind, node.start_byte, node.end_byte, exchange[text].encode()


def _turned(condition: Node, source: bytes, table: Mutable) -> tuple[Kind, int, int, bytes]:
    start, end = condition.start_byte, condition.end_byte
    if condition.type in _ENCLOSED and source[start : start + 1] == b"(":
        start, end = start + 1, end - 1
    return "condition", start, end, table.negation.format(source[start:end].decode()).encode()


def _dropped(node: Node, parent: Node, source: bytes, table: Mutable) -> tuple[Kind, int, int, bytes]:
    """The statement with its line, where it is alone there; what the block cannot do without instead."""
    start, end = node.start_byte, node.end_byte
    others = [child for child in parent.named_children if child != node and "comment" not in child.type]
    if not others and table.filler:
        return "drop", start, end, table.filler.encode()
    begin = source.rfind(b"\n", 0, start) + 1
    stop = source.find(b"\n", end) + 1 or len(source)
    if not source[begin:start].strip() and not source[end:stop].strip(b" \t\n;"):
        return "drop", begin, stop, b""
    return "drop", start, end, b""
