"""pawl itself, as a person starts it: `pawl run` with the statement, or `pawl fix -- CMD`, in a process.

Settings (`--set KEY=VALUE`) are those of pawl's configuration, and:

    command   `run` (default), or `fix`: the task's own test command is shown and is to pass
    check     with `run`, a command that must pass in the end (`--test-cmd`)

It has a home of its own below the unit's place, so no state and no setting of the person takes part; only the
cache with weights is shared.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from agent import __version__, config
from agent.config import ConfigError
from agent.context import INTERRUPTED
from agent.dispatch import NOT_RUN
from agent.paths import cache_dir
from agent.prompt import ENDINGS, system_prompt
from agent.result import Result
from evals.agent import AgentError, Job
from evals.process import Ended, run_process
from evals.types import AgentSpec, End, Rollout, Tests, digest
from sandbox.overlay import unmount_below
from tools.toolset import default_toolset

name = "pawl"
summary = "pawl run, or pawl fix, with the product's own loop"

SPARE_S = 30.0
"""So much longer than its own time limit the process may take to end."""
_BY_CODE: dict[int, End] = {41: "key_refused", 75: "provider_error"}
_OWN = {"command", "check"}
_BY_RUN = {
    "model": "-m",
    "base_url": "--base-url",
    "sandbox": "--sandbox",
    "seed": "--seed",
    "timeout": "--timeout",
    "max_tokens": "--unit-tokens",
    "max_cost": "--unit-cost",
}
"""Settings that an option of `pawl eval run` decides."""
_FLAGS = (
    "temperature", "max_steps", "attempts", "strategy", "tools", "image", "network", "setup", "setup_network",
)  # fmt: skip
"""Settings that have an option; the others go by the environment."""


def check(spec: AgentSpec) -> AgentSpec:
    if not spec.model:
        raise AgentError(
            "pawl needs a model, for it decides the result: -m NAME, and --base-url for a server"
        )
    for key, value in spec.settings.items():
        if key in _BY_RUN:
            raise AgentError(f"--set {key}: this is said by {_BY_RUN[key]}")
        if key not in config.FIELDS and key not in _OWN:
            raise AgentError(f"pawl has no setting {key!r}; there are {', '.join(_settable())}")
        if key not in _OWN:
            try:
                config.parse(key, _text(value), f"--set {key}")
            except ConfigError as error:
                raise AgentError(str(error)) from error
    if spec.settings.get("command", "run") not in ("run", "fix"):
        raise AgentError(f"--set command: expected run or fix, got {spec.settings['command']!r}")
    return msgspec.structs.replace(spec, version=f"{__version__}+{_told()[:12]}")


def _settable() -> list[str]:
    return sorted((_OWN | set(config.FIELDS)) - set(_BY_RUN))


def _told() -> str:
    """Hash of what every model is told: system prompts and tools."""
    tools = [[tool.name, tool.description, tool.parameters] for tool in default_toolset().values()]
    return digest([[system_prompt(kind) for kind in ENDINGS], tools])


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def run(job: Job) -> Rollout:
    home, patch = job.place / "home", job.place / "pawl.diff"
    _make_home(home)
    wall_s = max(1.0, job.limits.wall_s(job.instance))
    try:
        ended = await run_process(
            [sys.executable, "-P", "-m", "agent", *words(job, patch, wall_s)],
            cwd=job.place,
            env=environment(job, home, os.environ),
            out=job.place / "result.json",
            err=job.place / "stderr.txt",
            stdin=job.instance.statement.encode("utf-8", "replace") if _command(job) == "run" else b"",
            timeout_s=wall_s + SPARE_S,
        )
        result = result_in(ended.out)
        found = _patch(result, patch)
        return rollout(job, ended, result, found, _keep_log(home, job.place))
    finally:
        patch.unlink(missing_ok=True)
        unmount_below(home)
        shutil.rmtree(home, ignore_errors=True)


def _make_home(home: Path) -> None:
    home.mkdir()
    cache_dir().mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(cache_dir())


def _command(job: Job) -> str:
    return str(job.spec.settings.get("command", "run"))


def words(job: Job, patch: Path, wall_s: float) -> list[str]:
    """What stands behind `pawl`. The statement of `run` is piped in: no argument may be so long."""
    spec, command = job.spec, _command(job)
    given: dict[str, object] = {
        "-C": job.tree,
        "--output-format": "json",
        "--patch": patch,
        "--sandbox": job.backend,
        "-m": spec.model,
        "--base-url": spec.base_url or None,
        "--seed": job.seed + job.attempt,
        "--timeout": f"{wall_s:g}",
        "--max-tokens": job.limits.unit_tokens,
        "--max-cost": job.limits.unit_cost_usd,
        **{f"--{key.replace('_', '-')}": spec.settings.get(key) for key in _FLAGS},
        "--test-cmd": spec.settings.get("check") if command == "run" else None,
    }
    if job.backend == "docker":
        given["--image"] = given["--image"] or job.instance.environment.image or None
    flags = [f"{key}={value}" if key[:2] == "--" else f"{key}{value}" for key, value in _given(given)]
    if command == "run":
        return ["run", "--bare", *flags]
    match job.instance.grading:
        case Tests(shown):
            return ["fix", "--bare", *flags, "--", *shown]
        case _:
            raise AgentError(f"{job.instance.id} shows no command that `pawl fix` could make pass")


def _given(flags: Mapping[str, object]) -> list[tuple[str, str]]:
    return [
        (key, str(value) if isinstance(value, Path) else _text(value))
        for key, value in flags.items()
        if value is not None
    ]


def environment(job: Job, home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The person's variables but pawl's, the task's environment, and the settings without an option."""
    env = {key: value for key, value in environ.items() if not key.startswith("PAWL_")}
    if job.environment is not None:
        env["VIRTUAL_ENV"] = str(job.environment)
        env["PATH"] = f"{job.environment / 'bin'}:{env.get('PATH', os.defpath)}"
    more = {
        f"PAWL_{key.upper()}": _text(value)
        for key, value in job.spec.settings.items()
        if key not in _OWN and key not in _FLAGS
    }
    return {**env, **more, "PAWL_HOME": str(home)}


def result_in(out: bytes) -> Result | None:
    """The `result` object, the last line of the output; None when there is none."""
    try:
        return msgspec.json.decode(out.strip().rpartition(b"\n")[2], type=Result)
    except msgspec.DecodeError:
        return None


def _patch(result: Result | None, written: Path) -> bytes:
    """The patch byte for byte, also one that is not verified."""
    for path in (written, Path(result.patch_file) if result and result.patch_file else written):
        if path.is_file():
            return path.read_bytes()
    return result.patch.encode() if result else b""


def _keep_log(home: Path, place: Path) -> list[dict[str, Any]]:
    """Move the session log and its artifacts to where the store wants them; the log's events."""
    for log in sorted((home / "state" / "sessions").glob("*/*.jsonl"))[-1:]:
        log.rename(place / "events.jsonl")
        if log.with_suffix("").is_dir():
            log.with_suffix("").rename(place / "outputs")
        return [_event(line) for line in (place / "events.jsonl").read_bytes().splitlines()[1:]]
    return []


def _event(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def rollout(
    job: Job, ended: Ended, result: Result | None, patch: bytes, events: list[dict[str, Any]]
) -> Rollout:
    """What the process came to."""
    end = end_of(ended, result, patch)
    text = result.text if result else ended.err.decode("utf-8", "replace").strip()
    malformed, failed = mishaps(events)
    made = Rollout(
        unit=job.unit,
        instance=job.instance.id,
        attempt=job.attempt,
        agent=name,
        model=job.spec.model,
        end=end,
        detail=" ".join(text[-2000:].split())[-500:],
        patch=patch.decode("utf-8", "surrogateescape"),
        malformed_calls=malformed,
        failed_edits=failed,
    )
    if result is None:
        return made
    return msgspec.structs.replace(
        made,
        usage=result.usage,
        steps=result.steps,
        verified=None if result.receipt is None else result.subtype == "success",
        duration_s=result.duration_s,
        extra={"exit_code": ended.code, "subtype": result.subtype, "attempts": result.attempts},
    )


def end_of(ended: Ended, result: Result | None, patch: bytes) -> End:
    """The end that a result and an exit code mean."""
    if result is None:
        if ended.timed_out:
            return "limit"
        return _BY_CODE.get(ended.code, "agent_error")
    own: dict[str, End] = {"limit": "limit", "loop": "loop", "declined": "refused"}
    match result.subtype:
        case "success" | "tests_fail":
            return "submitted" if patch.strip() else "no_change"
        case "interrupted":
            return "limit" if ended.timed_out else "cancelled"
        case "error" if result.cause == "quota":
            return "quota_used_up"
        case "error" if result.cause in ("sandbox", "disk"):
            return "sandbox_error"
        case "error":
            return _BY_CODE.get(result.exit_code, "agent_error")
        case other:
            return own[other]


def mishaps(events: list[dict[str, Any]]) -> tuple[int, int]:
    """How many calls could not be run as they were written, and how many edits failed."""
    malformed = failed = 0
    begun: dict[str, str] = {}
    for event in events:
        match event:
            case {"type": "tool_started", "call": {"id": str(call)}, "effect": str(effect)}:
                begun[call] = effect
            case {"type": "tool_finished", "result": {"call_id": str(call), **result}}:
                effect = begun.pop(call, "")
                if result.get("is_error") and result.get("text") not in (NOT_RUN, INTERRUPTED):
                    malformed += not effect
                    failed += effect == "write"
            case {"type": "attempt_ended", "outcome": "bad_reply"}:
                failed += 1
    return malformed, failed
