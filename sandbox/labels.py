"""Whose a container is: labels that tell, after a crash, whether the pawl that made it still lives."""

from __future__ import annotations

import os
from pathlib import Path


def is_alive(owner: str) -> bool:
    """Whether the process that an `owner_label` names is still there; True for what is no such label."""
    pid, _, start = owner.partition(":")
    return not pid.isdigit() or _started(int(pid)) == start


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; tells a process from a later one with its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return stat[stat.rindex(")") + 2 :].split()[19]


def owner_label() -> str:
    """This process, for `pawl.owner`."""
    return f"{os.getpid()}:{_started(os.getpid())}"


def host_label() -> str:
    """This boot and process namespace: elsewhere, pids mean other processes."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116  (the link's target, not its text)
