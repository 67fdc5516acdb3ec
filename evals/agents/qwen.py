"""Qwen Code: one prompt without questions, by Chat Completions."""

from __future__ import annotations

import json

from evals.program import Program

_SETTINGS = {
    "general": {"enableAutoUpdate": False, "disableAutoUpdate": True, "disableUpdateNag": True},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "security": {"auth": {"selectedType": "openai"}},
}
_QWEN = Program(
    name="qwen",
    summary="Qwen Code, one prompt",
    command="qwen",
    install="npm install -g @qwen-code/qwen-code",
    words="--auth-type openai --openai-api-key none --openai-base-url {base_url} --model {model} --yolo "
    "--chat-recording=false --output-format text",
    piped=True,
    env={"QWEN_CODE_SYSTEM_SETTINGS_PATH": "{given}/qwen.json"},
    files={"qwen.json": json.dumps(_SETTINGS)},
)
name, summary, check, run = _QWEN.name, _QWEN.summary, _QWEN.check, _QWEN.run
