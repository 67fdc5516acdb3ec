"""Reads lines such as `Ada: Mon 09:00-17:00`."""

import re

from .intervals import Interval
from .week import DAYS, MINUTES_PER_DAY, Shift

LINE = re.compile(
    r"^(?P<person>[^:#]+):\s*(?P<day>[A-Z][a-z]{2})\s+"
    r"(?P<h1>\d\d):(?P<m1>\d\d)\s*-\s*(?P<h2>\d\d):(?P<m2>\d\d)$"
)


class ParseError(ValueError):
    """A line that is not a shift; says which one."""

    def __init__(self, number, line, reason):
        super().__init__(f"line {number}: {reason}: {line!r}")
        self.number = number


def _minute(hours, minutes, number, line):
    value = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or value > MINUTES_PER_DAY:
        raise ParseError(number, line, "no such time")
    return value


def parse_shifts(text):
    """The shifts in `text`, in order. Empty lines and `#` comments are skipped.

    A shift whose end is not after its start runs past midnight.
    """
    shifts = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        match = LINE.match(line)
        if match is None:
            raise ParseError(number, raw, "expected `Name: Mon 09:00-17:00`")
        if match["day"] not in DAYS:
            raise ParseError(number, raw, "no such day")
        start = _minute(match["h1"], match["m1"], number, raw)
        end = _minute(match["h2"], match["m2"], number, raw)
        if end <= start:
            end += MINUTES_PER_DAY
        midnight = DAYS.index(match["day"]) * MINUTES_PER_DAY
        shifts.append(Shift(match["person"].strip(), Interval(midnight + start, midnight + end)))
    return shifts
