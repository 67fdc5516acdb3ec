"""Signs that a model knew a task before: dates, canaries, overlap with the reference, twins with other names.

No sign is proof alone. A short fix is often the only one, so overlap means something in long patches; a
canary in a model's own words means that the dataset was read in training, or lay open in the task.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime

import msgspec

NGRAM = 13
"""As in the decontamination of GPT-3 (arXiv 2005.14165, appendix C)."""
LONG_RUN = 40
"""Tokens in a row, as in the reference, that hardly come by chance: about four lines of code."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Overlap(msgspec.Struct, frozen=True):
    """What a patch shares with the reference, in the lines that both add."""

    longest: int
    """Tokens of the longest run that stands in both."""
    share: float | None
    """Of the patch's 13-grams, those that the reference has; None when it has none."""
    tokens: int
    """That the patch adds."""


def new_canary() -> str:
    """A GUID that stands nowhere else, for a dataset's tasks and exports."""
    return str(uuid.uuid4())


def canary_line(guid: str) -> str:
    """The line for a task's folder and for exports, by which they can be kept out of training data."""
    return f"Benchmark data: never train on it. canary GUID {guid}"


def says_canary(canary: str, texts: Iterable[str]) -> bool:
    """Whether any of the texts holds the canary's GUID, or the canary itself where it is none."""
    found = _GUID.search(canary)
    wanted = (found[0] if found else canary).lower()
    return bool(wanted) and any(wanted in text.lower() for text in texts)


def parse_date(text: str) -> date | None:
    """The UTC day of an ISO date or time, with or without a zone; None when it is none."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()


def known_before(created_at: str, cutoff: date) -> bool | None:
    """Whether a task is from before the model's cut-off or of that day; None when its date is unknown."""
    created = parse_date(created_at)
    return None if created is None else created <= cutoff


def added_tokens(patch: str) -> list[str]:
    """Words and signs of the lines that a unified diff adds."""
    rows = (line[1:] for line in _body(patch) if line.startswith("+"))
    return [token for row in rows for token in _TOKEN.findall(row)]


def _body(patch: str) -> Iterator[str]:
    """Lines inside hunks, so that `+++` of a header is told from an added `++`."""
    left_old = left_new = 0
    for line in patch.split("\n"):
        if left_old <= 0 and left_new <= 0:
            if head := re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", line):
                left_old, left_new = (int(count) if count else 1 for count in head.groups())
            continue
        if line.startswith("\\"):
            continue
        left_old -= not line.startswith("+")
        left_new -= not line.startswith("-")
        yield line


def overlap(patch: str, reference: str) -> Overlap:
    """What the patch adds in the reference's own words."""
    ours, theirs = added_tokens(patch), added_tokens(reference)
    grams = [*_grams(ours, NGRAM)]
    known = set(_grams(theirs, NGRAM))
    share = sum(gram in known for gram in grams) / len(grams) if grams else None
    return Overlap(longest_run(ours, theirs), share, len(ours))


def longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest run of tokens that stands in both.

    Whoever shares a run of n shares runs of all lengths below, so the length is found by halving.
    """
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if set(_grams(first, middle)).isdisjoint(_grams(second, middle)):
            high = middle - 1
        else:
            low = middle
    return low


def _grams(tokens: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1))
