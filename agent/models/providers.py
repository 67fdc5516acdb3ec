"""Who serves models over HTTP, as data: address, key, wire, and what each wants done differently."""

from __future__ import annotations

from typing import Literal

import msgspec


class Provider(msgspec.Struct, frozen=True):
    """A service that models are asked at over HTTP."""

    name: str
    key_variable: str
    base_url: str
    default_model: str
    wire: Literal["openai_chat", "other"] = "openai_chat"
    """`other`: its own protocol, which pawl does not speak yet."""
    max_tokens_field: str = "max_tokens"


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        name="openai",
        key_variable="OPENAI_API_KEY",
        base_url="https://api.openai.com/v1",
        default_model="gpt-5-mini",
        max_tokens_field="max_completion_tokens",
    ),
    Provider(
        name="openrouter",
        key_variable="OPENROUTER_API_KEY",
        base_url="https://openrouter.ai/api/v1",
        default_model="openrouter/auto",
    ),
    Provider(
        name="deepseek",
        key_variable="DEEPSEEK_API_KEY",
        base_url="https://api.deepseek.com/v1",
        default_model="deepseek-chat",
    ),
    Provider("anthropic", "ANTHROPIC_API_KEY", base_url="", default_model="", wire="other"),
    Provider("gemini", "GEMINI_API_KEY", base_url="", default_model="", wire="other"),
)
"""In the order in which their keys are looked for."""


def provider(name: str) -> Provider | None:
    return next((found for found in PROVIDERS if found.name == name), None)
