"""Guards end or steer a turn: small objects that are asked before each step.

A guard sees the turn so far as a value that is folded from the events, so it keeps no state of its own that a
resumed session would lack. Only `Budget` reaches beyond the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.bus import Bus
from agent.events import (
    AnyEvent,
    AssistantReplied,
    Compacted,
    Durable,
    Status,
    StepStarted,
    ToolFinished,
    TurnStarted,
)
from agent.messages import Usage
from agent.session import Envelope


@dataclass(frozen=True)
class Exchange:
    """What one step came to: the reply, and the results of its calls."""

    text: str
    calls: tuple[tuple[str, str], ...]
    """(tool, raw arguments)"""
    results: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """Equal for steps that did the same. Beside calls the text does not count: it is only commentary."""
        return (self.calls, self.results) if self.calls else (self.text.strip(),)


@dataclass(frozen=True)
class Progress:
    """The current turn so far."""

    steps: int
    usage: Usage
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True)
class Stop:
    """End the turn now."""

    status: Status
    detail: str


@dataclass(frozen=True)
class Remind:
    """Put this to the model, then go on."""

    text: str


class Guard(Protocol):
    def before_step(self, progress: Progress) -> Stop | Remind | None:
        """None means go. Must not block."""
        ...


def read_progress(events: Sequence[Durable]) -> Progress:
    """Fold the events of a branch into the progress of its last turn."""
    start = max((i for i, event in enumerate(events) if isinstance(event, TurnStarted)), default=0)
    steps, usage = 0, Usage()
    exchanges: list[Exchange] = []
    for event in events[start:]:
        match event:
            case StepStarted():
                steps += 1
            case AssistantReplied(message=message):
                usage = usage + event.usage
                calls = tuple((call.name, call.arguments) for call in message.tool_calls)
                exchanges.append(Exchange(message.text, calls))
            case Compacted():
                usage = usage + event.usage
            case ToolFinished(result=result) if exchanges:
                last = exchanges[-1]
                exchanges[-1] = Exchange(last.text, last.calls, (*last.results, result.text))
            case _:
                pass
    return Progress(steps, usage, tuple(exchanges))


def tokens_spent(usage: Usage) -> int:
    """Tokens that the model really worked on: what came from the prompt cache does not count."""
    return usage.input_tokens - usage.cached_input_tokens + usage.output_tokens


@dataclass(frozen=True)
class MaxSteps:
    """At most `limit` model calls in a turn."""

    limit: int

    def before_step(self, progress: Progress) -> Stop | None:
        if progress.steps < self.limit:
            return None
        return Stop("limit", f"reached {self.limit} steps")


@dataclass(frozen=True)
class LoopGuard:
    """Notices a model that goes in circles: the same one to `period` steps with the same results, again."""

    remind_at: int = 3
    stop_at: int = 5
    period: int = 3

    def before_step(self, progress: Progress) -> Stop | Remind | None:
        steps = [exchange.fingerprint for exchange in progress.exchanges]
        times = max(repeats(steps, period) for period in range(1, self.period + 1))
        if times >= self.stop_at:
            return Stop("loop", f"did the same {times} times")
        if times == self.remind_at:
            if progress.exchanges[-1].calls:
                return Remind(
                    f"You made the same call {times} times and got the same result. Do something else: "
                    "read another part of the code, or change it in another way."
                )
            return Remind(f"You gave the same answer {times} times. Call a tool, or answer differently.")
        return None


def repeats(steps: Sequence[object], period: int) -> int:
    """How many times the last `period` items stand one after the other at the end of `steps`."""
    end, cycle, times = len(steps), steps[-period:], 0
    while end >= period and steps[end - period : end] == cycle:
        end -= period
        times += 1
    return times


class Budget:
    """A bound on what all attempts of a session spend together, and the count of it.

    It is a guard of every attempt, and hears as a sink of the bus of each reply on any branch. The seconds
    run from when it is made.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        tokens: int | None = None,
        cost_usd: float | None = None,
        seconds: float | None = None,
    ) -> None:
        self.tokens = tokens
        self.cost_usd = cost_usd
        self.seconds = seconds
        self.usage = Usage()
        self._timer = bus.timer
        self._started = bus.timer()
        bus.sinks.append(self._hear)

    def _hear(self, event: AnyEvent, envelope: Envelope) -> None:
        if isinstance(event, AssistantReplied | Compacted):
            self.usage = self.usage + event.usage

    def exceeded(self) -> str:
        """Which bound was reached, worded for the person; empty while there is something left."""
        tokens, cost = tokens_spent(self.usage), self.usage.cost_usd
        if self.tokens is not None and tokens >= self.tokens:
            return f"spent {tokens} of {self.tokens} tokens"
        if self.cost_usd is not None and cost is not None and cost >= self.cost_usd:
            return f"spent {cost:.4f} of {self.cost_usd:g} USD"
        if self.seconds is not None and self._timer() - self._started >= self.seconds:
            return f"reached {self.seconds:g} s"
        return ""

    def before_step(self, progress: Progress) -> Stop | None:
        detail = self.exceeded()
        return Stop("limit", detail) if detail else None
