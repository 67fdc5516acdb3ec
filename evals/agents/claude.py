"""Claude Code: print mode over the Messages wire, which the server must speak."""

from __future__ import annotations

from evals.program import Program

_CLAUDE = Program(
    name="claude",
    summary="Claude Code, its print mode (Messages)",
    command="claude",
    install="npm install -g @anthropic-ai/claude-code",
    words="-p --model {model} --permission-mode bypassPermissions --no-session-persistence",
    piped=True,
    env={
        "ANTHROPIC_BASE_URL": "{server}",
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "{model}",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    },
    key_variable="ANTHROPIC_API_KEY",
)
name, summary, check, run = _CLAUDE.name, _CLAUDE.summary, _CLAUDE.check, _CLAUDE.run
