"""A process that ends as by kill -9, at a chosen one of its changes to the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

_CHANGES = ("rename", "unlink", "fsync", "link", "mkdir", "rmdir", "symlink")


def die_at(number: int) -> None:
    """Let `number` more changes of the disk be made; at the next one the process is gone, exit code 9."""
    left = [number]

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return real(*args, **kwargs)

        return call

    for name in _CHANGES:
        setattr(os, name, wrap(getattr(os, name)))
