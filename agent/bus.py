"""Who hears of an event: the session log first, then every sink, in one plain synchronous call.

Nothing can be cancelled between "it happened" and "it is recorded", and nobody is told of what is not
recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import overload

from agent.events import AnyEvent, Durable, Ephemeral, Noted, StepStarted, TurnStarted
from agent.session import Clock, Envelope, Record, SessionLog, timestamp, utc_now
from agent.tokens import TokenLog

Sink = Callable[[AnyEvent, Envelope], None]


class Bus:
    """The log and the sinks of one session. `timer` gives seconds for durations, `clock` the time of day."""

    def __init__(
        self,
        log: SessionLog,
        sinks: Iterable[Sink] = (),
        *,
        clock: Clock = utc_now,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.log = log
        self.sinks = list(sinks)
        self.clock = clock
        self.timer = timer
        self.tokens = TokenLog(log.artifacts / "tokens.jsonl")

    def branch(self, leaf: int = 0, label: str = "") -> Branch:
        """A place after event `leaf`; 0 is the root. This is how a loaded session is continued."""
        if not leaf:
            return Branch(self, label)
        at = self.log.records[leaf - 1].envelope
        return Branch(self, label or at.branch, leaf, at.turn, at.step)

    def tell(self, event: AnyEvent, envelope: Envelope) -> list[str]:
        """Tell every sink. One that raises is dropped for good; returns what each of those failed with."""
        failures = []
        for sink in tuple(self.sinks):
            try:
                sink(event, envelope)
            except Exception as error:
                if sink in self.sinks:
                    self.sinks.remove(sink)
                name = getattr(sink, "__qualname__", type(sink).__qualname__)
                failures.append(f"{name} no longer hears events: {type(error).__name__}: {error}")
        return failures


class Branch:
    """A place in the session tree that grows with each durable event. Each attempt has its own branch."""

    def __init__(self, bus: Bus, label: str = "", leaf: int = 0, turn: int = 0, step: int = 0) -> None:
        self.bus = bus
        self.label = label
        self.leaf = leaf
        """Number of the newest event on this branch; 0 when there is none."""
        self.turn = turn
        self.step = step

    @overload
    def emit(self, event: Durable) -> Record: ...
    @overload
    def emit(self, event: Ephemeral) -> None: ...
    def emit(self, event: AnyEvent) -> Record | None:
        """Record a durable event and tell the sinks; an ephemeral one goes to the sinks only.

        Sinks hear the event as it was recorded, that is with secrets masked. Raises SessionError, and tells
        nobody, when it cannot be recorded.
        """
        now = self.bus.clock()
        if isinstance(event, Ephemeral):
            failures = self.bus.tell(
                event, Envelope(0, self.leaf, timestamp(now), self.turn, self.step, self.label)
            )
            record = None
        else:
            turn, step = self._position(event)
            record = self.bus.log.append(
                event, at=now, parent=self.leaf, turn=turn, step=step, branch=self.label
            )
            self.leaf, self.turn, self.step = record.envelope.seq, turn, step
            failures = self.bus.tell(record.event, record.envelope)
        for failure in failures:
            self.emit(Noted("warning", failure))
        return record

    def fork(self, label: str) -> Branch:
        """A child branch that starts here. It sees what happened so far, not what either side does later."""
        path = f"{self.label}/{label}" if self.label else label
        return Branch(self.bus, path, self.leaf, self.turn, self.step)

    def records(self) -> list[Record]:
        """Everything from the root of the session to this place, in order."""
        return self.bus.log.line_to(self.leaf)

    def events(self) -> list[Durable]:
        return [record.event for record in self.records()]

    def _position(self, event: Durable) -> tuple[int, int]:
        """Turn and step that the event belongs to; a turn and a step begin with the event that opens them."""
        if isinstance(event, TurnStarted):
            return self.turn + 1, 0
        if isinstance(event, StepStarted):
            return self.turn, self.step + 1
        return self.turn, self.step
