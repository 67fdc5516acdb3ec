"""Traces of verifiers (0.4, `WireTrace`, schema 1), which prime-rl trains on: a JSON line a conversation.

A trace is a graph of messages; each segment of tokens is a path of its own from root to leaf. All tokens that
a prompt adds stand on the last message in front of the reply: pawl knows the tokens of a whole prompt, not
of each message in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from agent.messages import Usage
from evals.conversations import Turn
from evals.episode import Episode, Said, Training, chats, trainings
from evals.export import Needs, write_lines
from evals.reading import Run
from evals.segments import Segment

name = "verifiers"
summary = "verifiers traces with tokens, a JSON line a conversation"
needs: Needs = "tokens"
one_attempt = False

_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    drift = sum(one.cut.drift for one in trainings(episodes))
    return {"traces": write_lines(out, map(_trace, trainings(episodes))), "drift": drift}


def _trace(training: Training) -> dict[str, Any]:
    episode, conversation, cut = training
    said = list(chats(episode, conversation))
    nodes: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for segment in cut.segments:
        view = next(one for one in said if any(turn.event == segment.turns[0] for turn in one.turns))
        calls += _path(nodes, segment, view)
    manifest = episode.run.manifest
    return {
        "version": 1,
        "id": f"{episode.unit.id}-{conversation.turns[0].event}",
        "task": {
            "type": manifest.benchmark,
            "data": {"name": episode.unit.instance, "prompt": episode.instance.statement},
            "key": episode.about["group_id"],
        },
        "agent": {"config": {"model": conversation.model}, "name": episode.rollout.agent},
        "tools": [function["function"] for function in said[-1].tools],
        "nodes": nodes,
        "calls": calls,
        "rewards": {"reward": {"score": episode.reward(conversation), "weight": 1.0}},
        "metrics": {key: value for key, value in episode.rewards.items() if key != "reward"},
        "info": {**episode.about, "step_rewards": [turn.rewards for turn in conversation.turns]},
        "is_completed": True,
        "ok": True,
        "stop_condition": episode.rollout.end,
    }


def _path(nodes: list[dict[str, Any]], segment: Segment, view: Said) -> Iterator[dict[str, Any]]:
    """Add a segment's messages to the nodes; the calls that made its replies."""
    places = [place for place, message in enumerate(view.messages) if message["role"] == "assistant"]
    begin, parent, at = 0, None, 0
    for turn, end in zip(view.turns, places[-len(view.turns) :], strict=True):
        if turn.tokens is None or turn.event not in segment.turns:
            continue
        total = len(turn.tokens.prompt)
        for place in range(begin, end):
            added = segment.token_ids[at:total] if place == end - 1 else []
            nodes.append(_node(view.messages[place], parent, turn, added))
            parent = len(nodes) - 1
        at = total + len(turn.tokens.completion)
        reply = _node(view.messages[end], parent, turn, segment.token_ids[total:at])
        mask = segment.mask[total:at]
        told = [value for value, kept in zip(segment.logprobs[total:at], mask, strict=True) if kept]
        nodes.append({**reply, "sampled": True, "mask": mask, "logprobs": told})
        begin, parent = end + 1, len(nodes) - 1
        yield _call(turn, parent)


def _node(message: dict[str, Any], parent: int | None, turn: Turn, ids: list[int]) -> dict[str, Any]:
    return {
        "parent": parent,
        "message": _message(message),
        "timestamp": _seconds(turn),
        "token_ids": ids,
        "mask": [False] * len(ids),
    }


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Of Chat Completions to verifiers' own: calls are flat, and their arguments a text."""
    calls = [
        {
            "id": call["id"],
            "name": call["function"]["name"],
            "arguments": msgspec.json.encode(call["function"]["arguments"]).decode(),
        }
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def _call(turn: Turn, node: int) -> dict[str, Any]:
    usage: Usage = turn.reply.usage
    seconds = _seconds(turn)
    return {
        "node": node,
        "finish_reason": _REASONS.get(turn.reply.reason),
        "usage": {
            "prompt_tokens": usage.input_tokens - usage.cached_input_tokens,
            "completion_tokens": usage.output_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
        },
        "time": {"start": seconds - turn.reply.duration_s, "end": seconds},
    }


def _seconds(turn: Turn) -> float:
    return datetime.fromisoformat(turn.at).timestamp()
