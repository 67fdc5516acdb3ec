"""What an image declares as VOLUME. Docker's own would be writable, on the host's disk and without bounds.

So each becomes an empty file system in memory, with the size of /tmp. Where that cannot be, the image is
refused: in the workspace, for snapshots would not see it, and in what pawl shows of itself.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.base import SandboxUnavailable
from sandbox.interpreter import PLACE


def in_memory(declared: Iterable[str], root: str) -> tuple[str, ...]:
    """The paths to mount for the declared ones; `root` is the workspace's. Raises SandboxUnavailable."""
    paths = {posixpath.normpath(f"/{path.lstrip('/')}") for path in declared} - {root, "/tmp"}
    for path in paths:
        if path == "/" or f"{path}/".startswith((f"{root}/", f"{PLACE}/")):
            raise _refusal(path)
    return tuple(sorted(paths))


def check(mounts: Iterable[Mapping[str, Any]]) -> None:
    """Raise SandboxUnavailable when a container's mounts, as the daemon lists them, hold a volume."""
    for mount in mounts:
        if mount["Type"] == "volume":
            raise _refusal(mount["Destination"])


def _refusal(path: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        f"the image declares VOLUME {path}, which pawl cannot bound", "take an image without it"
    )
