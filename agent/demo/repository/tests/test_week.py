from roster import Interval, hours_by_person, parse_shifts, table, uncovered
from roster.report import span

WEEK = """
Ada:   Mon 09:00-17:00
Ada:   Mon 10:00-11:00   # stands in at the desk
Grace: Mon 12:00-16:00
Grace: Tue 09:00-12:00
"""


def test_hours_by_person():
    assert hours_by_person(parse_shifts(WEEK)) == {"Ada": 8.0, "Grace": 7.0}


def test_monday_is_covered():
    assert uncovered(parse_shifts(WEEK), "Mon") == []


def test_tuesday_afternoon_is_not():
    free = uncovered(parse_shifts(WEEK), "Tue")
    assert [span(interval) for interval in free] == ["Tue 12:00-17:00"]


def test_table():
    assert table(parse_shifts(WEEK)) == "Ada      8.0 h\nGrace    7.0 h"


def test_span_over_midnight_names_both_days():
    assert span(Interval(1380, 1500)) == "Mon 23:00-Tue 01:00"
