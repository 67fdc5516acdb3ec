"""Patches as the SWE-bench harness takes them (5.0.2, `--predictions_path`): JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.episode import Episode
from evals.export import Needs, write_lines
from evals.reading import Run

name = "predictions"
summary = "SWE-bench predictions, a JSON line each"
needs: Needs = "patch"
one_attempt = True


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    return {"predictions": write_lines(out, map(prediction, episodes))}


def prediction(episode: Episode) -> dict[str, Any]:
    return {
        "instance_id": episode.unit.instance,
        "model_name_or_path": model_name(episode.run),
        "model_patch": episode.patch,
    }


def model_name(run: Run) -> str:
    """The agent with its model: the harness makes a folder of it."""
    agent = run.manifest.agent
    return agent.model if agent.name == "imported" else "+".join(filter(None, (agent.name, agent.model)))
