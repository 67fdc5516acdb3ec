from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.messages import User
from agent.models import constrain, dialects
from agent.models.base import NO_QUIRKS, Quirks, Request, ToolSpec
from agent.models.providers import LLAMA_CPP, PROVIDERS
from agent.models.wire.openai_chat import to_wire
from tests.support.dialects import TOOLS

READ = ToolSpec(
    "read",
    "",
    {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "offset": {"type": "integer"},
            "whole": {"type": "boolean"},
        },
        "required": ["path"],
    },
)
RUN = ToolSpec(
    "run_tests", "", {"type": "object", "properties": {"a": {"type": "string"}, "b": {"enum": ["x", 'y"']}}}
)


def matcher(grammar: str) -> re.Pattern[str]:
    """The grammar as a regular expression: rules put in for their names, those of nested JSON left out."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())
    rules |= {"value": '"null"', "object": '"{}"', "array": '"[]"'}

    def expanded(rule: str) -> str:
        out = ""
        for token in re.findall(r'"(?:\\.|[^"\\])*"|\[\^?(?:\\.|[^\]\\])+\]|[a-z][a-z0-9-]*|[()|*?+]', rule):
            if token[0] == '"':
                out += re.escape(json.loads(token))
            elif token[0].isalpha():
                out += f"(?:{expanded(rules[token])})"
            else:
                out += token.replace("(", "(?:")
        return out

    return re.compile(expanded(rules["root"]))


def tagged(name: str, arguments: dict[str, Any]) -> str:
    return (
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n</tool_call>"
    )


ALLOWED = [
    "",
    "Done.",
    "a < b, <b>, <tool>, <<tool_calls>",
    tagged("read", {"path": "a.py"}),
    "I look.\n" + tagged("read", {"path": "größe\n\"'\\", "offset": -10}),
    tagged("read", {"path": "a.py", "whole": True}),
    tagged("read", {"path": "a.py", "offset": 3, "whole": False}) + "\n" + tagged("run_tests", {}),
    tagged("run_tests", {"b": 'y"'}),
    tagged("run_tests", {"a": "", "b": "x"}),
]
REFUSED = [
    tagged("fly", {}),
    tagged("read", {}),
    tagged("read", {"path": 5}),
    tagged("read", {"path": "a.py", "offset": "3"}),
    tagged("read", {"path": "a.py", "colour": "red"}),
    tagged("run_tests", {"b": "z"}),
    "I look <tool_call> so",
    "<tool_call>\n",
    tagged("read", {"path": "a.py"}) + " and then",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_the_grammar_allows_prose_and_calls_of_the_schema(text: str) -> None:
    assert matcher(constrain.gbnf((READ, RUN))).fullmatch(text)


@pytest.mark.parametrize("text", REFUSED)
def test_the_grammar_refuses_everything_else(text: str) -> None:
    assert not matcher(constrain.gbnf((READ, RUN))).fullmatch(text)


def test_without_prose_it_is_calls_alone() -> None:
    grammar = matcher(constrain.gbnf((READ,), prose=False))
    assert grammar.fullmatch(tagged("read", {"path": "a"}))
    assert not grammar.fullmatch("I look.")


@given(st.text(max_size=30), st.integers())
def test_what_the_grammar_allows_is_found_as_that_call(path: str, offset: int) -> None:
    given_arguments = {"path": path, "offset": offset}
    text = tagged("read", given_arguments)
    if matcher(constrain.gbnf((READ,))).fullmatch(text):
        (call,) = dialects.find(text, (READ,)).calls
        assert msgspec.json.decode(call.arguments) == given_arguments


def test_every_tool_has_its_schema() -> None:
    schema = constrain.call_schema(TOOLS)
    assert [one["properties"]["name"]["const"] for one in schema["anyOf"]] == [tool.name for tool in TOOLS]
    assert constrain.response_format(TOOLS)["json_schema"]["schema"] == schema
    assert "todo" in constrain.gbnf(TOOLS)


def test_a_server_gets_what_it_understands() -> None:
    request = Request((User("Hi"),), constrain=(READ,))
    assert "grammar" not in to_wire(request, model="m", quirks=NO_QUIRKS)
    assert to_wire(request, model="m", quirks=LLAMA_CPP)["grammar"] == constrain.gbnf((READ,))
    must = msgspec.structs.replace(request, must_call=True)
    grammar = to_wire(must, model="m", quirks=LLAMA_CPP)["grammar"]
    assert grammar == constrain.gbnf((READ,), prose=False)
    schema = to_wire(must, model="m", quirks=Quirks(grammar="structural_tag"))["response_format"]
    assert schema == constrain.response_format((READ,))
    tag = to_wire(request, model="m", quirks=Quirks(grammar="structural_tag"))["response_format"]
    assert (tag["type"], tag["triggers"]) == ("structural_tag", ["<tool_call>"])
    assert list(to_wire(request, model="m", quirks=LLAMA_CPP))[-1] == "messages"


def test_the_local_servers_that_have_grammars_are_known() -> None:
    found = {one.name: one.quirks.grammar for one in PROVIDERS if one.quirks.grammar}
    assert found == {"llamacpp": "gbnf", "vllm": "structural_tag", "sglang": "structural_tag"}
