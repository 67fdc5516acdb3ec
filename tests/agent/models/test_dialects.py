"""Every module of the dialects folder, and what each must find, must not run, and must survive."""

from __future__ import annotations

import json
import pkgutil
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.messages import ToolCall, ToolResult, Usage
from agent.models import dialects
from agent.models.assemble import assemble
from agent.models.base import Finish, TextDelta, ToolSpec
from agent.models.dialects import Dialect, fenced_json, hermes

TOOLS = tuple(ToolSpec(name, "", {"type": "object"}) for name in ("read", "edit", "run_tests"))
ALL = list(dialects.load().values())

READ_A = '{"name": "read", "arguments": {"path": "a.py"}}'
READ_B = '{"name": "read", "arguments": {"path": "b.py"}}'
A, B = ("read", '{"path": "a.py"}'), ("read", '{"path": "b.py"}')


def found(dialect: Dialect, text: str) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in dialect.find(text, TOOLS)]


def in_any(text: str) -> list[tuple[str, str]]:
    """What a whole reply of this text makes run."""
    message, _ = assemble([TextDelta(text), Finish("stop", Usage())], TOOLS)
    return [(call.name, call.arguments) for call in message.tool_calls]


HERMES = {
    "one": (f"<tool_call>\n{READ_A}\n</tool_call>", [A]),
    "on one line": (f"<tool_call>{READ_A}</tool_call>", [A]),
    "behind prose": (f"I read it.\n<tool_call>\n{READ_A}\n</tool_call>", [A]),
    "behind prose on its line": (f"I read it: <tool_call>{READ_A}</tool_call>", [A]),
    "before prose": (f"<tool_call>\n{READ_A}\n</tool_call>\nThen I see.", [A]),
    "several": (f"<tool_call>{READ_A}</tool_call>\n<tool_call>{READ_B}</tool_call>", [A, B]),
    "several on a line": (f"Go: <tool_call>{READ_A}</tool_call><tool_call>{READ_B}</tool_call>", [A, B]),
    "several in one tag": (f"<tool_call>\n{READ_A}\n{READ_B}\n</tool_call>", [A, B]),
    "tag not closed": (f"<tool_call>\n{READ_A}\n", [A]),
    "first tag not closed": (f"<tool_call>\n{READ_A}\n<tool_call>\n{READ_B}\n</tool_call>", [A, B]),
    "brackets missing at the end": ('<tool_call>\n{"name": "read", "arguments": {"path": "a.py"', [A]),
    "cut in a string": ('<tool_call>{"name": "read", "arguments": {"path": "a.', [("read", '{"path": "a.')]),
    "broken": ('<tool_call>{"name": "read", "arguments": {path}}</tool_call>', [("read", "{path}}")]),
    "no arguments": ('<tool_call>{"name": "run_tests"}</tool_call>', [("run_tests", "{}")]),
    "arguments as text": (
        '<tool_call>{"name": "read", "arguments": "{\\"path\\": \\"a.py\\"}"}</tool_call>',
        [A],
    ),
    "doubled braces": ('<tool_call>{{"name": "read", "arguments": {"path": "a.py"}}}</tool_call>', [A]),
    "all braces doubled": ('<tool_call>{{"name": "read", "arguments": {{"path": "a.py"}}}}</tool_call>', [A]),
    "spacing kept": (
        '<tool_call>{"name":"read","arguments":{ "path" :"a.py"}}</tool_call>',
        [("read", '{ "path" :"a.py"}')],
    ),
    "raw line breaks": (
        '<tool_call>{"name": "edit", "arguments": {"new": "a\n\tb"}}</tool_call>',
        [("edit", '{"new": "a\\n\\tb"}')],
    ),
    "closing tag in an argument": (
        '<tool_call>{"name": "edit", "arguments": {"new": "</tool_call>"}}</tool_call>',
        [("edit", '{"new": "</tool_call>"}')],
    ),
    "fence in an argument": (
        '<tool_call>{"name": "edit", "arguments": {"new": "```py\n```"}}</tool_call>',
        [("edit", '{"new": "```py\\n```"}')],
    ),
    "whole reply in a fence": (f"```xml\n<tool_call>\n{READ_A}\n</tool_call>\n```", [A]),
    "behind inline code": (f"I use `read`.\n<tool_call>{READ_A}</tool_call>", [A]),
    "behind a lone backtick": (f"A ` is a backtick.\n\n<tool_call>{READ_A}</tool_call>", [A]),
    "unknown tool": ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>', []),
    "known beside unknown": (
        f'<tool_call>{{"name": "rm", "arguments": {{}}}}</tool_call><tool_call>{READ_A}</tool_call>',
        [A],
    ),
}

FENCED = {
    "json": (f"```json\n{READ_A}\n```", [A]),
    "no language": (f"```\n{READ_A}\n```", [A]),
    "upper case": (f"```JSON\n{READ_A}\n```", [A]),
    "tool_call": (f"```tool_call\n{READ_A}\n```", [A]),
    "tildes": (f"~~~json\n{READ_A}\n~~~", [A]),
    "indented": (f"1. Read:\n   ```json\n   {READ_A}\n   ```", [A]),
    "pretty": (
        f"```json\n{json.dumps(json.loads(READ_A), indent=2)}\n```",
        [("read", '{\n    "path": "a.py"\n  }')],
    ),
    "between prose": (f"I read it.\n```json\n{READ_A}\n```\nThen I see.", [A]),
    "several fences": (f"```json\n{READ_A}\n```\nand\n```json\n{READ_B}\n```", [A, B]),
    "several in a fence": (f"```json\n{READ_A}\n{READ_B}\n```", [A, B]),
    "list": (f"```json\n[{READ_A}, {READ_B}]\n```", [A, B]),
    "bare": (READ_A, [A]),
    "bare with space around": (f"\n  {READ_A}\n", [A]),
    "bare list": (f"[{READ_A},\n {READ_B}]", [A, B]),
    "bare lines": (f"{READ_A}\n{READ_B}", [A, B]),
    "bare, doubled braces": ('{{"name": "read", "arguments": {"path": "a.py"}}}', [A]),
    "tools tags": (f"<tools>\n{READ_A}\n</tools>", [A]),
    "tools tags behind prose": (f"I read it.\n<tools>{READ_A}</tools>", [A]),
    "fence not closed": (f"```json\n{READ_A}\n", [A]),
    "closed on the line of the JSON": (f"```json\n{READ_A}```\nDone.", [A]),
    "cut in a string": ('```json\n{"name": "edit", "arguments": {"new": "x =', [("edit", '{"new": "x =')]),
    "bare, cut": ('{"name": "edit", "arguments": {"new": "x =', [("edit", '{"new": "x =')]),
    "bare, cut behind a comma": ('{"name": "edit", "arguments": {"a": 1,', [("edit", '{"a": 1,')]),
    "bare, brackets missing": ('{"name": "read", "arguments": {"path": "a.py"}', [A]),
    "raw line breaks": (
        '```json\n{"name": "edit", "arguments": {"new": "a\nb"}}\n```',
        [("edit", '{"new": "a\\nb"}')],
    ),
    "unicode": (
        '```json\n{"name": "edit", "arguments": {"new": "größe 世界 \\u00fc"}}\n```',
        [("edit", '{"new": "größe 世界 \\u00fc"}')],
    ),
    "other data beside it": (f'```json\n{{"a": 1}}\n```\n```json\n{READ_A}\n```', [A]),
    "unknown beside known": (f'[{{"name": "rm", "arguments": {{}}}}, {READ_A}]', [A]),
}

MUST_NOT_RUN = {
    "prose": "I would call read with a.py.",
    "inline code": f"To read it, write `{READ_A}` in your reply.",
    "inline tag": f"Qwen writes `<tool_call>{READ_A}</tool_call>` for a call.",
    "inline code of several backticks": f"Write ``<tool_call>{READ_A}</tool_call>`` so.",
    "inline code of three backticks": f"Write ```{READ_A}``` so.",
    "tag in a sentence": f"A call such as <tool_call>{READ_A}</tool_call> reads the file.",
    "tag in a fence in an explanation": f"The form:\n```\n<tool_call>\n{READ_A}\n</tool_call>\n```\nUse it.",
    "quoted tag": f"> <tool_call>{READ_A}</tool_call>",
    "tag in a diff": f"```diff\n+<tool_call>{READ_A}</tool_call>\n```",
    "tag in a diff without a fence": f"+<tool_call>{READ_A}</tool_call>",
    "quoted fence": f"> ```json\n> {READ_A}\n> ```",
    "fence in a fence": f"````markdown\n```json\n{READ_A}\n```\n````",
    "fence of another language": f"```python\n{READ_A}\n```",
    "call in code": f"```python\ncall = {READ_A}\n```",
    "JSON in a sentence": f"The call {READ_A} reads the file.",
    "JSON before a sentence": f"{READ_A} is what you send.",
    "JSON with a comment": f"```json\n// the call\n{READ_A}\n```",
    "other keys": '```json\n{"name": "read", "arguments": {"path": "a"}, "result": "x"}\n```',
    "other object": '```json\n{"name": "read", "version": "1.0"}\n```',
    "name alone": '```json\n{"name": "read"}\n```',
    "a schema": '```json\n{"name": "read", "description": "Reads", "parameters": {"type": "object"}}\n```',
    "a schema in tools tags": '<tools>\n{"type": "function", "function": {"name": "read"}}\n</tools>',
    "nested in data": f'```json\n{{"steps": [{READ_A}]}}\n```',
    "arguments are no object": '```json\n{"name": "read", "arguments": ["a.py"]}\n```',
    "arguments are text": '```json\n{"name": "read", "arguments": "a.py"}\n```',
    "a placeholder": '```json\n{"name": "read", "arguments": {...}}\n```',
    "a bare placeholder": '{"name": "read", "arguments": {"path": ...}}',
    "unknown tool": '```json\n{"name": "rm", "arguments": {}}\n```',
    "package.json": '```json\n{"name": "edit", "version": "2.0.0", "scripts": {"test": "jest"}}\n```',
    "call in a list with data": f"```json\n[{READ_A}, 5]\n```",
    "empty tag": "<tool_call></tool_call>",
    "a lone tag": "The tag <tool_call> opens a call.",
    "a lone name": '<tool_call>{"name": "rea',
    "infinity": '```json\n{"name": "read", "arguments": {"path": Infinity}}\n```',
    "empty": "",
}


@pytest.mark.parametrize(("text", "calls"), HERMES.values(), ids=HERMES)
def test_hermes(text: str, calls: list[tuple[str, str]]) -> None:
    assert found(hermes, text) == calls == in_any(text)


@pytest.mark.parametrize(("text", "calls"), FENCED.values(), ids=FENCED)
def test_fenced_json(text: str, calls: list[tuple[str, str]]) -> None:
    assert found(fenced_json, text) == calls == in_any(text)


@pytest.mark.parametrize("text", MUST_NOT_RUN.values(), ids=MUST_NOT_RUN)
def test_what_only_talks_about_a_call_does_not_run(text: str) -> None:
    assert in_any(text) == []


class TestConformance:
    """What every file of the folder must hold to."""

    def test_every_module_is_a_dialect_of_its_name(self) -> None:
        modules = {m.name for m in pkgutil.iter_modules(dialects.__path__) if not m.name.startswith("_")}
        assert set(dialects.load()) == modules
        assert len({dialect.rank for dialect in ALL}) == len(ALL)

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    @pytest.mark.parametrize("text", MUST_NOT_RUN.values(), ids=MUST_NOT_RUN)
    def test_does_not_run_look_alikes(self, dialect: Dialect, text: str) -> None:
        assert dialect.find(text, TOOLS) == ()

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    @pytest.mark.parametrize("text", [text for text, _ in (HERMES | FENCED).values()])
    def test_runs_nothing_that_was_not_offered(self, dialect: Dialect, text: str) -> None:
        assert dialect.find(text, ()) == ()

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    def test_numbers_calls_behind_the_prefix(self, dialect: Dialect) -> None:
        texts = [f"<tool_call>{READ_A}</tool_call><tool_call>{READ_B}</tool_call>", f"[{READ_A}, {READ_B}]"]
        ids = [[call.id for call in dialect.find(text, TOOLS, "call_4_")] for text in texts]
        assert ["call_4_1", "call_4_2"] in ids

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    def test_renders_every_result_in_order(self, dialect: Dialect) -> None:
        rendered = dialect.render_results(
            [ToolResult("1", "read", "erste"), ToolResult("2", "read", "zweite")]
        )
        assert 0 <= rendered.index("erste") < rendered.index("zweite")

    @pytest.mark.parametrize("dialect", ALL, ids=lambda d: d.name)
    @pytest.mark.parametrize(
        "piece",
        [
            "<tool_call>",
            "<tools>",
            "`",
            "```\n",
            "```json\n",
            '{"name": ',
            "[",
            "{",
            '"',
            "<tool_call>{",
            "\\",
            " ",
        ],
    )
    def test_nothing_it_is_fed_makes_it_slow(self, dialect: Dialect, piece: str) -> None:
        began = time.perf_counter()
        dialect.find('<tool_call>"name"' + piece * (100_000 // len(piece)), TOOLS)
        assert time.perf_counter() - began < 2.0


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), values, max_size=4), st.booleans())
def test_any_arguments_come_back_as_written(arguments: dict[str, Any], escaped: bool) -> None:
    raw = json.dumps(arguments, ensure_ascii=escaped)
    call = f'{{"name": "edit", "arguments": {raw}}}'
    for text in (
        f"<tool_call>\n{call}\n</tool_call>",
        f"```json\n{call}\n```",
        call,
        f"<tools>{call}</tools>",
    ):
        assert in_any(text) == [("edit", raw)]


pieces = st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "<tools>",
        "```",
        "```json",
        "`",
        "\n",
        "\n\n",
        READ_A,
        READ_B,
        "{",
        "}",
        "> ",
        '"',
        " text ",
    ]
)


@given(st.lists(pieces, max_size=25))
def test_any_mix_is_read_without_a_crash_and_only_into_what_was_written(mix: list[str]) -> None:
    text = "".join(mix)
    for dialect in ALL:
        for call in dialect.find(text, TOOLS):
            assert isinstance(call, ToolCall)
            assert call.name == "read"
            assert call.arguments in text


@given(st.text(max_size=200))
def test_ordinary_text_holds_no_call(text: str) -> None:
    assert in_any(text) == []
