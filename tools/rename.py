"""Other names for the local variables of Python functions, with the same behaviour.

Only names that nothing outside can see are touched: no parameters (callers may name them), no attributes, no
globals. Where it cannot be told what a name means, the function stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from tree_sitter import Node, Tree

from tools.tags import parser

_SCOPES = {
    "function_definition",
    "class_definition",
    "lambda",
    "list_comprehension",
    "set_comprehension",
    "dictionary_comprehension",
    "generator_expression",
}
_BINDING_FIELDS = {
    "assignment": "left",
    "augmented_assignment": "left",
    "for_statement": "left",
    "named_expression": "name",
}
_PATTERNS = {
    "pattern_list",
    "tuple_pattern",
    "list_pattern",
    "list_splat_pattern",
    "as_pattern_target",
    "tuple",
    "list",
}
_DECLARING = {
    "parameters",
    "lambda_parameters",
    "global_statement",
    "nonlocal_statement",
    "import_statement",
    "import_from_statement",
}
"""Names in these keep their names in the whole function."""
_OPAQUE = {"class_definition", "match_statement", "exec_statement", "type_alias_statement", "ERROR"}
"""A function with one of these stays as it is: there names have scopes of their own, or unknown ones."""
_LOOKING = {"locals", "vars", "eval", "exec", "globals", "dir", "getframe", "_getframe", "currentframe"}


def rename_locals(source: bytes, fresh: Callable[[str], str], keep: Collection[str] = ()) -> bytes:
    """The source with local variables called `fresh(name)`, but for the names in `keep`.

    The same name gets the same new one in every function, so that two versions of a file stay near to each
    other. A new name that is there already, or was given to another name, is not taken. A source with syntax
    errors comes back unchanged.
    """
    tree = _parse(source)
    if tree is None or tree.root_node.has_error:
        return source
    taken = {_text(node) for node in _walk(tree.root_node) if node.type == "identifier"}
    given: dict[str, str] = {}
    cuts: list[tuple[int, int, bytes]] = []
    for function in _outermost(tree.root_node):
        for name in sorted(_renamable(function) - set(keep)):
            new = fresh(name)
            if new in taken or given.setdefault(new, name) != name:
                continue
            cuts += [(n.start_byte, n.end_byte, new.encode()) for n in _uses(function, name)]
    pieces, end = list[bytes](), len(source)
    for start, stop, new_name in sorted(cuts, reverse=True):
        pieces += [source[stop:end], new_name]
        end = start
    done = b"".join([source[:end], *reversed(pieces)])
    again = _parse(done)
    return source if again is None or again.root_node.has_error else done


def _parse(source: bytes) -> Tree | None:
    try:
        source.decode()
    except UnicodeDecodeError:
        return None
    return parser("python").parse(source)


def _walk(root: Node, enter: Callable[[Node], bool] = lambda node: True) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        if node == root or enter(node):
            stack.extend(reversed(node.children))


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _outermost(root: Node) -> list[Node]:
    nodes = _walk(root, enter=lambda node: node.type != "function_definition")
    return [node for node in nodes if node.type == "function_definition"]


def _renamable(function: Node) -> set[str]:
    """Names that the function itself binds and that mean nothing else in it."""
    nodes = list(_walk(function))
    if any(node.type in _OPAQUE for node in nodes):
        return set()
    names = {_text(node) for node in nodes if node.type == "identifier"}
    if names & _LOOKING:
        return set()
    kept: set[str] = set()
    for node in nodes:
        if node.type in _DECLARING or (
            node.type == "interpolation" and any(child.type == "=" for child in node.children)
        ):
            kept |= {_text(inner) for inner in _walk(node) if inner.type == "identifier"}
        elif node.type == "function_definition" and (name := node.child_by_field_name("name")):
            kept.add(_text(name))
    body = function.child_by_field_name("body")
    own = _walk(body, enter=lambda node: node.type not in _SCOPES) if body else iter(())
    bound = {name for node in own for name in _bound(node)}
    return {name for name in bound - kept if not name.startswith("__") and name != "_"}


def _bound(node: Node) -> Iterator[str]:
    """The names that this node binds itself."""
    target = node if node.type == "as_pattern_target" else None
    if field := _BINDING_FIELDS.get(node.type):
        target = node.child_by_field_name(field)
    if target is None or target.type not in _PATTERNS | {"identifier"}:
        return  # an item or attribute of something that is bound elsewhere
    for inner in _walk(target, enter=lambda part: part.type in _PATTERNS):
        if inner.type == "identifier":
            yield _text(inner)


def _uses(function: Node, name: str) -> Iterator[Node]:
    for node in _walk(function):
        if node.type == "identifier" and _text(node) == name and not _is_member(node):
            yield node


def _is_member(node: Node) -> bool:
    """Whether it is the name of an attribute or of a keyword argument."""
    parent = node.parent
    if parent is None:
        return False
    if parent.type == "attribute":
        return bool(parent.child_by_field_name("attribute") == node)
    return bool(parent.type == "keyword_argument" and parent.child_by_field_name("name") == node)
