"""A job of Harbor (0.26) with a folder for each trial, as `harbor view` and its analyses read it.

    config.json result.json
    <trial>/{config.json, result.json, agent/trajectory.json, verifier/reward.json, artifacts/manifest.json}

`agent/patch.diff` is pawl's addition. There is no lock.json: nothing of Harbor could run these trials again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from evals.episode import Episode
from evals.export import Needs, write_json, write_text
from evals.exports.atif import trajectory
from evals.reading import Run
from evals.segments import segments
from evals.types import digest

name = "harbor"
summary = "a Harbor job: trial folders with result, reward and ATIF trajectory"
needs: Needs = "patch"
one_attempt = False

_EXCEPTIONS = {"limit": "AgentTimeoutError", "agent_error": "NonZeroAgentExitCodeError"}
"""End -> how Harbor would call it; both leave a reward that counts."""


def write(episodes: Sequence[Episode], run: Run, out: Path) -> dict[str, int]:
    job = uuid5(NAMESPACE_URL, f"pawl-run:{digest(run.manifest)}")
    results = [_trial(episode, job, out) for episode in episodes]
    write_json(out / "config.json", {"job_name": run.manifest.name, "n_attempts": run.manifest.attempts})
    begun = min((result["started_at"] for result in results), default=run.manifest.created_at)
    ended = max((result["finished_at"] for result in results), default=run.manifest.created_at)
    wrong = sum(result["exception_info"] is not None for result in results)
    stats = {"n_completed_trials": len(results), "n_errored_trials": wrong}
    write_json(
        out / "result.json",
        {
            "id": str(job),
            "started_at": begun,
            "finished_at": ended,
            "n_total_trials": len(results),
            "stats": stats,
        },
    )
    return {"trials": len(results)}


def _trial(episode: Episode, job: UUID, out: Path) -> dict[str, Any]:
    title = f"{episode.unit.instance}__{episode.unit.id[:7]}"
    place = out / title
    config = _config(episode, title, job)
    graded = episode.row.graded and not episode.row.verifier_error
    result = _result(episode, title, config, graded)
    write_json(place / "config.json", config)
    write_json(place / "result.json", result)
    write_text(place / "trial.log", f"{episode.rollout.end}: {episode.rollout.detail}\n")
    write_text(place / "agent" / "patch.diff", episode.patch)
    if episode.conversations:
        write_json(place / "agent" / "trajectory.json", trajectory(episode))
    if graded:
        write_json(place / "verifier" / "reward.json", _rewards(episode))
    write_json(place / "artifacts" / "manifest.json", [])
    return result


def _rewards(episode: Episode) -> dict[str, float]:
    return episode.rewards


def _config(episode: Episode, title: str, job: UUID) -> dict[str, Any]:
    agent = episode.run.manifest.agent
    return {
        "schema_version": 1,
        "task": {"path": episode.unit.instance, "source": episode.run.manifest.benchmark},
        "trial_name": title,
        "agent": {"name": agent.name, "model_name": agent.model or None},
        "job_id": str(job),
    }


def _result(episode: Episode, title: str, config: dict[str, Any], graded: bool) -> dict[str, Any]:
    agent, rollout, usage = episode.run.manifest.agent, episode.rollout, episode.rollout.usage
    begun = rollout.started_at or episode.run.manifest.created_at
    ended = (datetime.fromisoformat(begun) + timedelta(seconds=rollout.duration_s)).isoformat()
    provider, _, model = agent.model.rpartition("/")
    return {
        "schema_version": 1,
        "id": str(uuid5(NAMESPACE_URL, f"pawl-unit:{episode.unit.id}")),
        "task_name": episode.unit.instance,
        "trial_name": title,
        "trial_uri": title,
        "task_id": {"path": episode.unit.instance},
        "source": episode.run.manifest.benchmark,
        "task_checksum": episode.instance.digest,
        "config": config,
        "agent_info": {
            "name": agent.name,
            "version": agent.version or "unknown",
            "model_info": {"name": model, "provider": provider or None} if model else None,
        },
        "agent_result": {
            "n_input_tokens": usage.input_tokens,
            "n_cache_tokens": usage.cached_input_tokens,
            "n_output_tokens": usage.output_tokens,
            "cost_usd": usage.cost_usd,
            "rollout_details": _details(episode) or None,
            "metadata": {**episode.about, "steps": rollout.steps},
        },
        "verifier_result": {"rewards": _rewards(episode)} if graded else None,
        "exception_info": _exception(episode, ended),
        "started_at": begun,
        "finished_at": ended,
        "agent_execution": {"started_at": begun, "finished_at": ended},
    }


def _details(episode: Episode) -> list[dict[str, Any]]:
    """Harbor's `RolloutDetail`, the conversation that led to the patch first; each segment by itself."""
    found = []
    for one in sorted(episode.conversations, key=lambda one: not one.handed_over):
        told = {turn.event: turn.tokens for turn in one.turns if turn.tokens}
        for segment in segments(one.turns).segments:
            lines = [told[event] for event in segment.turns]
            detail: dict[str, Any] = {
                "prompt_token_ids": [line.prompt for line in lines],
                "completion_token_ids": [line.completion for line in lines],
            }
            if not any(None in line.logprobs for line in lines):
                detail["logprobs"] = [line.logprobs for line in lines]
            found.append(detail)
    return found


def _exception(episode: Episode, at: str) -> dict[str, Any] | None:
    kind = _EXCEPTIONS.get(episode.rollout.end)
    if kind is None:
        return None
    return {
        "exception_type": kind,
        "exception_message": episode.rollout.detail,
        "exception_traceback": "",
        "occurred_at": at,
    }
