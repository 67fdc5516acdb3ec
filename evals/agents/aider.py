"""aider: one message, every question answered with yes; nothing of its own is in the patch."""

from __future__ import annotations

from evals.program import Program

_AIDER = Program(
    name="aider",
    summary="aider, one message without a person",
    command="aider",
    install="uv tool install aider-chat",
    words="--message-file {prompt_file} --model openai/{model} --openai-api-base {base_url} --yes-always "
    "--no-auto-commits --no-dirty-commits --no-gitignore --no-check-update --no-show-release-notes "
    "--no-show-model-warnings --analytics-disable --no-detect-urls --disable-playwright --no-pretty "
    "--no-fancy-input --no-suggest-shell-commands --input-history-file /tmp/aider.input "
    "--chat-history-file /tmp/aider.chat.md",
    env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    litter=(".aider*",),
)
name, summary, check, run = _AIDER.name, _AIDER.summary, _AIDER.check, _AIDER.run
