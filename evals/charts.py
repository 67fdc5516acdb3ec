"""The report's two charts as plain SVG geometry, in a box of 560 by 300; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from evals.summary import Summary
from evals.wording import figure, percent

WIDTH, HEIGHT = 560.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 12.0, 40.0


class Tick(msgspec.Struct, frozen=True):
    at: float
    text: str


class Line(msgspec.Struct, frozen=True):
    name: str
    look: str
    """Class of the stylesheet: first or second."""
    points: str
    """As `polyline` takes them."""
    band: str = ""
    """As `polygon` takes them; "" for none."""
    dots: tuple[tuple[float, float, str], ...] = ()
    """x, y and what is said there."""


class Chart(msgspec.Struct, frozen=True):
    id: str
    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    marks: tuple[tuple[str, str], ...] = ()
    """Look and path data of the strokes below the plot, one a rollout."""


def charts(summary: Summary) -> list[Chart]:
    """pass@k where there are several attempts, tokens against solved where tokens are known."""
    found = []
    if len(summary.curve) > 1:
        found.append(_attempts(summary))
    used = [row.tokens for task in summary.tasks for row in task.known]
    if any(used):
        found.append(_budget(summary))
    return found


def _y(share: float) -> float:
    return round(TOP + (1 - share) * (HEIGHT - TOP - BOTTOM), 1)


def _y_ticks() -> tuple[Tick, ...]:
    return tuple(Tick(_y(share), f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1))


def _x(place: float) -> float:
    return round(LEFT + place * (WIDTH - LEFT - RIGHT), 1)


def _polyline(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _attempts(summary: Summary) -> Chart:
    most = math.log2(summary.curve[-1].k)
    xs = [_x(0.03 + 0.94 * math.log2(point.k) / most) for point in summary.curve]
    lines = []
    for name, look in (("pass@k", "first"), ("pass^k", "second")):
        found = [point.any if look == "first" else point.all for point in summary.curve]
        upper = [(x, _y(one.interval.high)) for x, one in zip(xs, found, strict=True)]
        lower = [(x, _y(one.interval.low)) for x, one in zip(xs, found, strict=True)]
        centre = [(x, _y(one.value)) for x, one in zip(xs, found, strict=True)]
        says = [
            f"{name.replace('k', str(point.k))}: {percent(one.value)}"
            for point, one in zip(summary.curve, found, strict=True)
        ]
        dots = tuple((x, y, said) for (x, y), said in zip(centre, says, strict=True))
        lines.append(Line(name, look, _polyline(centre), _polyline(upper + lower[::-1]), dots))
    ticks = tuple(Tick(x, str(point.k)) for x, point in zip(xs, summary.curve, strict=True))
    return Chart("attempts", "Solved by k attempts", "attempts k", "tasks", ticks, _y_ticks(), tuple(lines))


def _budget(summary: Summary) -> Chart:
    rows = [row for task in summary.tasks for row in task.known]
    used = [max(row.tokens, 1) for row in rows]
    low, high = math.log10(min(used)), math.log10(max(used))
    low, high = (low - 0.5, high + 0.5) if high - low < 0.1 else (low, high)

    def x(tokens: float) -> float:
        return _x((math.log10(max(tokens, 1)) - low) / (high - low))

    stair = [(x(10**low), _y(0))]
    for tokens, share in summary.budget:
        stair += [(x(tokens), stair[-1][1]), (x(tokens), _y(share))]
    stair.append((x(10**high), stair[-1][1]))
    exponents = range(math.floor(low), math.ceil(high) + 1)
    nice = [digit * 10**power for power in exponents for digit in (1, 2, 5)]
    ticks = tuple(Tick(x(value), figure(value)) for value in nice if low <= math.log10(value) <= high)
    line = Line("solved with at most so many tokens", "first", _polyline(stair))
    marks = []
    for look, solved, top in (("good", True, HEIGHT - BOTTOM - 10), ("bad", False, HEIGHT - BOTTOM - 4)):
        places = sorted({x(row.tokens) for row in rows if row.solved is solved})
        marks.append((look, "".join(f"M{place:g} {top:g}v4" for place in places)))
    return Chart(
        "budget",
        "Tokens against solved",
        "tokens of a rollout (logarithmic)",
        "rollouts",
        ticks,
        _y_ticks(),
        (line,),
        tuple(mark for mark in marks if mark[1]),
    )
