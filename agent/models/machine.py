"""What this machine has to offer to a model: memory and cores, within the limits set for this process."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that can be used without swapping; a container's limit counts."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if found := re.search(r"^MemAvailable:\s+(\d+) kB", _text(_PROC / "meminfo"), re.MULTILINE):
        free = int(found[1]) * 1024
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        if (most := _text(_CGROUP / limit).strip()).isdigit():
            free = min(free, int(most) - int(_text(_CGROUP / used) or 0))
    return max(free, 0)


def physical_cores() -> int:
    """Cores to compute on: hyper-threads count once, and no more than this process may use."""
    pairs = set()
    for block in _text(_PROC / "cpuinfo").split("\n\n"):
        ids = dict(re.findall(r"^(physical id|core id)\s*:\s*(\d+)", block, re.MULTILINE))
        if "core id" in ids:
            pairs.add((ids.get("physical id", "0"), ids["core id"]))
    return max(1, min(len(pairs) or _usable(), _usable(), _quota()))


def _usable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> int:
    """Whole cores that a container's limit allows."""
    quota, _, period = _text(_CGROUP / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _text(_CGROUP / "cpu/cpu.cfs_quota_us").strip()
        period = _text(_CGROUP / "cpu/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit():
        return max(1, int(quota) // int(period))
    return _usable()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
