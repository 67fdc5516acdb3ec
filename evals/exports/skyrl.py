"""One batch for SkyRL: the fields of its `GeneratorOutput` (2026-08), a row of each list a segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evals.episode import Episode, trainings
from evals.export import Needs, write_lines
from evals.reading import Run

name = "skyrl"
summary = "a SkyRL GeneratorOutput, one JSON object"
needs: Needs = "tokens"
one_attempt = False


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    rows = [(one, segment) for one in trainings(episodes) for segment in one.cut.segments]
    drift = sum(one.cut.drift for one in trainings(episodes))
    output = {
        "prompt_token_ids": [segment.token_ids[: segment.prompt] for _, segment in rows],
        "response_ids": [segment.token_ids[segment.prompt :] for _, segment in rows],
        "rewards": [one.episode.reward(one.conversation) for one, _ in rows],
        "loss_masks": [[int(sampled) for sampled in s.mask[s.prompt :]] for _, s in rows],
        "stop_reasons": [one.conversation.turns[-1].reply.reason for one, _ in rows],
        "rollout_metrics": {"drift": drift},
        "rollout_logprobs": [segment.logprobs[segment.prompt :] for _, segment in rows],
        "trajectory_ids": [
            {"instance_id": one.episode.unit.instance, "repetition_id": one.episode.unit.attempt}
            for one, _ in rows
        ],
        "trajectory_generation_times": [one.episode.rollout.duration_s for one, _ in rows],
        "is_last_step": [segment is one.cut.segments[-1] for one, segment in rows],
        "env_metrics": [{**one.episode.rewards, **one.episode.about} for one, _ in rows],
    }
    write_lines(out, [output])
    return {"trajectories": len(rows), "drift": drift}
