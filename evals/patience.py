"""How long trouble that is not the agent's is borne: back-off between tries, and a breaker for each cause.

Pure: time and chance come from the caller.
"""

from __future__ import annotations

from collections import deque
from random import Random

import msgspec


class Patience(msgspec.Struct, frozen=True):
    """Times in seconds."""

    retries: int = 3
    """How often a try that infrastructure ended is begun again."""
    first_s: float = 2.0
    """Before the first retry; twice as long before each further one, half as much again by chance."""
    most_s: float = 120.0
    window: int = 10
    """So many tries back a breaker looks; it opens when more than half of them ended by its cause."""
    pause_s: float = 15.0
    """The first pause; twice as long each time that the one try after it fails as well."""
    pauses: int = 5
    """So many pauses in a row are borne; then the run stops, and can be resumed."""

    def delay_s(self, retry: int, chance: Random) -> float:
        """Seconds before the `retry`-th retry, from 1."""
        base = min(self.first_s * 2.0 ** (retry - 1), self.most_s)
        return base * (1.0 + chance.random() / 2)


class Breaker:
    """Of one cause. Closed; open for a pause; then one try at a time until one does not fail by the cause."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.pauses = 0
        """In a row; 0 while it is closed."""
        self.until = 0.0
        self._last: deque[bool] = deque(maxlen=patience.window)

    @property
    def given_up(self) -> bool:
        return self.pauses > self.patience.pauses

    def note(self, failed: bool, now: float) -> None:
        """A try ended, by the cause or otherwise. One that began before the pause tells nothing new."""
        if self.pauses and now < self.until:
            return
        if self.pauses:
            if failed:
                self._open(now)
            else:
                self.pauses = 0
            return
        self._last.append(failed)
        if sum(self._last) > self.patience.window / 2:
            self._open(now)

    def room(self, running: int, now: float) -> bool:
        """Whether one more try may begin beside `running` ones."""
        return not self.pauses or (now >= self.until and running == 0)

    def _open(self, now: float) -> None:
        self._last.clear()
        self.until = now + self.patience.pause_s * 2.0**self.pauses
        self.pauses += 1
