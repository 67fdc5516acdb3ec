"""What a headless command ends with: the `result` object and its receipt (see the README)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from agent.messages import Usage

Cause = Literal["", "model", "quota", "sandbox", "disk"]
"""What ended a run with `error` other than pawl itself: the provider, the account there, place, disk."""
Subtype = Literal["success", "tests_fail", "limit", "loop", "error", "interrupted", "declined"]

EXIT_CODES: dict[Subtype, int] = {
    "success": 0,
    "error": 1,
    "tests_fail": 3,
    "limit": 4,
    "loop": 5,
    "declined": 6,
    "interrupted": 130,
}


class Receipt(msgspec.Struct, frozen=True):
    """What was run to prove the result, and what it said. Counts are by outcome, empty if not understood."""

    command: tuple[str, ...]
    exit_before: int | None
    exit_after: int | None
    tests_before: dict[str, int]
    tests_after: dict[str, int]
    protected_files_touched: tuple[str, ...]
    sandbox: str
    image: str
    log: str
    """Path of the whole output of the last run."""


class Result(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="result"):
    subtype: Subtype
    exit_code: int
    session_id: str
    text: str
    patch: str = ""
    """As text; bytes that are not UTF-8 are replaced. `patch_file` has it byte for byte."""
    patch_file: str = ""
    files_changed: tuple[str, ...] = ()
    receipt: Receipt | None = None
    usage: Usage = Usage()
    steps: int = 0
    attempts: int = 0
    duration_s: float = 0.0
    model: str = ""
    cause: Cause = ""

    def as_dict(self) -> dict[str, Any]:
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built
