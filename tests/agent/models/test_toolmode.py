from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.messages import Assistant, Message, System, ToolCall, ToolResult, User
from agent.models import dialects
from agent.models.base import NO_QUIRKS, Request
from agent.models.toolmode import ToolMode, dialect_of, shaped
from agent.models.wire.openai_chat import to_wire
from tests.support.dialects import TOOLS

CALL = ToolCall("c1", "read", '{"path": "a.py"}')
TALK: tuple[Message, ...] = (
    System("You repair code."),
    User("Fix a.py."),
    Assistant("I look.", (CALL,)),
    ToolResult("c1", "read", "x = 1"),
)


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("local/qwen2.5-coder-1.5b", "fenced_json"),
        ("local/smollm2-135m", "fenced_json"),
        ("http://127.0.0.1:8000/v1#Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_coder"),
        ("http://127.0.0.1:8000/v1#Qwen/Qwen3-8B", "hermes"),
        ("http://127.0.0.1:8000/v1#Qwen/Qwen3.5-35B-A3B", "qwen3_coder"),
        ("http://127.0.0.1:8000/v1#Seed-OSS-36B-Instruct", "qwen3_coder"),
        ("openrouter/z-ai/glm-4.6", "glm"),
        ("deepseek/deepseek-chat", "deepseek"),
        ("openrouter/minimax/minimax-m2", "minimax"),
        ("openrouter/moonshotai/kimi-k2", "kimi"),
        ("openrouter/mistralai/devstral-small", "mistral"),
        ("http://127.0.0.1:8080/v1#Meta-Llama-3.1-8B-Instruct.gguf", "llama3"),
        ("http://127.0.0.1:8080/v1#OLMo-2-7B", "plain_json"),
        ("openrouter/openai/gpt-oss-20b", "harmony"),
        ("http://127.0.0.1:8080/v1#something", "hermes"),
    ],
)
def test_a_models_name_tells_its_dialect(model: str, dialect: str) -> None:
    assert dialect_of(model) == dialect


@pytest.mark.parametrize("mode", ["auto", "native"])
def test_natively_the_request_stays_as_it_is(mode: ToolMode) -> None:
    request = Request(TALK, TOOLS)
    assert shaped(request, "openai/gpt-5-mini", mode) is request


def test_in_a_dialect_tools_calls_and_results_stand_in_the_messages() -> None:
    sent = shaped(Request(TALK, TOOLS[:1]), "openrouter/z-ai/glm-4.6", "dialect")
    assert (sent.tools, sent.constrain) == ((), ())
    assert isinstance(sent.messages[0], System)
    assert sent.messages[0].text.startswith("You repair code.\n\n# Tools\n")
    assert to_wire(sent, model="m", quirks=NO_QUIRKS)["messages"][1:] == [
        {"role": "user", "content": "Fix a.py."},
        {
            "role": "assistant",
            "content": "I look.\n<tool_call>read\n"
            "<arg_key>path</arg_key>\n<arg_value>a.py</arg_value>\n</tool_call>",
        },
        {"role": "user", "content": "<tool_response>\nx = 1\n</tool_response>"},
    ]


def test_a_grammar_is_for_the_tools_that_are_told_of() -> None:
    sent = shaped(Request(TALK, TOOLS), "openrouter/z-ai/glm-4.6", "grammar")
    assert (sent.tools, sent.constrain, sent.must_call) == ((), TOOLS, False)


def test_with_a_grammar_the_first_reply_to_a_message_has_to_be_a_call() -> None:
    assert shaped(Request(TALK[:2], TOOLS), "x", "grammar").must_call
    assert not shaped(Request(TALK[:2], TOOLS), "x", "dialect").must_call


def test_what_a_dialect_wrote_is_not_written_twice() -> None:
    text = '```json\n{"name": "read", "arguments": {"path": "a.py"}}\n```'
    salvaged = Assistant(text, (CALL,), dialect="fenced_json")
    sent = shaped(Request((User("Go."), salvaged), TOOLS), "local/qwen2.5-coder-1.5b", "dialect")
    assert sent.messages[-1] == salvaged
    assert isinstance(sent.messages[0], System)


def test_broken_arguments_are_written_out_as_they_are() -> None:
    broken = Assistant("", (ToolCall("c1", "read", '{"path'),))
    sent = shaped(Request((User("Go."), broken), TOOLS), "x", "dialect")
    message = sent.messages[-1]
    assert isinstance(message, Assistant)
    assert '{"unparsed": "{\\"path"}' in message.text


texts = st.text(max_size=20)


@given(
    st.lists(texts, max_size=5),
    st.sampled_from(sorted(dialects.load())),
    st.sampled_from(["dialect", "grammar"]),
)
def test_a_longer_conversation_repeats_the_shorter_one(said: list[str], dialect: str, mode: ToolMode) -> None:
    messages: list[Message] = [System("You repair code."), User("Go.")]
    rounds: list[tuple[Message, ...]] = [tuple(messages)]
    for n, text in enumerate(said):
        call = ToolCall(f"c{n}", "read", '{"path": "a.py"}')
        messages += [Assistant(text, (call,)), ToolResult(call.id, "read", text)]
        rounds.append(tuple(messages))
    sent = [
        to_wire(shaped(Request(talk, TOOLS), "x", mode, dialect), model="m", quirks=NO_QUIRKS)["messages"]
        for talk in rounds
    ]
    for shorter, longer in pairwise(sent):
        assert longer[: len(shorter)] == shorter
