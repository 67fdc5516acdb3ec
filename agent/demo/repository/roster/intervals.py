"""Half-open spans of minutes and what can be asked of them."""

from dataclasses import dataclass


@dataclass(order=True)
class Interval:
    """The minutes from `start` up to, not including, `end`, counted from Monday 00:00."""

    start: int
    end: int

    def __post_init__(self):
        if self.end <= self.start:
            raise ValueError(f"an interval must end after it starts: {self.start}-{self.end}")

    @property
    def minutes(self):
        return self.end - self.start

    def overlaps(self, other):
        return self.start < other.end and other.start < self.end


def merge(intervals):
    """Join intervals that overlap or touch; the result is sorted and without overlaps."""
    merged = []
    for interval in sorted(intervals):
        if merged and interval.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, interval.end)
        else:
            merged.append(interval)
    return merged


def total_minutes(intervals):
    """Minutes covered by at least one of the intervals."""
    return sum(interval.minutes for interval in merge(intervals))


def gaps(intervals, within):
    """The parts of `within` that no interval covers."""
    free = []
    at = within.start
    for interval in merge(intervals):
        if interval.end <= within.start:
            continue
        if interval.start >= within.end:
            break
        if interval.start > at:
            free.append(Interval(at, interval.start))
        at = max(at, interval.end)
    if at < within.end:
        free.append(Interval(at, within.end))
    return free
