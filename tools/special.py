"""The methods that Python calls for what is written without a call: operators, indexing, loops, built-ins.

After the Python Language Reference, 3.3 Special method names.
"""

from __future__ import annotations


def _operators() -> dict[str, tuple[str, ...]]:
    """Operator -> its methods, with those of the right operand and of the assignment (`+=`)."""
    binary = {"+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow"}
    binary |= {"@": "matmul", "|": "or", "&": "and", "^": "xor", "<<": "lshift", ">>": "rshift"}
    found: dict[str, tuple[str, ...]] = {
        sign: (f"__{name}__", f"__r{name}__", f"__i{name}__") for sign, name in binary.items()
    }
    return found | {f"{sign}=": methods for sign, methods in found.items()}


_ITERATED = ("__iter__", "__next__", "__getitem__")
OPERATORS = _operators() | {
    "==": ("__eq__",),
    "!=": ("__ne__", "__eq__"),
    "<": ("__lt__", "__gt__"),
    ">": ("__gt__", "__lt__"),
    "<=": ("__le__", "__ge__"),
    ">=": ("__ge__", "__le__"),
    "in": ("__contains__", *_ITERATED),
    "not in": ("__contains__", *_ITERATED),
}
BUILTINS: dict[str, tuple[str, ...]] = {
    "len": ("__len__",),
    "bool": ("__bool__", "__len__"),
    "repr": ("__repr__",),
    "str": ("__str__", "__repr__"),
    "hash": ("__hash__",),
    "next": ("__next__",),
    "reversed": ("__reversed__",),
} | dict.fromkeys(("iter", "list", "tuple", "set", "frozenset", "sorted", "dict"), _ITERATED)
SYNTAX: dict[str, tuple[str, ...]] = {
    "subscript": ("__getitem__", "__setitem__", "__delitem__", "__missing__"),
    "not_operator": ("__bool__", "__len__"),
    "unary_operator": ("__neg__", "__pos__", "__invert__"),
    "for_statement": _ITERATED,
    "for_in_clause": _ITERATED,
    "with_statement": ("__enter__", "__exit__", "__aenter__", "__aexit__"),
}
"""Type of a syntax node of tree-sitter's Python grammar -> the methods."""
