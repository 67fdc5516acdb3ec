"""Calls held to the tools' schema by the server, where it can: schemas and grammars from the tools. Pure.

Unless a call is a must, the reply stays free text until it opens one.
llama.cpp takes GBNF in `grammar`; the free text is part of it, for on `/v1/chat/completions` the server
overwrites `grammar_lazy` and `grammar_triggers` with those of its own template
(`oaicompat_chat_params_parse`). vLLM and SGLang take a structural tag in `response_format`.

Sources: llama.cpp `grammars/README.md` and `tools/server/README.md`; vLLM "Structured Outputs".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from agent.models.base import ToolSpec

Object = dict[str, Any]
Grammar = Literal["", "gbnf", "structural_tag"]
"""What a server can be given; empty for one that has no grammars."""

OPEN, CLOSE = "<tool_call>", "</tool_call>"
"""The marks of the dialect `hermes`, which constrained calls are written in whatever the model."""


def fields(tools: Sequence[ToolSpec], grammar: Grammar, *, must_call: bool = False) -> Object:
    """What to add to the body of a chat request; nothing for a server without grammars."""
    if not tools or not grammar:
        return {}
    if grammar == "gbnf":
        return {"grammar": gbnf(tools, prose=not must_call)}
    if must_call:
        return {"response_format": response_format(tools)}
    structure = {"begin": f"{OPEN}\n", "schema": call_schema(tools), "end": f"\n{CLOSE}"}
    return {"response_format": {"type": "structural_tag", "structures": [structure], "triggers": [OPEN]}}


def call_schema(tools: Sequence[ToolSpec]) -> Object:
    """JSON Schema of one call of one of the tools, `{"name": ..., "arguments": {...}}`."""
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": _closed(tool.parameters)},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for tool in tools
        ]
    }


def response_format(tools: Sequence[ToolSpec]) -> Object:
    """For a reply that has to be one call, on any server with structured output."""
    schema = {"name": "tool_call", "schema": call_schema(tools), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def gbnf(tools: Sequence[ToolSpec], *, prose: bool = True) -> str:
    """A grammar of free text and calls behind it, without `prose` of calls alone."""
    rules = _Rules()
    calls = [rules.add(f"call-{n}", rules.call(tool)) for n, tool in enumerate(tools)]
    rules.add("call", " | ".join(calls))
    tagged = f'{_quoted(f"{OPEN}{chr(10)}")} call {_quoted(f"{chr(10)}{CLOSE}")} "\\n"?'
    rules.add("tagged", tagged)
    if prose:
        rules.add("prose", f"({_anything_but(OPEN)})*")
    rules.add("root", "prose tagged*" if prose else "tagged+")
    return rules.text()


class _Rules:
    """Rules by name; those of JSON itself are there from the start."""

    def __init__(self) -> None:
        self._rules = dict(_JSON_RULES)

    def add(self, name: str, rule: str) -> str:
        self._rules[name] = rule
        return name

    def text(self) -> str:
        return "".join(f"{name} ::= {rule}\n" for name, rule in sorted(self._rules.items()))

    def call(self, tool: ToolSpec) -> str:
        head = f'{{"name": {json.dumps(tool.name)}, "arguments": '
        return f'{_quoted(head)} {self.object(tool.parameters)} "}}"'

    def object(self, schema: Mapping[str, Any]) -> str:
        """Required properties first, then any of the others, each in the order of the schema."""
        properties: Mapping[str, Mapping[str, Any]] = schema.get("properties") or {}
        if not properties:
            return "object"
        required = [name for name in properties if name in (schema.get("required") or ())]
        others = [name for name in properties if name not in required]
        pairs = {
            name: f"{_quoted(json.dumps(name) + ': ')} {self.value(properties[name])}" for name in properties
        }
        first = ' ", " '.join(pairs[name] for name in required)
        if first:
            rest = "".join(f' (", " {pairs[name]})?' for name in others)
            return f'"{{" {first}{rest} "}}"'
        starts = [
            " ".join([pairs[name], *(f'(", " {pairs[later]})?' for later in others[n + 1 :])])
            for n, name in enumerate(others)
        ]
        return f'"{{" ({" | ".join(starts)})? "}}"'

    def value(self, schema: Mapping[str, Any]) -> str:
        if "enum" in schema or "const" in schema:
            allowed = schema.get("enum") or [schema["const"]]
            return "(" + " | ".join(_quoted(json.dumps(one, ensure_ascii=False)) for one in allowed) + ")"
        if variants := schema.get("anyOf") or schema.get("oneOf"):
            return "(" + " | ".join(self.value(variant) for variant in variants) + ")"
        match schema.get("type"):
            case list() as types:
                return "(" + " | ".join(self.value({**schema, "type": one}) for one in types) + ")"
            case "object":
                return self.object(schema)
            case "array":
                item = self.value(schema.get("items") or {})
                return f'"[" ({item} (", " {item})*)? "]"'
            case "string" | "integer" | "number" | "boolean" | "null" as kind:
                return str(kind)
            case _:
                return "value"


def _closed(schema: Mapping[str, Any]) -> Object:
    return {**schema, "additionalProperties": False}


def _anything_but(word: str) -> str:
    """One step of a text that does not hold the word: a prefix of it and a letter that leaves it."""
    first = word[0]
    steps = [f"[^{first}]", f'"{first}"+ [^{first}{word[1]}]']
    steps += [f'"{first}"+ {_quoted(word[1:n])} [^{first}{word[n]}]' for n in range(2, len(word))]
    return " | ".join(steps)


def _quoted(text: str) -> str:
    """A text as a literal of GBNF."""
    return json.dumps(text, ensure_ascii=False)


_JSON_RULES = {
    "value": "object | array | string | number | boolean | null",
    "object": r'"{" ws (string ":" ws value ws ("," ws string ":" ws value ws)*)? "}"',
    "array": '"[" ws (value ws ("," ws value ws)*)? "]"',
    "string": r'"\"" ([^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" hex hex hex hex))* "\""',
    "hex": "[0-9a-fA-F]",
    "integer": '"-"? ("0" | [1-9] [0-9]*)',
    "number": 'integer ("." [0-9]+)? ([eE] [-+]? [0-9]+)?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "ws": r"[ \t\n]*",
}
