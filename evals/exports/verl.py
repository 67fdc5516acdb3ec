"""Records for verl: the fields of its `AgentLoopOutput` (2026-01), a segment each.

`response_ids` is all behind the first prompt, `response_mask` 1 for what the model wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evals.episode import Episode, trainings
from evals.export import Needs, write_lines
from evals.reading import Run

name = "verl"
summary = "verl AgentLoopOutputs, a JSON line a segment"
needs: Needs = "tokens"
one_attempt = False


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    drift = sum(training.cut.drift for training in trainings(episodes))
    return {"outputs": write_lines(out, _rows(episodes)), "drift": drift}


def _rows(episodes: Sequence[Episode]) -> Iterator[dict[str, Any]]:
    for episode, conversation, cut in trainings(episodes):
        rewards = {turn.event: turn.rewards for turn in conversation.turns}
        for segment in cut.segments:
            at = segment.prompt
            yield {
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
