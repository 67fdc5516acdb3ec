"""The presets: whole, and each of them spoken to over HTTP with what it wants done differently."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.messages import Assistant, Message, System, ToolCall, ToolResult, User
from agent.models import wire as wires
from agent.models.address import normal_base_url
from agent.models.base import ModelAuth, ModelBadReply, ModelRefusedRequest, Request, ToolSpec
from agent.models.catalog import UnknownModel
from agent.models.names import EFFORTS
from agent.models.providers import PROVIDERS, Provider, provider
from agent.models.resolve import open_model
from tests.support.model_server import ModelServer
from tests.support.spoken import all_spoken, broken_rules

NAMED = {
    *("openai", "anthropic", "gemini", "deepseek", "qwen", "zai", "minimax", "moonshot", "mistral", "xai"),
    *("nvidia", "openrouter", "groq", "together", "fireworks", "azure"),
    *("llamacpp", "vllm", "sglang", "ollama", "lmstudio", "tgi"),
}
SERVICES = [found for found in PROVIDERS if not found.local]
TOOL = ToolSpec("read", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
TALK: tuple[Message, ...] = (
    System("Be brief."),
    User("Read it."),
    Assistant("", (ToolCall("call_1_2_1", "read", '{"path": "a"}'),), "Hm.", origin="me/m"),
    ToolResult("call_1_2_1", "read", "x = 1"),
)


def body(found: Provider, *, effort: str = "", model: str = "m", **more: Any) -> dict[str, Any]:
    wire = wires.load(found.wire)
    request = Request(TALK, (TOOL,), **more)
    quirks = found.quirks_of(model, effort)
    return msgspec.json.decode(
        msgspec.json.encode(wire.to_wire(request, model=model, quirks=quirks, origin="me/m"))
    )


def test_they_are_all_there() -> None:
    assert {found.name for found in PROVIDERS} == NAMED
    names = [name for found in PROVIDERS for name in (found.name, *found.aliases)]
    assert len(names) == len(set(names))
    assert {
        variable for found in SERVICES if not (variable := found.key_variable).endswith("_API_KEY")
    } == set()
    for found in PROVIDERS:
        if found.base_url:
            wire = wires.load(found.wire)
            assert normal_base_url(found.base_url, wire.VERSION, always=wire.VERSION_ALWAYS) == found.base_url
        assert (
            found.local
            or found.name == "azure"
            or (found.base_url[:8], bool(found.default_model)) == ("https://", True)
        )


@pytest.mark.parametrize("found", PROVIDERS, ids=lambda found: found.name)
@pytest.mark.parametrize("effort", ["", *EFFORTS])
def test_a_request_with_any_effort_keeps_the_rules(found: Provider, effort: str) -> None:
    for pattern, _ in ((found.default_model, None), *found.models):
        model = pattern.replace("*", "x").replace("[0-5]", "5").replace("[12]", "2") or "m"
        sent = body(found, effort=effort, model=model, temperature=0.2, max_tokens=64, seed=7)
        assert broken_rules(all_spoken()[found.wire], sent) == []
        assert list(sent)[-1] == all_spoken()[found.wire].HISTORY


@pytest.mark.parametrize(
    ("name", "model", "effort", "place", "expected"),
    [
        ("openai", "gpt-5-mini", "high", ("reasoning",), {"effort": "high"}),
        ("openai", "gpt-5-mini", "", ("include",), ["reasoning.encrypted_content"]),
        ("openai", "gpt-5-mini", "", ("temperature",), None),
        ("openai", "gpt-4.1", "", ("temperature",), 0.2),
        ("anthropic", "claude-sonnet-5-5", "high", ("thinking",), {"type": "adaptive"}),
        ("anthropic", "claude-sonnet-5-5", "high", ("output_config",), {"effort": "high"}),
        ("anthropic", "claude-sonnet-5-5", "", ("temperature",), None),
        ("anthropic", "claude-sonnet-4-6", "", ("temperature",), 0.2),
        ("anthropic", "claude-haiku-4-5", "low", ("thinking",), {"type": "enabled", "budget_tokens": 4096}),
        ("anthropic", "claude-haiku-4-5", "low", ("temperature",), None),
        ("anthropic", "claude-haiku-4-5", "", ("cache_control",), {"type": "ephemeral"}),
        ("gemini", "gemini-3-pro", "low", ("generationConfig", "thinkingConfig", "thinkingLevel"), "low"),
        ("gemini", "gemini-2.5-pro", "low", ("generationConfig", "thinkingConfig", "thinkingBudget"), 1024),
        ("deepseek", "deepseek-chat", "none", ("thinking",), {"type": "disabled"}),
        ("deepseek", "deepseek-chat", "high", ("reasoning_effort",), "high"),
        ("openrouter", "x/y", "high", ("reasoning",), {"effort": "high"}),
        ("openrouter", "anthropic/claude", "", ("cache_control",), {"type": "ephemeral"}),
        ("mistral", "devstral", "", ("stream_options",), None),
        ("llamacpp", "m", "", ("return_progress",), True),
    ],
)
def test_what_each_wants(
    name: str, model: str, effort: str, place: tuple[str, ...], expected: object
) -> None:
    found = provider(name)
    assert found is not None
    sent: Any = body(found, effort=effort, model=model, temperature=0.2)
    for key in place:
        sent = sent.get(key) if isinstance(sent, dict) else None
    assert sent == expected


@pytest.mark.parametrize(
    ("name", "field", "sent"),
    [
        ("deepseek", "reasoning_content", "Hm."),
        ("groq", "reasoning", "Hm."),
        ("openrouter", "reasoning", None),
    ],
)
def test_reasoning_as_text_goes_back_where_it_is_wanted(name: str, field: str, sent: str | None) -> None:
    found = provider(name)
    assert found is not None
    assert body(found)["messages"][2].get(field) == sent


def test_deepseek_wants_the_field_with_every_call_even_of_another_model() -> None:
    found = provider("deepseek")
    assert found is not None
    wire = wires.load(found.wire)
    sent = wire.to_wire(Request(TALK, (TOOL,)), model="m", quirks=found.quirks, origin="another/m")
    assert sent["messages"][2]["reasoning_content"] == ""


def test_mistral_takes_ids_of_nine_letters_and_digits() -> None:
    found = provider("mistral")
    assert found is not None
    sent = body(found)["messages"]
    call_id = sent[2]["tool_calls"][0]["id"]
    assert len(call_id) == 9 and call_id.isalnum()
    assert sent[3]["tool_call_id"] == call_id


@pytest.mark.parametrize("model", ["mistral devstral", "openrouter mistralai/m", "nvidia mistralai/m"])
def test_mistral_gets_a_reply_between_results_and_what_the_user_says(model: str) -> None:
    found = provider(model.split()[0])
    assert found is not None
    talk = (*TALK[:4], User("Stop."), User("Go on."))
    sent = wires.load(found.wire).to_wire(
        Request(talk, (TOOL,)), model="m", quirks=found.quirks_of(model.split()[1])
    )
    assert [m["role"] for m in sent["messages"][3:]] == ["tool", "assistant", "user"]
    assert sent["messages"][-1]["content"] == "Stop.\n\nGo on."


def test_gemini_3_gets_a_signature_for_a_call_of_another_model() -> None:
    found = provider("google")
    assert found is not None
    part = body(found)["contents"][1]["parts"][0]
    assert part["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in body(found, model="gemini-2.5-pro")["contents"][1]["parts"][0]


MOVED = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL", "gemini": "GOOGLE_GEMINI_BASE_URL"}


@pytest.mark.anyio
@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("name", MOVED)
async def test_a_variable_moves_it_and_the_key_comes_in_its_own_header(name: str, ending: str) -> None:
    if name == "gemini":
        ending = ending.replace("/v1", "/v1beta")
    found = provider(name)
    assert found is not None
    async with ModelServer(["hi"], api_key="sk-1") as server:
        environ = {found.key_variable: "sk-1", MOVED[name]: server.root + ending}
        model = await open_model(f"{name}/m:high", environ=environ)
        assert [delta async for delta in model.stream(Request((User("hello"),)))]
        await model.aclose()
    assert server.requests[0].spoken is all_spoken()[found.wire if name != "openai" else "openai_chat"]


@pytest.mark.anyio
async def test_azure_needs_its_address() -> None:
    with pytest.raises(ModelRefusedRequest, match="set AZURE_OPENAI_BASE_URL"):
        await open_model("azure/mine", environ={"AZURE_OPENAI_API_KEY": "k"})
    async with ModelServer(["hi"]) as server:
        environ = {"AZURE_OPENAI_API_KEY": "sk-1", "AZURE_OPENAI_BASE_URL": server.base_url}
        model = await open_model("azure/mine", environ=environ)
        assert [delta async for delta in model.stream(Request((User("hello"),)))]
        await model.aclose()
    assert server.requests[0].headers["api-key"] == "sk-1"
    assert server.requests[0].path == "/v1/responses"
    asked: list[object] = []
    async with ModelServer([], pages={"/openai/v1/responses": asked.append}) as server:
        environ = {"AZURE_OPENAI_API_KEY": "sk-1", "AZURE_OPENAI_BASE_URL": f"{server.root}/"}
        model = await open_model("azure/mine", environ=environ)
        with pytest.raises(ModelBadReply):
            _ = [delta async for delta in model.stream(Request((User("hello"),)))]
        await model.aclose()
    assert len(asked) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("variable", ["OLLAMA_HOST"])
async def test_a_local_server_is_named_by_its_kind(variable: str) -> None:
    models = [{"id": "qwen3:latest", "owned_by": "library"}, {"id": "gemma3:4b", "owned_by": "library"}]
    async with ModelServer(["hi"], models=models) as server:
        environ = {variable: server.root.removeprefix("http://")}
        model = await open_model("ollama/qwen3", environ=environ)
        assert [delta async for delta in model.stream(Request((User("hello"),)))]
        await model.aclose()
        with pytest.raises(UnknownModel, match=r"serves no model 'gemma3'; did you mean gemma3:4b\?"):
            await open_model("ollama/gemma3", environ=environ)
        with pytest.raises(UnknownModel, match="it lists qwen3:latest, gemma3:4b"):
            await open_model("ollama/zzz", environ=environ)


@pytest.mark.anyio
async def test_a_key_with_what_cannot_be_in_a_header_is_refused_unseen() -> None:
    with pytest.raises(ModelAuth, match="characters that no key has") as caught:
        await open_model("openai/m", environ={"OPENAI_API_KEY": "sk-geheim–nis"})
    assert "geheim" not in str(caught.value)
