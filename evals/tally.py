"""How far a run is, for its progress line and its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from agent.messages import Usage
from evals.types import Rollout, Score


@dataclass
class Tally:
    """How far a run is."""

    planned: int = 0
    rolled: int = 0
    """Units whose rollout counts."""
    scored: int = 0
    resolved: int = 0
    ungraded: int = 0
    """Units whose grading failed."""
    trouble: str = ""
    """The first error that counts, with the instance."""
    running: int = 0
    retried: int = 0
    """Tries that infrastructure ended and that were begun again, in this process."""
    ends: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)
    """What all tries cost, those that do not count included."""
    paused: str = ""
    """The cause for which nothing is begun now."""

    def count_rollout(self, rollout: Rollout) -> None:
        """Count a rollout that counts."""
        self.rolled += 1
        self.ends[rollout.end] += 1
        if rollout.end.endswith("_error"):
            self.trouble = self.trouble or f"{rollout.instance}: {rollout.detail}"

    def count_score(self, score: Score) -> None:
        """Count a score."""
        self.scored += 1
        self.resolved += score.resolved
        if score.error:
            self.ungraded += 1
            self.trouble = self.trouble or f"{score.instance}: {score.error}"
