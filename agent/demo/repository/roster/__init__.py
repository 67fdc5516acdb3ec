"""Shifts of a week: who works when, and when nobody does."""

from .intervals import Interval, gaps, merge, total_minutes
from .parse import ParseError, parse_shifts
from .report import table
from .week import Shift, hours_by_person, uncovered

__all__ = [
    "Interval",
    "ParseError",
    "Shift",
    "gaps",
    "hours_by_person",
    "merge",
    "parse_shifts",
    "table",
    "total_minutes",
    "uncovered",
]
