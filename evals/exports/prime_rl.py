"""Samples for prime-rl: `sample` has the fields of its `TrainingSample` (2026-08), a segment each.

Its trainer wants a temperature for each token: where the server's own was used, it is not known here, and the
list is empty, as prime-rl's own `trace_to_samples` leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.episode import Episode, Training
from evals.export import Needs, write_segments
from evals.reading import Run
from evals.segments import Segment

name = "prime-rl"
summary = "prime-rl TrainingSamples with their rewards, a JSON line a segment"
needs: Needs = "tokens"
one_attempt = False


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    return write_segments(out, "samples", episodes, _row)


def _row(training: Training, segment: Segment) -> dict[str, Any]:
    episode = training.episode
    known = None not in segment.temperatures
    sample = {
        "token_ids": segment.token_ids,
        "mask": segment.mask,
        "logprobs": segment.logprobs,
        "temperatures": segment.temperatures if known else [],
        "env_name": episode.run.manifest.benchmark,
    }
    return {"sample": sample, "reward": episode.reward(training.conversation), **episode.about}
