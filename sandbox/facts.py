"""What a sandbox stands on here, for a person: the kernel and what it offers, and where a tree lies."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

_OFF = "off"
_NETWORK = frozenset(
    (
        *("9p", "afs", "ceph", "cifs", "coda", "davfs", "gcsfuse", "glusterfs", "lustre", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "rclone", "s3fs", "smb3", "smbfs", "sshfs", "vboxsf", "virtiofs", "vmhgfs"),
        "vmhgfs-fuse",
    )
)
"""Kinds of file systems, FUSE's without its prefix."""
_ESCAPE = re.compile(r"\\([0-7]{3})")


def host_facts(root: Path = Path("/")) -> dict[str, str]:
    """Facts by name. `root` is where /proc and /sys are looked for."""
    return {
        "kernel": f"{platform.release()} {platform.machine()}",
        "cgroups": cgroup_version(root),
        "seccomp": "filters" if _text(root, "proc/sys/kernel/seccomp/actions_avail") else _OFF,
        "user namespaces": user_namespaces(root),
    }


def cgroup_version(root: Path = Path("/")) -> str:
    """`v2`, `v1`, `v1 and v2` (hybrid) or `none`, by what is mounted under /sys/fs/cgroup."""
    folder = root / "sys/fs/cgroup"
    if (folder / "cgroup.controllers").exists():
        return "v2"
    old = any((folder / name).is_dir() for name in ("memory", "pids", "cpu"))
    new = any((folder / name / "cgroup.controllers").exists() for name in ("unified", "systemd"))
    return " and ".join(name for name, there in (("v1", old), ("v2", new)) if there) or "none"


def user_namespaces(root: Path = Path("/")) -> str:
    """Whether an ordinary user can make them, and what forbids it when not."""
    if _text(root, "proc/sys/user/max_user_namespaces") in ("", "0"):
        return f"{_OFF} (user.max_user_namespaces)"
    if _text(root, "proc/sys/kernel/unprivileged_userns_clone") == "0":
        return f"{_OFF} (kernel.unprivileged_userns_clone)"
    if _text(root, "proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "restricted by AppArmor"
    return "on"


def network_mount(path: Path, mounts: str | None = None) -> str | None:
    """The kind of network file system that `path` (absolute) lies on, such as `nfs4`; None for a local one.

    `mounts` is the text of /proc/self/mountinfo, by default the real one.
    """
    if mounts is None:
        mounts = _text(Path("/"), "proc/self/mountinfo")
    best, kind = "", ""
    for point, found in _mounted(mounts):
        if path.is_relative_to(point) and len(point) >= len(best):  # a later mount hides an earlier one
            best, kind = point, found
    return kind if kind.removeprefix("fuse.") in _NETWORK else None


def mount_namespace(pid: int) -> int:
    """Number of the mount namespace that a process lives in. Raises OSError."""
    return Path(f"/proc/{pid}/ns/mnt").stat().st_ino


def mount_points(kind: str) -> list[Path]:
    """Where this kind of file system is mounted, the innermost and newest first."""
    mounts = _text(Path("/"), "proc/self/mountinfo")
    return [Path(point) for point, found in reversed(list(_mounted(mounts))) if found == kind]


def _mounted(mounts: str) -> Iterator[tuple[str, str]]:
    """(mount point, kind of file system) of each line of a mountinfo, in the order of mounting."""
    for line in mounts.split("\n"):
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) >= 5:
            yield _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4]), after.split(" ")[0]


def _text(root: Path, name: str) -> str:
    try:
        return os.fsdecode((root / name).read_bytes()).strip()
    except OSError:
        return ""
