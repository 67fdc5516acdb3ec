"""Candidates that were not applied: each is a patch in a file, found by its session, swept by its age."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from sandbox.patch import Patch

KEPT_DAYS = 14
_PLACES = ("sessions/*/*/artifacts/*.patch", "shells/*.patch")
"""Where they are, beneath the state folder."""


def keep(folder: Path, name: str, patch: Patch) -> Path:
    """Write a patch as `folder/name.patch`, over one of that name; gives the path."""
    file = folder / f"{name}.patch"
    file.write_bytes(patch.text)
    return file


def outdated(state: Path) -> Iterator[Path]:
    """The patches that are older than KEPT_DAYS days."""
    oldest = time.time() - KEPT_DAYS * 86400
    for file in (found for place in _PLACES for found in sorted(state.glob(place))):
        with contextlib.suppress(OSError):
            if file.lstat().st_mtime < oldest:
                yield file


def sweep(state: Path) -> None:
    """Remove those that are outdated."""
    for file in outdated(state):
        with contextlib.suppress(OSError):
            file.unlink()
