"""Small changes of Python text that repair a small fault, by its syntax tree. Pure.

    for repair in repairs(source):
        better = repair.apply(source)

Operators, conditions and constants are exchanged as in Debroy, Wong: Using Mutation to Automatically Suggest
Fixes for Faulty Programs (ICST 2010); bounds, arguments, names and statements as in the mutation operators of
Offutt's school (Jia, Harman: An Analysis and Survey of the Development of Mutation Testing, 2011). A change
keeps the number of lines, so that everything below stays where it is. Whether it compiles is to be asked.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import msgspec

from tools.tags import MAX_BYTES

Kind = Literal[
    "compare",
    "logic",
    "negate",
    "number",
    "truth",
    "arithmetic",
    "jump",
    "swap",
    "bound",
    "call",
    "name",
    "drop",
]
KINDS: tuple[Kind, ...] = (
    *("compare", "logic", "negate", "number", "truth", "arithmetic"),
    *("jump", "swap", "bound", "call", "name", "drop"),
)
"""The likelier a repair is of a kind, the sooner it comes."""
LATER: tuple[Kind, ...] = KINDS[7:]
"""What has many changes for each that mends."""

_EXCHANGED: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">", ">=", "!=")),
    ast.LtE: ("<=", ("<", ">=", ">", "==")),
    ast.Gt: (">", (">=", "<", "<=", "!=")),
    ast.GtE: (">=", (">", "<=", "<", "==")),
    ast.Eq: ("==", ("!=", "<=", ">=")),
    ast.NotEq: ("!=", ("==", "<", ">")),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.And: ("and", ("or",)),
    ast.Or: ("or", ("and",)),
    ast.Add: ("+", ("-", "*")),
    ast.Sub: ("-", ("+", "*")),
    ast.Mult: ("*", ("+", "//", "**", "/")),
    ast.Div: ("/", ("//", "*")),
    ast.FloorDiv: ("//", ("/", "*", "%")),
    ast.Mod: ("%", ("//", "*")),
    ast.Pow: ("**", ("*",)),
    ast.BitAnd: ("&", ("|", "^")),
    ast.BitOr: ("|", ("&", "^")),
    ast.BitXor: ("^", ("&", "|")),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
    ast.USub: ("-", ("+",)),
    ast.UAdd: ("+", ("-",)),
}
_SIBLINGS = (
    *("min max", "any all", "append extend", "startswith endswith", "lstrip rstrip", "find rfind"),
    *("index rindex", "split rsplit", "partition rpartition", "lower upper", "floor ceil"),
)
_SIBLING = {a: b for pair in _SIBLINGS for a, b in (pair.split(), reversed(pair.split()))}
_DROPPED = (ast.Expr, ast.AugAssign, ast.Assign, ast.Raise, ast.Return, ast.Break, ast.Continue, ast.Delete)
_SWAPPED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod)
_BOOLEAN = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.BoolOp)
"""Values that may be meant to be turned round; of a comparison the operator is exchanged."""
_MOST_NAMES = 3
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


class Repair(msgspec.Struct, frozen=True):
    """One change. `start` and `end` are offsets of the bytes that `text` takes the place of."""

    kind: Kind
    start: int
    end: int
    text: bytes
    line: int
    """Of the statement that it is in, from 1; of a compound one its first."""

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text + source[self.end :]


def repairs(source: bytes) -> list[Repair]:
    """All changes of function bodies, in the order of the text, no two alike.

    None for a text that is too large, has no plain line ends, is no UTF-8 or does not parse.
    """
    tree = _parsed(source)
    if tree is None:
        return []
    text = _Text(source)
    found: dict[tuple[int, int, bytes], Repair] = {}
    for function in ast.walk(tree):
        if isinstance(function, _Function):
            names = _names(function)
            for statement, node in _nodes(function.body):
                for kind, start, end, new in text.changes(statement, node, names):
                    old = source[start:end]
                    if new != old and new.count(b"\n") == old.count(b"\n"):
                        found.setdefault((start, end, new), Repair(kind, start, end, new, statement.lineno))
    return sorted(found.values(), key=lambda each: (each.start, each.end, each.text))


def _parsed(source: bytes) -> ast.Module | None:
    if len(source) > MAX_BYTES or b"\r" in source or b"\f" in source:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source.decode())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _nodes(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.AST]]:
    """(statement, node in it), without inner functions and the parts of f-strings."""
    stack: list[tuple[ast.stmt, ast.AST]] = [(statement, statement) for statement in reversed(body)]
    while stack:
        statement, node = stack.pop()
        if isinstance(node, (*_Function, ast.JoinedStr)):
            continue
        yield statement, node
        for child in ast.iter_child_nodes(node):
            stack.append((child if isinstance(child, ast.stmt) else statement, child))


def _names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Arguments and local variables, those first that are used most."""
    used = Counter(
        node.arg if isinstance(node, ast.arg) else node.id
        for node in ast.walk(function)
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    )
    return [name for name, _ in used.most_common() if name not in ("self", "cls")]


_Change = tuple[Kind, int, int, bytes]


class _Text:
    """Where nodes are in a text, and what they can become."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._lines = [0, *(match.end() for match in re.finditer(rb"\n", source))]

    def _span(self, node: Any) -> tuple[int, int]:
        return (
            self._lines[node.lineno - 1] + node.col_offset,
            self._lines[node.end_lineno - 1] + node.end_col_offset,
        )

    def _of(self, node: ast.AST) -> bytes:
        start, end = self._span(node)
        return self._source[start:end]

    def _replaced(self, kind: Kind, node: ast.AST, text: bytes) -> _Change:
        return (kind, *self._span(node), text)

    def changes(self, statement: ast.stmt, node: ast.AST, names: list[str]) -> Iterator[_Change]:
        match node:
            case ast.Compare(left=left, ops=ops, comparators=right):
                for op, (before, after) in zip(ops, pairwise([left, *right]), strict=True):
                    yield from self._operator("compare", op, before, after)
            case ast.BoolOp(op=op, values=values):
                for before, after in pairwise(values):
                    yield from self._operator("logic", op, before, after)
                for value in values:
                    yield from self._negated(value)
                if len(values) == 2:
                    for value in values:
                        yield self._replaced("drop", node, b"(" + self._of(value) + b")")
            case ast.BinOp(left=left, op=op, right=right):
                if not (isinstance(op, ast.Mod) and _is_text(left)):
                    yield from self._operator("arithmetic", op, left, right)
                    if isinstance(op, _SWAPPED):
                        yield from self._swapped(left, right)
            case ast.AugAssign(target=target, op=op, value=value):
                yield from self._operator("arithmetic", op, target, value)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield self._replaced("negate", node, b"(" + self._of(operand) + b")")
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                old, (new,) = _EXCHANGED[type(op)]
                start = self._span(node)[0]
                if self._source[start : start + 1] == old.encode():
                    yield "arithmetic", start, start + 1, new.encode()
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
                yield from self._negated(test)
            case ast.comprehension(ifs=tests):
                for test in tests:
                    yield from self._negated(test)
            case ast.Constant(value=value):
                yield from self._constant(node, value)
            case ast.Break() | ast.Continue():
                yield self._replaced("jump", node, b"continue" if isinstance(node, ast.Break) else b"break")
            case ast.Slice(lower=lower, upper=upper):
                for bound in (lower, upper):
                    if bound is not None:
                        yield from self._moved(bound)
            case ast.Subscript(slice=ast.Name() | ast.BinOp() as index):
                yield from self._moved(index)
            case ast.Call():
                yield from self._call(node, names)
            case ast.Return(value=value) | ast.Assign(value=value) if value is not None:
                if isinstance(value, _BOOLEAN):
                    yield from self._negated(value)
                if isinstance(node, ast.Return) and isinstance(value, ast.Name):
                    yield from self._renamed(value, names)
        if node is statement and isinstance(node, _DROPPED) and not _is_docstring(node):
            lines = self._of(node).count(b"\n")
            yield self._replaced("drop", node, b"pass" + b"\n" * lines)

    def _operator(self, kind: Kind, op: ast.AST, before: ast.AST, after: ast.AST) -> Iterator[_Change]:
        if type(op) not in _EXCHANGED:
            return
        old, others = _EXCHANGED[type(op)]
        start, end = self._span(before)[1], self._span(after)[0]
        between = self._source[start:end]
        place = re.search(re.escape(old).replace(r"\ ", r"\s+").encode(), between)
        if place and b"#" not in between:
            for new in others:
                yield kind, start + place.start(), start + place.end(), new.encode()

    def _negated(self, node: ast.AST) -> Iterator[_Change]:
        if not (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
            yield self._replaced("negate", node, b"(not (" + self._of(node) + b"))")

    def _constant(self, node: ast.AST, value: object) -> Iterator[_Change]:
        if isinstance(value, bool):
            yield self._replaced("truth", node, str(not value).encode())
        elif isinstance(value, int) and self._of(node).isdigit():
            yield self._replaced("number", node, str(value + 1).encode())
            less = str(value - 1).encode()
            yield self._replaced("number", node, less if value else b"(" + less + b")")

    def _moved(self, node: ast.AST) -> Iterator[_Change]:
        """A bound that is off by one; of a number that says `_constant`."""
        if not isinstance(node, ast.Constant | ast.UnaryOp):
            for step in (b" + 1", b" - 1"):
                yield self._replaced("bound", node, b"((" + self._of(node) + b")" + step + b")")

    def _swapped(self, first: ast.AST, second: ast.AST) -> Iterator[_Change]:
        (start, middle), (after, end) = self._span(first), self._span(second)
        text = b"(" + self._of(second) + b")" + self._source[middle:after] + b"(" + self._of(first) + b")"
        yield "swap", start, end, text

    def _call(self, node: ast.Call, names: list[str]) -> Iterator[_Change]:
        called = node.func
        name = getattr(called, "id", "") or getattr(called, "attr", "")
        if name in _SIBLING:
            end = self._span(called)[1]
            yield "call", end - len(name), end, _SIBLING[name].encode()
        if name in ("range", "len"):
            for bound in node.args if name == "range" else [node]:
                yield from self._moved(bound)
        plain = [argument for argument in node.args if not isinstance(argument, ast.Starred)]
        if len(plain) == len(node.args):
            for first, second in pairwise(plain):
                yield from self._swapped(first, second)
        for argument in plain:
            if isinstance(argument, ast.Name):
                yield from self._renamed(argument, names)

    def _renamed(self, node: ast.Name, names: list[str]) -> Iterator[_Change]:
        if node.id in names:
            others = [name for name in names if name != node.id]
            for name in others[:_MOST_NAMES]:
                yield self._replaced("name", node, name.encode())


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and _is_text(node.value)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )
