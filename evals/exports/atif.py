"""Trajectories in the Agent Trajectory Interchange Format, ATIF 1.8: `<unit>.json`, other attempts embedded.

Calls are told as calls also where the model wrote them as text; its message is the text as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agent.messages import Usage
from evals.conversations import Conversation, Said, Turn
from evals.episode import Episode, arguments, functions
from evals.export import Needs, write_json
from evals.reading import Run

name = "atif"
summary = "ATIF 1.8 trajectories, a file a rollout"
needs: Needs = "messages"
one_attempt = False

SCHEMA = "ATIF-v1.8"


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    for episode in episodes:
        write_json(out / f"{episode.unit.id}.json", trajectory(episode))
    return {"trajectories": len(episodes)}


def trajectory(episode: Episode) -> dict[str, Any]:
    """The conversation that led to the patch; those of other attempts stand in it as trajectories."""
    told = [(one.handed_over, _trajectory(episode, one)) for one in episode.conversations]
    made = next(one for main, one in told if main)
    if len(told) > 1:
        made["subagent_trajectories"] = [one for main, one in told if not main]
    return made


def _trajectory(episode: Episode, conversation: Conversation) -> dict[str, Any]:
    agent = episode.run.manifest.agent
    steps = list(_steps(conversation))
    total = sum((turn.reply.usage for turn in conversation.turns), Usage())
    return {
        "schema_version": SCHEMA,
        "session_id": episode.unit.id,
        "trajectory_id": f"{episode.unit.id}-{conversation.turns[0].event}",
        "agent": {
            "name": agent.name,
            "version": agent.version or "unknown",
            "model_name": conversation.model,
            "tool_definitions": functions(conversation.tools),
        },
        "steps": [{"step_id": number, **step} for number, step in enumerate(steps, 1)],
        "final_metrics": {
            "total_prompt_tokens": total.input_tokens,
            "total_completion_tokens": total.output_tokens,
            "total_cached_tokens": total.cached_input_tokens,
            **({} if total.cost_usd is None else {"total_cost_usd": total.cost_usd}),
            "total_steps": len(steps),
        },
        "extra": {**episode.about, "branch": conversation.label, "reward": episode.reward(conversation)},
    }


def _steps(conversation: Conversation) -> Iterator[dict[str, Any]]:
    if conversation.system:
        yield {"source": "system", "message": conversation.system}
    for step in conversation.steps:
        match step:
            case Said(at, text):
                yield {"source": "user", "timestamp": at, "message": text}
            case Turn():
                yield _agent_step(step)


def _agent_step(turn: Turn) -> dict[str, Any]:
    message = turn.reply.message
    step: dict[str, Any] = {
        "source": "agent",
        "timestamp": turn.at,
        "message": message.text,
        "llm_call_count": 1,
        "metrics": _metrics(turn),
    }
    if message.reasoning:
        step["reasoning_content"] = message.reasoning
    if message.tool_calls:
        step["tool_calls"] = [
            {
                "tool_call_id": call.id,
                "function_name": call.name,
                "arguments": arguments(call.arguments),
                "extra": {"raw": call.arguments},
            }
            for call in message.tool_calls
        ]
        step["observation"] = {
            "results": [
                {
                    "source_call_id": result.call_id,
                    "content": result.text,
                    "extra": {"is_error": result.is_error},
                }
                for result in turn.results
            ]
        }
    if turn.rewards:
        step["extra"] = {"step_rewards": turn.rewards}
    return step


def _metrics(turn: Turn) -> dict[str, Any]:
    usage, tokens = turn.reply.usage, turn.tokens
    metrics: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_input_tokens,
        "extra": {"finish_reason": turn.reply.reason},
    }
    if usage.cost_usd is not None:
        metrics["cost_usd"] = usage.cost_usd
    if tokens is not None:
        metrics |= {"prompt_token_ids": tokens.prompt, "completion_token_ids": tokens.completion}
        if None not in tokens.logprobs:
            metrics["logprobs"] = tokens.logprobs
    return metrics
