"""Why a candidate is no task."""

from __future__ import annotations


class Rejected(Exception):
    """A candidate does not become a task. `reason` is one of a few short texts that can be counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
