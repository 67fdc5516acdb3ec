import pytest

from roster import Interval, ParseError, Shift, parse_shifts


def test_lines_comments_and_blanks():
    text = """
    # week 12
    Ada: Mon 09:00-17:00
    Grace Hopper: Tue 08:30 - 12:00   # mornings only
    """
    assert parse_shifts(text) == [
        Shift("Ada", Interval(540, 1020)),
        Shift("Grace Hopper", Interval(1440 + 510, 1440 + 720)),
    ]


def test_a_shift_past_midnight_ends_on_the_next_day():
    assert parse_shifts("Ada: Sun 22:00-06:00") == [Shift("Ada", Interval(9960, 10440))]


@pytest.mark.parametrize("line", ["Ada Mon 09:00-17:00", "Ada: Xyz 09:00-17:00", "Ada: Mon 09:75-17:00"])
def test_a_bad_line_is_named(line):
    with pytest.raises(ParseError, match="line 2"):
        parse_shifts(f"Ada: Mon 09:00-10:00\n{line}")
