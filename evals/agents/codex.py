"""Codex CLI: `codex exec` over the Responses wire, which the server must speak.

Its own sandbox and its questions are off, for it stands in ours. A provider of another name than OpenAI's
leaves its login and its model list alone.
"""

from __future__ import annotations

from evals.program import Program

_CODEX = Program(
    name="codex",
    summary="Codex CLI, `codex exec` (Responses)",
    command="codex",
    install="npm install -g @openai/codex",
    words="exec -m {model} --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox --ephemeral "
    "--color never -c model_provider=pawl "
    """-c 'model_providers.pawl={name="pawl",base_url="{base_url}",env_key="OPENAI_API_KEY","""
    """wire_api="responses",requires_openai_auth=false}' """
    "-c check_for_update_on_startup=false -c analytics.enabled=false -c feedback.enabled=false "
    """-c 'web_search="disabled"' -""",
    piped=True,
)
name, summary, check, run = _CODEX.name, _CODEX.summary, _CODEX.check, _CODEX.run
