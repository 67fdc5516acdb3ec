"""What is written in a source file, by its syntax tree: definitions, calls, imports, syntax errors.

The one owner of tree-sitter. Sources are bytes and every place is a byte offset into them (lines count from
1), so that a caller can cut and join without touching anything else. Trees of broken files are used as far as
they reach. A further language is one entry in `_LANGUAGES`.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec
from tree_sitter import Language, Node, Parser, Query, QueryCursor, Tree

from tools import special
from tools.base import ToolError
from tools.layout import body_below


class SyntaxProblem(ToolError):
    """Source text that cannot be used as asked. `line` counts from 1 in the faulty text; 0 if unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Symbol(msgspec.Struct, frozen=True):
    """A definition. Its span runs from the first decorator, without its indent, to the end of the body."""

    qualname: str
    """Names of the enclosing definitions and its own, joined by dots."""
    kind: Literal["function", "method", "class"]
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    def_byte: int
    """Where the definition itself begins, after its decorators."""
    body_byte: int
    docstring: tuple[int, int] | None = None
    """Span of the docstring, if the language and the definition have one."""

    @property
    def name(self) -> str:
        return self.qualname.rpartition(".")[2]


class Import(msgspec.Struct, frozen=True):
    """One name that an import binds: `import module as bound`, or `from module import name as bound`."""

    bound: str
    module: str
    """Dotted module, with its leading dots when relative."""
    name: str = ""
    """The imported name; empty for a plain import, `*` for everything."""

    @property
    def code(self) -> str:
        if not self.name:
            return f"import {self.module}" + (f" as {self.bound}" if self.bound != self.module else "")
        return f"from {self.module} import {self.name}" + (
            f" as {self.bound}" if self.bound != self.name else ""
        )


class Call(msgspec.Struct, frozen=True):
    """A call, by the path that is called: `f`, `module.f`, `thing.method`; `?` where it is no plain name."""

    path: str
    line: int
    start_byte: int


class Statement(msgspec.Struct, frozen=True):
    """A statement and the names that it binds."""

    kind: Literal["import", "definition", "assignment", "other"]
    names: frozenset[str]
    start_byte: int
    end_byte: int
    start_line: int
    end_line: int


class _Grammar(msgspec.Struct, frozen=True):
    """The node types of one language that this module asks for."""

    suffixes: tuple[str, ...]
    load: Callable[[], Any]
    functions: frozenset[str]
    classes: frozenset[str]
    decorated: frozenset[str]
    imports: frozenset[str]
    assignments: frozenset[str]


def _python() -> Any:
    import tree_sitter_python

    return tree_sitter_python.language()


_LANGUAGES: dict[str, _Grammar] = {
    "python": _Grammar(
        suffixes=(".py", ".pyi", ".pyw"),
        load=_python,
        functions=frozenset({"function_definition"}),
        classes=frozenset({"class_definition"}),
        decorated=frozenset({"decorated_definition"}),
        imports=frozenset({"import_statement", "import_from_statement", "future_import_statement"}),
        assignments=frozenset({"assignment", "augmented_assignment", "for_statement", "named_expression"}),
    ),
}


_CALL, _IDENTIFIER = frozenset({"call"}), frozenset({"identifier"})
_COMMENT, _STRING = frozenset({"comment"}), frozenset({"string"})

_OPERATIONS = frozenset({"comparison_operator", "binary_operator", "augmented_assignment"})
_IMPLYING = _OPERATIONS | {"attribute", "call", *special.SYNTAX}


def language_of(path: str) -> str | None:
    """Name of the language of a file, by its suffix; None when it is not one of ours."""
    suffix = PurePosixPath(path).suffix.lower()
    return next((name for name, grammar in _LANGUAGES.items() if suffix in grammar.suffixes), None)


def symbols(source: bytes, language: str = "python") -> list[Symbol]:
    """Every function, method and class, nested ones included, in the order of the text."""
    grammar, tree = _grammar(language), _tree(source, language)
    found: list[Symbol] = []
    around: list[tuple[int, str, bool]] = []
    for node in _nodes(source, grammar.functions | grammar.classes, language):
        while around and around[-1][0] <= node.start_byte:
            around.pop()
        if name := node.child_by_field_name("name"):
            _, scope, in_class = around[-1] if around else (0, "", False)
            qualname = f"{scope}.{_text(name)}" if scope else _text(name)
            is_class = node.type in grammar.classes
            found.append(_symbol(node, qualname, is_class, in_class, grammar))
            around.append((node.end_byte, qualname, is_class))
    if tree.root_node.has_error and language == "python":
        return [_reaching(source, symbol) for symbol in found]
    return found


def functions(source: bytes, language: str = "python") -> list[Symbol]:
    """Functions and methods alone, in the order of the text."""
    return [symbol for symbol in symbols(source, language) if symbol.kind != "class"]


def function_at(source: bytes, line: int, language: str = "python") -> Symbol | None:
    """The innermost function whose span, decorators included, holds `line`."""
    holding = [s for s in functions(source, language) if s.start_line <= line <= s.end_line]
    return max(holding, key=lambda s: s.start_byte, default=None)


def errors(source: bytes, language: str = "python") -> list[tuple[int, str]]:
    """Syntax errors as (line, what is wrong), at most 20.

    For Python it is the one that the interpreter finds first: it knows more than a tolerant grammar. Code for
    a newer Python than this one can therefore be reported, so compare with what was there before.
    """
    if language == "python":
        return _python_errors(source)
    found: list[tuple[int, str]] = []
    for node in _walk(_tree(source, language).root_node, enter=lambda n: n.has_error):
        if node.is_missing:
            found.append((node.start_point.row + 1, f"missing {node.type}"))
        elif node.is_error:
            found.append((node.start_point.row + 1, f"unexpected {_text(node)[:40]!r}"))
    return found[:20]


def statements(source: bytes, language: str = "python") -> list[Statement]:
    """The statements of the top level; a compound one (`if`, `try`) is one and binds what its parts bind."""
    grammar = _grammar(language)
    return [
        _statement(node, grammar)
        for node in _tree(source, language).root_node.children
        if node.is_named and node.type != "comment"
    ]


def statement_at(source: bytes, line: int, within: Symbol, language: str = "python") -> Statement | None:
    """The smallest statement inside a definition's body that holds `line`."""
    grammar = _grammar(language)
    found = None
    for node in _walk(_tree(source, language).root_node, enter=lambda n: _holds(n, line)):
        inside = within.body_byte <= node.start_byte and node.end_byte <= within.end_byte
        if inside and _holds(node, line) and node.parent is not None and node.parent.type == "block":
            found = node
    return _statement(found, grammar) if found else None


def assigning(
    source: bytes, names: frozenset[str], within: Symbol, language: str = "python"
) -> list[Statement]:
    """The assignments, loops over and bindings of any of `names` inside a definition."""
    grammar = _grammar(language)
    nodes = _nodes(source, grammar.assignments, language, within.body_byte, within.end_byte)
    return [s for s in (_statement(n, grammar) for n in nodes) if s.names & names]


def imports(source: bytes, language: str = "python") -> list[Import]:
    """Everything that imports bind anywhere in the file, functions included, in the order of the text."""
    nodes = _nodes(source, _grammar(language).imports, language)
    return [found for node in nodes for found in _imported(node)]


def calls(source: bytes, start: int = 0, end: int | None = None, language: str = "python") -> list[Call]:
    """The calls whose text lies in the span, in the order in which they are written."""
    return [
        Call(_dotted(node.child_by_field_name("function")), node.start_point.row + 1, node.start_byte)
        for node in _nodes(source, _CALL, language, start, end)
    ]


def implied(source: bytes, start: int = 0, end: int | None = None) -> list[Call]:
    """What Python may call for what is written in the span without a call, as `?.method`: special methods,
    and for an attribute that may be a property, the method of its name.
    """
    return [
        Call(f"?.{name}", node.start_point.row + 1, node.start_byte)
        for node in _nodes(source, _IMPLYING, "python", start, end)
        for name in _implied(node)
    ]


def _implied(node: Node) -> Iterator[str]:
    if node.type in _OPERATIONS:
        for child in node.children:
            yield from special.OPERATORS.get(child.type, ())
    elif node.type == "call":
        yield from special.BUILTINS.get(_dotted(node.child_by_field_name("function")), ())
    elif node.type == "attribute":
        yield _dotted(node).rpartition(".")[2]
    else:
        yield from special.SYNTAX[node.type]


def identifiers(source: bytes, start: int = 0, end: int | None = None, language: str = "python") -> set[str]:
    """Every identifier in the span, attributes included."""
    return {_text(n) for n in _nodes(source, _IDENTIFIER, language, start, end)}


def handed(source: bytes, start: int = 0, end: int | None = None) -> list[Call]:
    """The plain names that are read in the span, each as a call: so functions are handed to others.

    No attributes, and no names of parameters and arguments.
    """
    return [
        Call(_text(node), node.start_point.row + 1, node.start_byte)
        for node in _nodes(source, _IDENTIFIER, "python", start, end)
        if node.parent is None or not _only_names(node, node.parent)
    ]


_BINDING = {"attribute": "attribute"} | dict.fromkeys(
    (
        "keyword_argument",
        "default_parameter",
        "typed_default_parameter",
        "function_definition",
        "class_definition",
    ),
    "name",
)
"""Type of a node -> its field that is no value."""


def _only_names(node: Node, parent: Node) -> bool:
    """Whether an identifier binds or selects, rather than stands for a value."""
    if field := _BINDING.get(parent.type):
        return bool(parent.child_by_field_name(field) == node)
    return parent.type in ("parameters", "lambda_parameters", "dotted_name")


def comments(source: bytes, start: int = 0, end: int | None = None, language: str = "python") -> list[str]:
    return [_text(n) for n in _nodes(source, _COMMENT, language, start, end)]


def multiline_strings(source: bytes, language: str = "python") -> list[tuple[int, int]]:
    """Spans of string literals over several lines: there a change of indentation changes the value."""
    nodes = _nodes(source, _STRING, language)
    return [(n.start_byte, n.end_byte) for n in nodes if n.start_point.row != n.end_point.row]


def _grammar(language: str) -> _Grammar:
    if language not in _LANGUAGES:
        raise SyntaxProblem(f"no grammar for {language!r}; known: {', '.join(_LANGUAGES)}")
    return _LANGUAGES[language]


@functools.cache
def _loaded(language: str) -> Language:
    return Language(_grammar(language).load())


@functools.lru_cache(maxsize=32)
def _tree(source: bytes, language: str) -> Tree:
    """Bytes that are not UTF-8 stand as underscores, one for one: offsets stay those of the file."""
    try:
        source.decode()
    except UnicodeDecodeError:
        source = bytes(byte if byte < 0x80 else 0x5F for byte in source)
    # a parser of its own: two threads must not parse with one
    return Parser(_loaded(language)).parse(source)


def _walk(root: Node, enter: Callable[[Node], bool] = lambda node: True) -> Iterator[Node]:
    """Nodes in the order of the text, parents first; no recursion, for the deep trees of hostile files."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        if enter(node):
            stack.extend(reversed(node.children))


def _nodes(
    source: bytes, kinds: frozenset[str], language: str, start: int = 0, end: int | None = None
) -> list[Node]:
    """The nodes of these types whose text lies in the span, in the order of the text, parents first."""
    stop = len(source) if end is None else end
    cursor = QueryCursor(_query(kinds, language))
    cursor.set_byte_range(start, stop)
    found = cursor.captures(_tree(source, language).root_node).get("node", [])
    inside = (node for node in found if start <= node.start_byte and node.end_byte <= stop)
    return sorted(inside, key=lambda node: (node.start_byte, -node.end_byte))


@functools.cache
def _query(kinds: frozenset[str], language: str) -> Query:
    return Query(_loaded(language), "[" + " ".join(f"({kind})" for kind in sorted(kinds)) + "] @node")


def _holds(node: Node, line: int) -> bool:
    return bool(node.start_point.row < line <= node.end_point.row + 1)


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _symbol(node: Node, qualname: str, is_class: bool, in_class: bool, grammar: _Grammar) -> Symbol:
    outer = node.parent if node.parent is not None and node.parent.type in grammar.decorated else node
    body = node.child_by_field_name("body")
    return Symbol(
        qualname=qualname,
        kind="class" if is_class else "method" if in_class else "function",
        start_line=outer.start_point.row + 1,
        end_line=node.end_point.row + 1,
        start_byte=outer.start_byte,
        end_byte=node.end_byte,
        def_byte=node.start_byte,
        body_byte=body.start_byte if body else node.end_byte,
        docstring=_docstring(body),
    )


def _reaching(source: bytes, symbol: Symbol) -> Symbol:
    """A symbol that the tree cut short, in a file with a syntax error, as long as its indentation says."""
    body = None if symbol.kind == "class" else body_below(source, symbol.def_byte)
    if body is None or body.end <= symbol.end_byte:
        return symbol
    end_line = source.count(b"\n", 0, body.end) + 1
    return msgspec.structs.replace(symbol, body_byte=body.start, end_byte=body.end, end_line=end_line)


def _docstring(body: Node | None) -> tuple[int, int] | None:
    first = next((n for n in body.children if n.is_named and n.type != "comment"), None) if body else None
    if first is None or first.type != "expression_statement" or first.child_count != 1:
        return None
    only = first.children[0]
    return (only.start_byte, only.end_byte) if only.type in ("string", "concatenated_string") else None


def _statement(node: Node, grammar: _Grammar) -> Statement:
    definitions = grammar.functions | grammar.classes | grammar.decorated
    inner = node.children[0] if node.type == "expression_statement" and node.children else node
    kind: Literal["import", "definition", "assignment", "other"] = "other"
    if node.type in grammar.imports:
        kind = "import"
    elif node.type in definitions:
        kind = "definition"
    elif inner.type in grammar.assignments:
        kind = "assignment"
    names = frozenset(_bound(node, grammar))
    return Statement(
        kind, names, node.start_byte, node.end_byte, node.start_point.row + 1, node.end_point.row + 1
    )


def _bound(node: Node, grammar: _Grammar) -> Iterator[str]:
    """Names bound by a statement and the statements in it, but not those inside of a definition."""
    scopes = grammar.functions | grammar.classes
    for part in _walk(node, enter=lambda n: n.type not in scopes):
        if part.type in scopes and (name := part.child_by_field_name("name")):
            yield _text(name)
        elif part.type in grammar.imports:
            yield from (item.bound.partition(".")[0] for item in _imported(part))
        elif part.type in grammar.assignments:
            target = part.child_by_field_name("left") or part.child_by_field_name("name")
            if target is not None:
                yield from (_text(n) for n in _walk(target) if n.type == "identifier")


def _imported(node: Node) -> Iterator[Import]:
    module = node.child_by_field_name("module_name")
    source = "__future__" if node.type == "future_import_statement" else _text(module) if module else ""
    if any(child.type == "wildcard_import" for child in node.children):
        yield Import("*", source, "*")
    for item in node.children_by_field_name("name"):
        alias = item.child_by_field_name("alias")
        name = item.child_by_field_name("name") if alias else item
        path = _text(name) if name else ""
        bound = _text(alias) if alias else path
        yield Import(bound, source, path) if source else Import(bound, path)


def _dotted(node: Node | None) -> str:
    parts: list[str] = []
    while node is not None and node.type == "attribute":
        attribute = node.child_by_field_name("attribute")
        parts.append(_text(attribute) if attribute else "?")
        node = node.child_by_field_name("object")
    if node is not None:
        # the value of a call or of an index has no name of its own, what is asked of it has
        parts.append(_text(node) if node.type == "identifier" else "?")
    return ".".join(reversed(parts))


def _python_errors(source: bytes) -> list[tuple[int, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        return [(error.lineno or 1, error.msg)]
    except (ValueError, RecursionError, MemoryError) as error:
        return [(1, str(error) or type(error).__name__)]
    return []
