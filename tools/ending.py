"""How a command or a background job ended, in words; a limit that it met is named with its size."""

from __future__ import annotations

from sandbox.base import ExecResult, JobState, Limits


def ending(result: ExecResult, timeout_s: float, limits: Limits) -> str:
    """Such as `exit code 1, 0.5 s, 812 bytes`; `timeout_s` is what the command was given."""
    left = (
        f", {result.killed} processes it left were killed" if result.killed and not result.timed_out else ""
    )
    return (
        f"{how_ended(result, timeout_s, limits)}, {result.duration_s:.1f} s, {result.total_bytes} bytes{left}"
    )


def how_ended(result: ExecResult, timeout_s: float, limits: Limits) -> str:
    """Such as `exit code 1` or `killed after 120 s, the timeout; ...`."""
    if result.timed_out:
        return f"killed after {timeout_s:g} s, the timeout; a command that waits for input never gets any"
    return _how(result, limits)


def job_ending(state: JobState, limits: Limits) -> str:
    """Such as `job 7 runs, 0.5 s, 812 bytes so far`."""
    if state.running:
        return f"job {state.job} runs, {state.duration_s:.1f} s, {state.total_bytes} bytes so far"
    return f"job {state.job}: {_how(state, limits)}, {state.duration_s:.1f} s, {state.total_bytes} bytes"


def _how(ended: ExecResult | JobState, limits: Limits) -> str:
    if ended.oom:
        return f"killed: out of memory, of which it may use {size(limits.memory_bytes)}"
    if ended.overflow:
        return f"killed: too much output, over {size(limits.stream_bytes)}"
    match ended.bound:
        case "processes":
            return f"killed: too many processes at once, over {limits.pids}"
        case "workspace":
            most = size(limits.workspace_bytes)
            return f"killed: the workspace takes over {most} of disk; remove what is not needed"
        case "files":
            most = f"{limits.workspace_files:,}"
            return f"killed: over {most} files in the workspace; remove what is not needed"
        case "host":
            return f"killed: it would leave less than {size(limits.host_free_bytes)} of free disk here"
    if ended.exit_code is None:
        return f"killed by signal {ended.signal}"
    return f"exit code {ended.exit_code}"


def size(count: int) -> str:
    """Such as `256 MB`, `4 GB`, in powers of 1024."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1024:
            return f"{count:g} {unit}"
        count = round(count / 1024, 1)  # type: ignore[assignment]
    return f"{count:g} GB"
