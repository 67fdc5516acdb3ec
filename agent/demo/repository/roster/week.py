"""Questions about a week of shifts."""

from collections import defaultdict
from dataclasses import dataclass

from .intervals import Interval, gaps, total_minutes

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True)
class Shift:
    person: str
    when: Interval


def hours_by_person(shifts):
    """Hours that each person is present; a minute counts once, however many shifts it lies in."""
    spans = defaultdict(list)
    for shift in shifts:
        spans[shift.person].append(shift.when)
    return {person: total_minutes(found) / 60 for person, found in sorted(spans.items())}


def opening_hours(day, opens, closes):
    """The interval in which somebody should be there on `day`; times in hours."""
    midnight = DAYS.index(day) * MINUTES_PER_DAY
    return Interval(midnight + opens * 60, midnight + closes * 60)


def uncovered(shifts, day, opens=9, closes=17):
    """The parts of the opening hours of `day` when nobody works."""
    return gaps([shift.when for shift in shifts], opening_hours(day, opens, closes))
