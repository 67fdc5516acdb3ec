"""What can be put wrong in each language of `tools/grammars.py`: the tables that `tools/mutation.py` reads.

A language is one entry. Its words are node types of its grammar and texts of its tokens; what a language has
not (Haskell has no statements) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

COMPARE = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*", "%": "*"}
UPDATE = {"+=": "-=", "-=": "+=", "*=": "+=", "/=": "*=", "++": "--", "--": "++"}
LOGIC = {"&&": "||", "||": "&&", "and": "or", "or": "and"}
TRUTH = {"true": "false", "false": "true"}
_STRICT = COMPARE | {"===": "!==", "!==": "==="}
_BRACES = frozenset(
    {"expression_statement", "return_statement", "break_statement", "continue_statement", "throw_statement"}
)
_BRANCHES = frozenset(
    {
        *("if_statement", "while_statement", "do_statement", "for_statement"),
        *("conditional_expression", "ternary_expression"),
    }
)


class Mutable(NamedTuple):
    """One language. Sets hold node types."""

    infix: frozenset[str]
    """Nodes with an operator between two operands; a token of theirs is exchanged."""
    integers: frozenset[str]
    branches: frozenset[str] = frozenset()
    """Nodes with a field `condition`."""
    negation: str = "!({})"
    statements: frozenset[str] = frozenset()
    """What can be left out where its parent is one of `blocks`."""
    blocks: frozenset[str] = frozenset()
    filler: str = ""
    """What an emptied block needs."""
    compare: Mapping[str, str] = COMPARE
    arithmetic: Mapping[str, str] = ARITHMETIC | UPDATE
    logic: Mapping[str, str] = LOGIC
    truth: Mapping[str, str] = TRUTH


def _set(*types: str) -> frozenset[str]:
    return frozenset(types)


_BINARY = _set("binary_expression")
_UPDATED = _BINARY | {"assignment_expression", "augmented_assignment_expression", "update_expression"}
_C = Mutable(_UPDATED, _set("number_literal"), _BRANCHES, "!({})", _BRACES, _set("compound_statement"))
_JAVA = Mutable(_UPDATED, _set("decimal_integer_literal"), _BRANCHES, "!({})", _BRACES, _set("block"))
_SCRIPT = Mutable(
    _UPDATED, _set("number"), _BRANCHES, "!({})", _BRACES, _set("statement_block"), compare=_STRICT
)

LANGUAGES: dict[str, Mutable] = {
    "bash": Mutable(_BINARY, _set("number"), _set("if_statement", "while_statement"), "! {}"),
    "c": _C,
    "c-sharp": _JAVA._replace(integers=_set("integer_literal")),
    "cpp": _C,
    "dart": Mutable(
        _set(
            *("relational_expression", "equality_expression", "additive_expression"),
            *("multiplicative_expression", "logical_and_expression", "logical_or_expression"),
            *("relational_operator", "equality_operator", "additive_operator", "multiplicative_operator"),
            *("logical_and_operator", "logical_or_operator"),
        ),
        _set("decimal_integer_literal"),
        _BRANCHES,
        statements=_BRACES,
        blocks=_set("block"),
    ),
    "elixir": Mutable(_set("binary_operator"), _set("integer"), compare=_STRICT),
    "fortran": Mutable(
        _set("relational_expression", "math_expression", "logical_expression"),
        _set("number_literal"),
        compare={"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "/=", "/=": "=="},
        logic={".and.": ".or.", ".or.": ".and."},
        truth={".true.": ".false.", ".false.": ".true."},
    ),
    "go": Mutable(
        _BINARY | {"assignment_statement", "inc_statement", "dec_statement"},
        _set("int_literal"),
        _BRANCHES,
        "!({})",
        _BRACES,
        _set("block", "statement_list"),
    ),
    "groovy": _JAVA,
    "haskell": Mutable(
        _set("infix"),
        _set("integer"),
        compare={"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "/=", "/=": "=="},
        truth={"True": "False", "False": "True"},
    ),
    "java": _JAVA,
    "javascript": _SCRIPT,
    "julia": Mutable(
        _BINARY, _set("integer_literal"), _set("if_statement", "elseif_clause", "while_statement")
    ),
    "kotlin": Mutable(
        _BINARY, _set("number_literal"), _set("if_expression", "while_statement"), compare=_STRICT
    ),
    "lua": Mutable(
        _BINARY,
        _set("number"),
        _set("if_statement", "elseif_statement", "while_statement"),
        "not ({})",
        _set("assignment_statement", "function_call", "return_statement", "break_statement"),
        _set("block"),
        compare={"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "~=", "~=": "=="},
    ),
    "objc": _C,
    "ocaml": Mutable(
        _set("infix_expression", "and_operator", "or_operator"),
        _set("number"),
        compare={"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "<>", "<>": "="},
    ),
    "pascal": Mutable(
        _set("exprBinary"),
        _set("literalNumber"),
        _set("if", "ifElse", "while"),
        "not ({})",
        compare={"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "<>", "<>": "="},
    ),
    "php": Mutable(
        _BINARY, _set("integer"), _BRANCHES, "!({})", _BRACES, _set("compound_statement"), compare=_STRICT
    ),
    "python": Mutable(
        _set("binary_operator", "comparison_operator", "boolean_operator", "augmented_assignment"),
        _set("integer"),
        _set("if_statement", "elif_clause", "while_statement"),
        "not ({})",
        _set(
            *("expression_statement", "return_statement", "raise_statement", "delete_statement"),
            *("break_statement", "continue_statement"),
        ),
        _set("block"),
        "pass",
        compare=COMPARE | {"in": "not in", "not in": "in", "is": "is not", "is not": "is"},
        arithmetic=ARITHMETIC | UPDATE | {"//": "/"},
        truth={"True": "False", "False": "True"},
    ),
    "ruby": Mutable(
        _set("binary"),
        _set("integer"),
        _set("if", "elsif", "unless", "while", "if_modifier", "unless_modifier", "conditional"),
        "!({})",
        _set("call", "assignment", "operator_assignment", "return"),
        _set("body_statement", "then", "block_body"),
    ),
    "rust": Mutable(
        _BINARY | {"compound_assignment_expr"},
        _set("integer_literal"),
        _set("if_expression", "while_expression"),
        "!({})",
        _set("expression_statement"),
        _set("block"),
    ),
    "scala": Mutable(_set("infix_expression"), _set("integer_literal"), _set("if_expression")),
    "swift": Mutable(
        _set(
            *("comparison_expression", "equality_expression", "additive_expression"),
            *("multiplicative_expression", "conjunction_expression", "disjunction_expression"),
        ),
        _set("integer_literal"),
        _set("if_statement", "while_statement"),
        compare=_STRICT,
    ),
    "tsx": _SCRIPT,
    "typescript": _SCRIPT,
    "zig": Mutable(
        _BINARY,
        _set("integer"),
        _set("if_statement", "if_expression", "while_statement"),
        "!({})",
        _set("expression_statement"),
        _set("block"),
    ),
}
