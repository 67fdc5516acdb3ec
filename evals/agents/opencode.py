"""opencode: `opencode run` with a provider of our own, by Chat Completions."""

from __future__ import annotations

import json

from evals.program import Program

_CONFIG = {
    "autoupdate": False,
    "share": "disabled",
    "enabled_providers": ["pawl"],
    "model": "pawl/{model}",
    "small_model": "pawl/{model}",
    "permission": "allow",
    "provider": {
        "pawl": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "pawl",
            "options": {"baseURL": "{base_url}", "apiKey": "none"},
            "models": {"{model}": {"name": "{model}", "tool_call": True}},
        }
    },
}
_OPENCODE = Program(
    name="opencode",
    summary="opencode, `opencode run`",
    command="opencode",
    install="npm install -g opencode-ai",
    words="run --pure --model pawl/{model} --title task",
    piped=True,
    env={
        "OPENCODE_CONFIG_CONTENT": json.dumps(_CONFIG),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
        "OPENCODE_DISABLE_SHARE": "1",
    },
)
name, summary, check, run = _OPENCODE.name, _OPENCODE.summary, _OPENCODE.check, _OPENCODE.run
