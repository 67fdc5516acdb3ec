"""Calls written as Python: `[read(path="a.py"), run_tests()]`. Read by `ast`; nothing is ever run. Pure."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from agent.models.dialects._json import extent
from agent.models.dialects._offer import Offer, Written

LIMIT = 200_000
"""Longer texts are no calls; `ast` takes about 100 bytes of memory for each character."""
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_CALL = re.compile(r"[\[\s(]*(?P<name>[A-Za-z_][\w.-]*)\s*\(")
_RAW_BREAK = re.compile(r"\n")


def read_python_calls(text: str, offer: Offer, *, marked: bool = True) -> list[Written]:
    """The calls that the text consists of: a list of them, or one a line; none when it holds anything else.

    Unmarked, all must be of offered tools. One that is cut comes back with broken arguments.
    """
    text = text.strip()
    if shown := _PRINTED.fullmatch(text):
        text = shown[1]
    begun = _CALL.match(text)
    if not begun or len(text) > LIMIT or (not marked and _name(begun["name"], offer) not in offer):
        return []
    calls = list(_calls(_parse(text)))
    if not calls and (reach := extent(text, text.index("["))).missing == "]" if text[0] == "[" else False:
        calls = list(_calls(_parse(text[: reach.end] + "]")))
    if not calls:
        return [Written(_name(begun["name"], offer), "(" + text[begun.end() :])] if marked and begun else []
    written = [_written(call, offer) for call in calls]
    if any(call is None for call in written) or (
        not marked and any(c and c.name not in offer for c in written)
    ):
        return []
    return [call for call in written if call is not None]


def value_of(node: ast.expr) -> Any:
    """The value of a literal; also JSON's words. Raises ValueError for anything that would have to be run."""
    if isinstance(node, ast.Name) and node.id.lower() in _WORDS:
        return _WORDS[node.id.lower()]
    if isinstance(node, ast.Dict):
        return {_key(key): value_of(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [value_of(entry) for entry in node.elts]
    return ast.literal_eval(node)


def _key(node: ast.expr | None) -> str:
    if node is None:
        raise ValueError("not a literal")
    return str(value_of(node))


def _parse(text: str) -> ast.Module | None:
    for candidate in (text, _escape_breaks(text)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(candidate)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _escape_breaks(text: str) -> str:
    """Raw line breaks inside of single-line strings as escapes."""
    return _STRING.sub(lambda m: m[0] if m[1] else _RAW_BREAK.sub(r"\\n", m[0]), text)


def _calls(module: ast.Module | None) -> Iterator[ast.Call]:
    """The calls of a module that holds nothing else; none if it does."""
    if module is None:
        return
    nodes: list[ast.expr] = []
    for statement in module.body:
        if not isinstance(statement, ast.Expr):
            return
        value = statement.value
        nodes += value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    if all(isinstance(node, ast.Call) for node in nodes):
        yield from (node for node in nodes if isinstance(node, ast.Call))


def _written(call: ast.Call, offer: Offer) -> Written | None:
    name = _name(ast.unparse(call.func), offer)
    try:
        arguments = _arguments(call, list(offer.properties(name)))
    except (ValueError, TypeError, RecursionError, SyntaxError):
        return Written(name, ast.unparse(call).removeprefix(ast.unparse(call.func)))
    return offer.call(name, arguments)


def _arguments(call: ast.Call, names: list[str]) -> Mapping[str, Any]:
    if len(call.args) > len(names):
        if len(call.args) == 1 and isinstance(value := value_of(call.args[0]), dict):
            return value
        raise ValueError("more values than the tool has arguments")
    if len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Dict):
        value = value_of(call.args[0])
        return value if isinstance(value, dict) else {}
    found = {name: value_of(value) for name, value in zip(names, call.args, strict=False)}
    for keyword in call.keywords:
        value = value_of(keyword.value)
        found |= value if keyword.arg is None else {keyword.arg: value}
    return found


def _name(written: str, offer: Offer) -> str:
    """Llama's own tools are written `brave_search.call(...)`."""
    return offer.name(written.removesuffix(".call").removesuffix(".run"))


_PRINTED = re.compile(r"print\((.*?)\)?", re.DOTALL)
"""As Gemini and Gemma write it; the last bracket may be cut off."""
_STRING = re.compile(
    r'("""(?:[^"\\]|\\.|"(?!""))*"""|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*\'\'\')|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'',
    re.DOTALL,
)
