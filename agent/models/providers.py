"""Who serves models over HTTP, as data: address, key, wire, and what each wants done differently.

Checked in November 2026 against the providers' published references or, where those could not be read,
against what other clients send; `docs/models.md` says which. A new provider is one more entry.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from agent.models.base import NO_QUIRKS, Quirks

WireName = Literal["openai_chat", "openai_responses", "anthropic_messages", "gemini"]


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A service, or a kind of local server."""

    name: str
    base_url: str
    key_variable: str = ""
    """Empty: it needs no key."""
    own_variable: str = ""
    """Variable of the key that its owner may ask for, though it needs none."""
    default_model: str = ""
    """Empty: it serves what its owner loaded; the first that it lists."""
    wire: WireName = "openai_chat"
    url_variable: str = ""
    """Environment variable that moves it to another address."""
    url_path: str = ""
    """Path of such an address that has none, where it is not the wire's version alone."""
    elsewhere: tuple[WireName, Quirks] | None = None
    """How it is spoken to at another address, where compatible servers rarely speak its newest wire."""
    quirks: Quirks = NO_QUIRKS
    models: tuple[tuple[str, Quirks], ...] = ()
    """Patterns of models' names with quirks of their own; the first that fits counts."""
    owner: str = ""
    """What such a server says as `owned_by` in its list of models."""
    any_model: bool = False
    """It answers to any name of a model, for it serves but one."""
    aliases: tuple[str, ...] = ()

    def quirks_of(self, model: str, effort: str = "") -> Quirks:
        fitting = (quirks for pattern, quirks in self.models if fnmatchcase(model.lower(), pattern))
        return msgspec.structs.replace(next(fitting, self.quirks), effort=effort)

    @property
    def local(self) -> bool:
        return not self.key_variable


LLAMA_CPP = Quirks(
    extra={"cache_prompt": True, "return_progress": True},
    slot_field="id_slot",
    grammar="gbnf",
    reasoning_field="reasoning_content",
    prefill=True,
    tokens={"stream": False, "stream_options": None, "n_probs": 1, "return_tokens": True, "verbose": True},
    prompt_route=True,
)
_REASONING_BACK = Quirks(reasoning_field="reasoning_content")
_BRIDGE = "I have the results."
"""Mistral's models refuse a user message right behind results (error 3230, also where others serve them)."""
_OPENAI_REASONING = Quirks(extra={"include": ["reasoning.encrypted_content"], "temperature": None})
_OPENAI_ELSEWHERE = Quirks(max_tokens_field="max_completion_tokens")

_ADAPTIVE: dict[str, dict[str, Any]] = {
    effort: {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}, "temperature": None}
    for effort in ("low", "medium", "high", "xhigh", "max")
} | {"none": {}, "minimal": {}}
"""Claude 4.6 and later decide themselves how long to think. Thinking forbids a temperature."""

_BUDGETS: dict[str, dict[str, Any]] = {
    effort: {
        "thinking": {"type": "enabled", "budget_tokens": tokens},
        "max_tokens": 32000,
        "temperature": None,
    }
    for effort, tokens in {
        "minimal": 1024,
        "low": 4096,
        "medium": 8192,
        "high": 16384,
        "xhigh": 24576,
        "max": 30000,
    }.items()
} | {"none": {}}
"""Claude 4.5 and earlier are given a number of tokens, which must be less than the bound of the reply."""

_CLAUDE = Quirks(efforts=_ADAPTIVE, extra={"temperature": None}, cache_marks=True)
_CLAUDE_4_6 = Quirks(efforts=_ADAPTIVE, cache_marks=True)
_OLDER_CLAUDE = Quirks(efforts=_BUDGETS, cache_marks=True)

_THOUGHTS = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
_GEMINI_2_5: dict[str, dict[str, Any]] = {
    effort: {"generationConfig": {"thinkingConfig": {"thinkingBudget": tokens}}}
    for effort, tokens in {
        "none": 0,
        "minimal": 512,
        "low": 1024,
        "medium": 8192,
        "high": 24576,
        "xhigh": -1,
        "max": -1,
    }.items()
}
"""Gemini 2.5 is given a number of tokens; -1 leaves it to the model."""

_SWITCH = {"none": {"thinking": {"type": "disabled"}}}

PROVIDERS: tuple[Provider, ...] = (
    Provider(
        name="openai",
        key_variable="OPENAI_API_KEY",
        url_variable="OPENAI_BASE_URL",
        base_url="https://api.openai.com/v1",
        default_model="gpt-5-mini",
        wire="openai_responses",
        elsewhere=("openai_chat", _OPENAI_ELSEWHERE),
        quirks=_OPENAI_REASONING,
        models=(("gpt-4*", NO_QUIRKS), ("gpt-3*", NO_QUIRKS), ("*-chat-latest", NO_QUIRKS)),
    ),
    Provider(
        name="anthropic",
        key_variable="ANTHROPIC_API_KEY",
        url_variable="ANTHROPIC_BASE_URL",
        base_url="https://api.anthropic.com/v1",
        default_model="claude-sonnet-4-6",
        wire="anthropic_messages",
        quirks=_CLAUDE,
        models=(
            ("claude-*-4-6*", _CLAUDE_4_6),
            ("claude-*-4-[0-5]*", _OLDER_CLAUDE),
            ("claude-3*", _OLDER_CLAUDE),
        ),
    ),
    Provider(
        name="gemini",
        aliases=("google",),
        key_variable="GEMINI_API_KEY",
        url_variable="GOOGLE_GEMINI_BASE_URL",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        default_model="gemini-flash-latest",
        wire="gemini",
        quirks=Quirks(extra=_THOUGHTS, unsigned_call="skip_thought_signature_validator"),
        models=(
            ("gemini-2.5*", Quirks(extra=_THOUGHTS, efforts=_GEMINI_2_5)),
            ("gemini-[12]*", NO_QUIRKS),
            ("gemma*", NO_QUIRKS),
        ),
    ),
    Provider(
        name="openrouter",
        key_variable="OPENROUTER_API_KEY",
        base_url="https://openrouter.ai/api/v1",
        default_model="openrouter/auto",
        quirks=Quirks(effort_field="reasoning.effort"),
        models=(
            (
                "anthropic/*",
                Quirks(effort_field="reasoning.effort", extra={"cache_control": {"type": "ephemeral"}}),
            ),
            ("mistralai/*", Quirks(effort_field="reasoning.effort", bridge=_BRIDGE)),
        ),
    ),
    Provider(
        name="deepseek",
        key_variable="DEEPSEEK_API_KEY",
        url_variable="DEEPSEEK_BASE_URL",
        base_url="https://api.deepseek.com/v1",
        default_model="deepseek-chat",
        quirks=Quirks(
            reasoning_field="reasoning_content", reasoning_always=True, efforts=_SWITCH, images=False
        ),
    ),
    Provider(
        name="qwen",
        aliases=("dashscope", "alibaba"),
        key_variable="DASHSCOPE_API_KEY",
        url_variable="DASHSCOPE_BASE_URL",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        default_model="qwen3-coder-plus",
        quirks=Quirks(
            reasoning_field="reasoning_content",
            efforts={
                "none": {"enable_thinking": False},
                "low": {"enable_thinking": True, "thinking_budget": 2048},
                "medium": {"enable_thinking": True, "thinking_budget": 8192},
                "high": {"enable_thinking": True},
            },
        ),
    ),
    Provider(
        name="zai",
        aliases=("z.ai", "glm"),
        key_variable="ZAI_API_KEY",
        base_url="https://api.z.ai/api/paas/v4",
        default_model="glm-4.7",
        quirks=Quirks(reasoning_field="reasoning_content", efforts=_SWITCH),
    ),
    Provider(
        name="minimax",
        key_variable="MINIMAX_API_KEY",
        base_url="https://api.minimax.io/v1",
        default_model="MiniMax-M2",
    ),
    Provider(
        name="moonshot",
        aliases=("kimi",),
        key_variable="MOONSHOT_API_KEY",
        base_url="https://api.moonshot.ai/v1",
        default_model="kimi-k2-thinking",
        quirks=Quirks(reasoning_field="reasoning_content", reasoning_always=True, efforts=_SWITCH),
    ),
    Provider(
        name="mistral",
        key_variable="MISTRAL_API_KEY",
        base_url="https://api.mistral.ai/v1",
        default_model="devstral-medium-latest",
        quirks=Quirks(call_id_length=9, extra={"stream_options": None, "seed": None}, bridge=_BRIDGE),
    ),
    Provider(
        name="xai",
        aliases=("grok",),
        key_variable="XAI_API_KEY",
        base_url="https://api.x.ai/v1",
        default_model="grok-code-fast-1",
        quirks=Quirks(extra={"stop": None}),
    ),
    Provider(
        name="nvidia",
        aliases=("nim",),
        key_variable="NVIDIA_API_KEY",
        base_url="https://integrate.api.nvidia.com/v1",
        default_model="qwen/qwen3-coder-480b-a35b-instruct",
        quirks=_REASONING_BACK,
        models=(("mistralai/*", msgspec.structs.replace(_REASONING_BACK, bridge=_BRIDGE)),),
    ),
    Provider(
        name="groq",
        key_variable="GROQ_API_KEY",
        base_url="https://api.groq.com/openai/v1",
        default_model="openai/gpt-oss-120b",
        quirks=Quirks(reasoning_field="reasoning"),
    ),
    Provider(
        name="together",
        key_variable="TOGETHER_API_KEY",
        base_url="https://api.together.xyz/v1",
        default_model="Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8",
    ),
    Provider(
        name="fireworks",
        key_variable="FIREWORKS_API_KEY",
        base_url="https://api.fireworks.ai/inference/v1",
        default_model="accounts/fireworks/models/qwen3-coder-480b-a35b-instruct",
        quirks=_REASONING_BACK,
    ),
    Provider(
        name="azure",
        key_variable="AZURE_OPENAI_API_KEY",
        url_variable="AZURE_OPENAI_BASE_URL",
        url_path="/openai/v1",
        base_url="",
        wire="openai_responses",
        quirks=msgspec.structs.replace(_OPENAI_REASONING, key_header="api-key"),
        models=(("gpt-4*", Quirks(key_header="api-key")),),
    ),
    Provider(
        name="llamacpp",
        own_variable="LLAMA_API_KEY",
        aliases=("llama.cpp",),
        base_url="http://127.0.0.1:8080/v1",
        quirks=LLAMA_CPP,
        owner="llamacpp",
        any_model=True,
    ),
    Provider(
        name="vllm",
        own_variable="VLLM_API_KEY",
        base_url="http://127.0.0.1:8000/v1",
        quirks=Quirks(
            reasoning_field="reasoning",
            grammar="structural_tag",
            tokens={"logprobs": True, "return_token_ids": True},
        ),
        owner="vllm",
    ),
    Provider(
        name="sglang",
        own_variable="SGLANG_API_KEY",
        base_url="http://127.0.0.1:30000/v1",
        quirks=Quirks(reasoning_field="reasoning_content", grammar="structural_tag"),
        owner="sglang",
    ),
    Provider(
        name="ollama",
        own_variable="OLLAMA_API_KEY",
        base_url="http://127.0.0.1:11434/v1",
        url_variable="OLLAMA_HOST",
        quirks=Quirks(reasoning_field="reasoning"),
        owner="library",
    ),
    Provider(
        name="lmstudio",
        own_variable="LMSTUDIO_API_KEY",
        aliases=("lm-studio",),
        base_url="http://127.0.0.1:1234/v1",
        quirks=_REASONING_BACK,
        owner="organization_owner",
    ),
    Provider(name="tgi", own_variable="TGI_API_KEY", base_url="http://127.0.0.1:3000/v1", any_model=True),
)
"""In the order in which their keys are looked for; those that need none come last."""


def provider(name: str) -> Provider | None:
    return next((found for found in PROVIDERS if name in (found.name, *found.aliases)), None)


def of_owner(owned_by: str) -> Provider | None:
    """The kind of a local server, by what it says of itself."""
    return next((found for found in PROVIDERS if found.owner and found.owner == owned_by), None)
