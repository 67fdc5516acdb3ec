"""Samples for prime-rl: `sample` has the fields of its `TrainingSample` (2026-08), a segment each.

Its trainer wants a temperature for each token: where the server's own was used, it is not known here, and the
list is empty, as prime-rl's own `trace_to_samples` leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evals.episode import Episode, trainings
from evals.export import Needs, write_lines
from evals.reading import Run

name = "prime-rl"
summary = "prime-rl TrainingSamples with their rewards, a JSON line a segment"
needs: Needs = "tokens"
one_attempt = False


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    drift = sum(training.cut.drift for training in trainings(episodes))
    return {"samples": write_lines(out, _rows(episodes)), "drift": drift}


def _rows(episodes: Sequence[Episode]) -> Iterator[dict[str, Any]]:
    for episode, conversation, cut in trainings(episodes):
        for segment in cut.segments:
            known = None not in segment.temperatures
            sample = {
                "token_ids": segment.token_ids,
                "mask": segment.mask,
                "logprobs": segment.logprobs,
                "temperatures": segment.temperatures if known else [],
                "env_name": episode.run.manifest.benchmark,
            }
            yield {"sample": sample, "reward": episode.reward(conversation), **episode.about}
