"""Conversations for supervised fine-tuning with TRL (1.x, `SFTTrainer`): `messages` and `tools`.

With `assistant_only_loss=True` and a chat template that marks what the assistant said, the loss is over the
assistant's turns alone. `tools` is a list of JSON schemas, as datasets from 4.7 on can hold it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evals.episode import Episode, chats
from evals.export import Needs, write_lines
from evals.reading import Run

name = "trl-sft"
summary = "messages and tools, a JSON line a conversation, for TRL's SFTTrainer"
needs: Needs = "messages"
one_attempt = False


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    return {"conversations": write_lines(out, _rows(episodes))}


def _rows(episodes: Sequence[Episode]) -> Iterator[dict[str, Any]]:
    """Those that led to the patch; the others of a resolved rollout are no example to follow."""
    for episode in episodes:
        for conversation in episode.conversations:
            for said in chats(episode, conversation) if conversation.handed_over else ():
                more = {**episode.about, "reward": episode.row.reward}
                yield {"messages": said.messages, "tools": said.tools, **more}
