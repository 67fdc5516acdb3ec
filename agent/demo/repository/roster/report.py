"""Plain-text tables for people."""

from .week import DAYS, MINUTES_PER_DAY, hours_by_person


def clock(minute):
    """`Mon 09:30` for a minute of the week."""
    day, rest = divmod(minute, MINUTES_PER_DAY)
    return f"{DAYS[day % len(DAYS)]} {rest // 60:02d}:{rest % 60:02d}"


def span(interval):
    """`Mon 09:30-12:00`; the end's day is named when it is another one."""
    start, end = clock(interval.start), clock(interval.end)
    return f"{start}-{end[4:] if start[:3] == end[:3] else end}"


def table(shifts):
    """One line a person: name and hours, aligned."""
    hours = hours_by_person(shifts)
    if not hours:
        return "nobody works"
    width = max(len(person) for person in hours)
    return "\n".join(f"{person:<{width}}  {value:5.1f} h" for person, value in hours.items())
