"""The whole of a rollout for one's own trainer: messages, tools, turns with tokens, masks, all rewards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from evals.conversations import Conversation, Turn
from evals.episode import Episode, chats
from evals.export import Needs, write_lines
from evals.reading import Run
from evals.segments import segments

name = "rollouts"
summary = "all there is of each conversation, a JSON line each: messages, tokens, masks, rewards"
needs: Needs = "messages"
one_attempt = False

FORMAT = "pawl-rollout/1"


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    sums = {"drift": 0, "untold_turns": 0}

    def rows() -> Iterator[dict[str, Any]]:
        for episode in episodes:
            for conversation in episode.conversations:
                row = _row(episode, conversation)
                for key in sums:
                    sums[key] += row[key]
                yield row

    return {"conversations": write_lines(out, rows()), **sums}


def _row(episode: Episode, conversation: Conversation) -> dict[str, Any]:
    cut = segments(conversation.turns)
    *earlier, last = chats(episode, conversation)
    told = len(conversation.turns) - cut.untold
    return {
        "format": FORMAT,
        **episode.about,
        "model": conversation.model,
        "branch": conversation.label,
        "handed_over": conversation.handed_over,
        "messages": last.messages,
        "tools": last.tools,
        "compacted": [said.messages for said in earlier],
        "tokens": "none" if not told else "some" if cut.untold else "all",
        "turns": list(_turns(conversation.turns)),
        "segments": msgspec.to_builtins(cut.segments),
        "drift": cut.drift,
        "untold_turns": cut.untold,
        "reward": episode.reward(conversation),
        "rewards": episode.rewards,
        "flags": list(episode.row.flags),
    }


def _turns(turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
    for turn in turns:
        tokens = turn.tokens
        yield {
            "event": turn.event,
            "finish_reason": turn.reply.reason,
            "prompt_token_ids": tokens.prompt if tokens else None,
            "completion_token_ids": tokens.completion if tokens else None,
            "logprobs": tokens.logprobs if tokens else None,
            "temperature": tokens.temperature if tokens else None,
            "step_rewards": turn.rewards,
        }
