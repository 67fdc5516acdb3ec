import pytest

from roster import Interval, gaps, merge, total_minutes


def test_an_empty_interval_is_refused():
    with pytest.raises(ValueError):
        Interval(60, 60)


def test_merge_keeps_separate_intervals_apart_and_sorts_them():
    assert merge([Interval(120, 180), Interval(0, 60)]) == [Interval(0, 60), Interval(120, 180)]


def test_merge_joins_overlapping_and_touching_intervals():
    assert merge([Interval(0, 60), Interval(30, 90), Interval(90, 120)]) == [Interval(0, 120)]


def test_merge_of_an_interval_inside_another():
    assert merge([Interval(0, 480), Interval(60, 120)]) == [Interval(0, 480)]


def test_total_counts_each_minute_once():
    assert total_minutes([Interval(0, 100), Interval(10, 20), Interval(15, 30)]) == 100


def test_gaps_at_both_ends_and_between():
    free = gaps([Interval(60, 120), Interval(180, 240)], Interval(0, 300))
    assert free == [Interval(0, 60), Interval(120, 180), Interval(240, 300)]


def test_no_gaps_when_everything_is_covered():
    assert gaps([Interval(0, 500)], Interval(100, 200)) == []
