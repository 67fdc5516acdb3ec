"""Records for verl: the fields of its `AgentLoopOutput` (2026-01), a segment each.

`response_ids` is all behind the first prompt, `response_mask` 1 for what the model wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.episode import Episode, Training
from evals.export import Needs, write_segments
from evals.reading import Run
from evals.segments import Segment

name = "verl"
summary = "verl AgentLoopOutputs, a JSON line a segment"
needs: Needs = "tokens"
one_attempt = False


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    return write_segments(out, "outputs", episodes, _row)


def _row(training: Training, segment: Segment) -> dict[str, Any]:
    episode, conversation, at = training.episode, training.conversation, segment.prompt
    rewards = {turn.event: turn.rewards for turn in conversation.turns}
    return {
        "prompt_ids": segment.token_ids[:at],
        "response_ids": segment.token_ids[at:],
        "response_mask": [int(sampled) for sampled in segment.mask[at:]],
        "response_logprobs": segment.logprobs[at:],
        "reward_score": episode.reward(conversation),
        "num_turns": 1 + 2 * len(segment.turns),
        "metrics": {},
        "extra_fields": {
            **episode.about,
            "uid": episode.about["group_id"],
            "turn_rewards": [rewards[turn] for turn in segment.turns],
        },
    }
