"""How families of models are best used, as data: patterns over names, the first that fits counts.

Sources: the chat templates and model cards of each family, as of November 2026. What a person's own endpoint
does is told by `pawl models probe`; entries `[models."name"]` of the configuration win over these.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Strategy = Literal["loop", "repair"]
ToolMode = Literal["native", "dialect", "grammar"]
EditForm = Literal["tool", "apply_patch", "multi_edit", "search_replace", "unified_diff", "whole_file"]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Models that are used alike."""

    name: str
    pattern: str
    """Regular expression, searched for in the model's name in lower case."""
    dialect: str = ""
    """How its models write calls in text when the server does not tell them; empty: any."""
    tool_mode: ToolMode = "native"
    """How it is told of tools (agent.models.toolmode); calls in its text are found in any case."""
    edit_form: EditForm = "tool"
    """How it changes files best: by `edit`, by another tool, or in its text (`agent/models/dialects/`)."""
    strategy: Strategy = "loop"
    """How `fix` and `run` work with it: a tool loop, or a direct repair of single functions."""
    context_tokens: int | None = None
    """The longest context it was trained for; a server may offer less."""


_SMALL = r"(?<![\d.a-df-z])(0?\.\d+|[1-3](\.\d+)?)b(?![a-z])|\d+m(?![a-z\d])"
"""Up to about four thousand million parameters, as names tell it: `0.5b`, `1.5b`, `3b`, `e2b`, `135m`.
Those of a mixture that are active at a time (`30b-a3b`) say nothing of its size."""

FAMILIES: tuple[Family, ...] = (
    Family(
        name="qwen2.5-coder",
        pattern=r"qwen-?2\.5-?coder",
        dialect="fenced_json",
        edit_form="whole_file",
        context_tokens=32768,
    ),
    Family(
        name="qwen3-coder",
        pattern=r"qwen-?3(\.\d)?-?coder|qwen-?3\.[5-9]",
        dialect="qwen3_coder",
        context_tokens=262144,
    ),
    Family(name="qwen3", pattern=r"qwen-?3|qwq", dialect="hermes", context_tokens=40960),
    Family(name="qwen2.5", pattern=r"qwen-?2", dialect="hermes", context_tokens=32768),
    Family(name="glm", pattern=r"glm-?\d|chatglm", dialect="glm", context_tokens=131072),
    Family(
        name="deepseek",
        pattern=r"deepseek",
        dialect="deepseek",
        edit_form="search_replace",
        context_tokens=131072,
    ),
    Family(name="minimax", pattern=r"minimax", dialect="minimax", context_tokens=196608),
    Family(name="kimi", pattern=r"kimi|moonshot", dialect="kimi", context_tokens=131072),
    Family(
        name="mistral",
        pattern=r"mi[sx]tral|pixtral|devstral|codestral|ministral|magistral",
        dialect="mistral",
        context_tokens=131072,
    ),
    Family(name="llama-3", pattern=r"llama-?[34]", dialect="llama3", context_tokens=131072),
    Family(name="olmo", pattern=r"olmo", dialect="plain_json", edit_form="whole_file", context_tokens=65536),
    Family(name="gpt-oss", pattern=r"gpt-oss", dialect="harmony", context_tokens=131072),
    Family(name="seed-oss", pattern=r"seed-oss", dialect="qwen3_coder", context_tokens=524288),
    Family(name="step", pattern=r"(^|/)step-?\d", dialect="qwen3_coder"),
    Family(name="nemotron", pattern=r"nemotron-?3", dialect="qwen3_coder"),
    Family(name="claude", pattern=r"claude", context_tokens=200000),
    Family(name="gpt", pattern=r"(^|/)(gpt-|o[134]\b|chatgpt|codex)", context_tokens=128000),
    Family(name="gemini", pattern=r"gemini", context_tokens=1048576),
    Family(name="grok", pattern=r"grok", context_tokens=131072),
    Family(name="gemma-4", pattern=r"gemma-?4|functiongemma", dialect="gemma", context_tokens=131072),
    Family(
        name="gemma", pattern=r"gemma", dialect="fenced_json", edit_form="whole_file", context_tokens=131072
    ),
    Family(
        name="phi", pattern=r"(^|/)phi-?\d", dialect="hermes", edit_form="whole_file", context_tokens=16384
    ),
    Family(
        name="granite", pattern=r"granite", dialect="hermes", edit_form="whole_file", context_tokens=131072
    ),
    Family(
        name="smollm", pattern=r"smollm", dialect="fenced_json", edit_form="whole_file", context_tokens=8192
    ),
    Family(name="hermes", pattern=r"hermes", dialect="hermes", context_tokens=131072),
)
"""More special names before more general ones."""


_SEES = re.compile(
    r"claude|gemini|gpt-(4o|4\.1|4-turbo|5)|chatgpt-4o|(^|/)(o1|o3|o4-mini)(?!-mini|-preview)"
    r"|grok-(4(?!-code)|2-vision)|pixtral|llava|[-_.]vl\b|\dvl\b|vision|llama-?4"
    r"|gemma-?3(?!n|.*(?<![\d.])(1b|270m))|mistral-(medium-3|small-3\.[12])"
)
"""Models that take images at their provider; a local server tells of its own what it has loaded."""


def sees(name: str) -> bool:
    """Whether a model of this name is known to see images, by its provider's documentation."""
    return bool(_SEES.search(name.rpartition("#")[2].lower()))


def family(name: str) -> Family | None:
    """The family of a model's name, whoever serves it. Small models repair directly, of whatever family."""
    plain = name.rpartition("#")[2].lower()
    for found in FAMILIES:
        if re.search(found.pattern, plain):
            small = re.search(_SMALL, plain)
            return msgspec.structs.replace(found, strategy="repair") if small else found
    return None
