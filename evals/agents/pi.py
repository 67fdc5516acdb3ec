"""pi: print mode with a provider of our own, by Chat Completions."""

from __future__ import annotations

import json

from evals.program import Program

_MODELS = {
    "providers": {
        "pawl": {
            "baseUrl": "{base_url}",
            "api": "openai-completions",
            "apiKey": "none",
            "compat": {"supportsDeveloperRole": False, "supportsReasoningEffort": False},
            "models": [{"id": "{model}"}],
        }
    }
}
_PI = Program(
    name="pi",
    summary="pi, its print mode",
    command="pi",
    install="npm install -g @mariozechner/pi-coding-agent",
    words="-p --provider pawl --model {model} --no-session --offline --no-extensions --no-skills",
    piped=True,
    env={"PI_CODING_AGENT_DIR": "{given}/pi", "PI_OFFLINE": "1", "PI_TELEMETRY": "0"},
    files={"pi/models.json": json.dumps(_MODELS)},
)
name, summary, check, run = _PI.name, _PI.summary, _PI.check, _PI.run
