"""Every module of the dialects folder, and what each must find, must not run, and must survive."""

from __future__ import annotations

import json
import pkgutil
import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.messages import Assistant, ToolCall, ToolResult, Usage
from agent.models import dialects
from agent.models.assemble import assemble
from agent.models.base import Delta, Finish, ReasoningDelta, TextDelta
from agent.models.dialects import Dialect
from tests.support.dialects import TOOLS, Case, calls_of, cases

ALL = list(dialects.load().values())
CASES = cases()
END = Finish("stop", Usage())


def replied(text: str, reasoning: str = "") -> Assistant:
    return assemble([ReasoningDelta(reasoning), TextDelta(text), END], TOOLS)[0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance(case: Case) -> None:
    """The calls of each reply, found among all dialects, and in its own words afterwards."""
    message = replied(case.text, case.reasoning)
    assert calls_of(message) == case.calls
    stands_in_text = case.calls and "in reasoning" not in case.name
    assert message.dialect == (case.dialect if stands_in_text else "")
    assert (message.text, message.reasoning) == (case.text, case.reasoning)
    msgspec.json.encode(message)


def test_the_corpus_is_whole() -> None:
    assert len(CASES) >= 800
    assert len({str(case) for case in CASES}) == len(CASES)
    kinds = ("plain", "parallel", "nested JSON", "code", "cut at the end", "cut in the middle", "broken")
    kinds += ("in reasoning", "mixed with prose", "look-alike")
    missing = {
        (dialect.name, kind)
        for dialect in ALL
        for kind in kinds
        if not any(case.dialect == dialect.name and case.name.startswith(kind) for case in CASES)
    }
    assert missing == set()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CASES), st.data())
def test_any_split_of_the_stream_gives_the_same_calls(case: Case, data: st.DataObject) -> None:
    deltas: list[Delta] = []
    for kind, text in ((ReasoningDelta, case.reasoning), (TextDelta, case.text)):
        cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
        deltas += [kind(text[a:b]) for a, b in pairwise([0, *sorted(cuts), len(text)])]
    assert assemble([*deltas, END], TOOLS)[0] == replied(case.text, case.reasoning)


class TestConformance:
    """What every file of the folder must hold to."""

    def test_every_module_is_a_dialect_of_its_name(self) -> None:
        modules = {m.name for m in pkgutil.iter_modules(dialects.__path__) if not m.name.startswith("_")}
        assert set(dialects.load()) == modules
        assert len({dialect.rank for dialect in ALL}) == len(ALL)

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    def test_without_tools_there_are_no_calls(self, dialect: Dialect) -> None:
        for case in CASES:
            if case.dialect == dialect.name:
                assert dialects.find(case.text, ()).calls == ()

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    def test_numbers_calls_behind_the_prefix(self, dialect: Dialect) -> None:
        text = next(c.text for c in CASES if c.dialect == dialect.name and c.name.startswith("parallel"))
        assert [call.id for call in dialect.find(text, TOOLS, "call_4_")] == ["call_4_1", "call_4_2"]

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    def test_renders_every_result_in_order(self, dialect: Dialect) -> None:
        rendered = dialect.render_results(
            [ToolResult("1", "read", "erste"), ToolResult("2", "read", "zweite")]
        )
        assert 0 <= rendered.index("erste") < rendered.index("zweite")

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    def test_tells_of_every_tool_and_how_one_is_called(self, dialect: Dialect) -> None:
        told = dialect.render_tools(TOOLS)
        assert all(json.dumps(tool.name) in told and tool.description in told for tool in TOOLS)
        assert told.endswith(dialect.render_calls([dialects.example(TOOLS[0])]))

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    def test_reads_what_it_renders(self, dialect: Dialect) -> None:
        given = {
            "write": {"path": "src/a.py", "content": 'def f():\n    return "日本", \'x\', {"a": [1]}\n'},
            "edit": {"path": "src/a.py", "old_string": "x = 1", "new_string": "x = '2'"},
            "bash": {"command": "ls -la | head -n 3"},
        }
        own = {
            "fenced_shell": ["bash"],
            "whole_file": ["write"],
            "search_replace": ["edit"],
            "unified_diff": ["edit"],
        }
        for name in own.get(dialect.name, list(given)):
            arguments: dict[str, Any] = given[name]
            for text in (
                dialect.render_call(name, arguments),
                f"I will do it.\n\n{dialect.render_calls([(name, arguments)])}",
            ):
                (found,) = calls_of(replied(text))
                assert found[0] == name
                assert {k: v.rstrip("\n") for k, v in found[1].items()} == {
                    k: v.rstrip("\n") for k, v in arguments.items()
                }

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    def test_writes_a_call_of_any_tool(self, dialect: Dialect) -> None:
        """Also those that are for edits or commands alone: such a model has to read and search, too."""
        written = dialect.render_calls([("grep", {"pattern": "x", "path": "src"})])
        assert calls_of(replied(written)) == [("grep", {"pattern": "x", "path": "src"})]


HOSTILE = [
    "<tool_call>",
    "<tool_call>{",
    "<tool_call><function=read>",
    "<function=read>",
    "<function=read><parameter=path>",
    "<parameter=path>",
    "<tool_call>read<arg_key>",
    "<arg_key>a</arg_key><arg_value>",
    '<invoke name="read">',
    '<invoke name="read"><parameter name="path">',
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>read<｜tool▁sep｜>{",
    "<|tool_call_begin|>functions.read:0<|tool_call_argument_begin|>{",
    "<|tool_call>call:read{",
    '<|tool_call>call:read{path:<|"|>',
    "[TOOL_CALLS]",
    "[TOOL_CALLS]read[ARGS]{",
    "<|python_tag|>",
    "<|python_tag|>[read(",
    "\n[read(path=",
    "<|channel|>commentary to=functions.read<|message|>{",
    "\nAction: read\nAction Input: {",
    "\nAction:",
    "\n<<<<<<< SEARCH\n",
    "\na.py\n<<<<<<< SEARCH\n=======\n",
    "\n--- a\n+++ b\n@@\n",
    "\na.py\n```\n",
    "`",
    "```\n",
    "```json\n",
    '```json\n{"name": "read", "arguments": {',
    '\n{"name": "read", "arguments": {',
    '{"name": ',
    "\n{",
    "\n- {",
    '\n{"',
    "[",
    "{",
    "'",
    '"',
    '"""',
    "\\",
    " ",
    "\n",
    "<!--",
    "<think>",
    "</think>",
    "@@ -1 +1 @@\n",
    "a: ",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize(
    "opening", ["", '<tool_call>{"name": "read", "arguments": {"path": "'], ids=["", "call"]
)
def test_nothing_it_is_fed_makes_it_slow(piece: str, opening: str) -> None:
    began = time.perf_counter()
    dialects.find(opening + piece * (40_000 // len(piece)), TOOLS)
    assert time.perf_counter() - began < 2.0


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), values, max_size=4), st.booleans())
def test_any_arguments_come_back_as_written(arguments: dict[str, Any], escaped: bool) -> None:
    """Of a tool that knows no arguments, so that nothing is fitted to a schema."""
    raw = json.dumps({"options": arguments, "items": []}, ensure_ascii=escaped)
    call = f'{{"name": "todo", "arguments": {raw}}}'
    for text in (
        f"<tool_call>\n{call}\n</tool_call>",
        f"```json\n{call}\n```",
        call,
        f"<tools>{call}</tools>",
        f"[TOOL_CALLS][{call}]",
        f"<|tool_call_begin|>functions.todo:0<|tool_call_argument_begin|>{raw}<|tool_call_end|>",
    ):
        assert [(found.name, found.arguments) for found in replied(text).tool_calls] == [("todo", raw)]


pieces = st.sampled_from(
    [*HOSTILE, *(case.text for case in CASES), "\n", "\n\n", "}", "> ", " text ", "</tool_call>"]
)


@settings(deadline=None)
@given(st.lists(pieces, max_size=12))
def test_any_mix_is_read_without_a_crash(mix: list[str]) -> None:
    for call in replied("".join(mix)).tool_calls:
        assert isinstance(call, ToolCall)
        assert call.name


@given(st.text(max_size=200))
def test_ordinary_text_holds_no_call(text: str) -> None:
    assert replied(text).tool_calls == ()
