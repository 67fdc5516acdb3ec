"""Which tasks are learnt from and which are kept back: by time, as in life. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

TRAIN, HELD_OUT = "train", "heldout"


def by_time(rows: list[dict[str, Any]], share: float) -> list[dict[str, Any]]:
    """Oldest first; the newest `share` (0 to 1) of them is held out. Tasks of one moment stay together."""
    ordered = sorted(rows, key=lambda row: (_moment(row), str(row["instance_id"])))
    cut = len(ordered) - int(len(ordered) * share)
    while 0 < cut < len(ordered) and _moment(ordered[cut - 1]) == _moment(ordered[cut]):
        cut += 1
    return [_in(row, TRAIN if number < cut else HELD_OUT) for number, row in enumerate(ordered)]


def for_training(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was made up is learnt from and says nothing about true work."""
    return [_in(row, TRAIN) for row in sorted(rows, key=lambda row: str(row["instance_id"]))]


def _in(row: dict[str, Any], split: str) -> dict[str, Any]:
    return row | {"extra": row["extra"] | {"split": split}}


def _moment(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(str(row["created_at"]))
