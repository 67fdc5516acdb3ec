"""mini-swe-agent 2: its command `mini` without a limit of cost, for time and tokens are the unit's."""

from __future__ import annotations

from evals.program import Program

_MINI = Program(
    name="mini-swe-agent",
    summary="mini-swe-agent, its command `mini` without a person",
    command="mini",
    install="uv tool install mini-swe-agent",
    words="-m openai/{model} -y -l 0 --exit-immediately -o /tmp/trajectory.json -t {prompt}",
    env={
        "MSWEA_CONFIGURED": "true",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_GLOBAL_CONFIG_DIR": "/tmp/mini-swe-agent",
        "MSWEA_SILENT_STARTUP": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    },
)
name, summary, check, run = _MINI.name, _MINI.summary, _MINI.check, _MINI.run
