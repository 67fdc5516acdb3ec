"""What replies cost: the person's prices, the published ones, and none where nobody sends a bill."""

from __future__ import annotations

import pytest

from agent.messages import Usage, User
from agent.models.base import Finish, Request
from agent.models.catalog import Prices
from agent.models.prices import Priced, billed, cost_of
from agent.models.transport import HttpModel
from tests.support.answers import Answer
from tests.support.model_server import ModelServer

USED = Usage(input_tokens=1_000_000, cached_input_tokens=400_000, output_tokens=100_000, requests=1)


def test_the_persons_own_prices_come_first() -> None:
    cost = cost_of("openai/gpt-5-mini", Prices(input=2.0, output=10.0, cached=0.5))
    assert cost and cost(USED) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.1 * 10)
    cost = cost_of("local/qwen2.5-coder-1.5b", Prices(input=2.0, output=10.0))
    assert cost and cost(USED) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "name", ["openai/gpt-5-mini", "anthropic/claude-sonnet-4-6", "gemini/gemini-2.5-pro"]
)
def test_published_prices_are_known_and_cached_tokens_cost_less(name: str) -> None:
    cost = cost_of(name)
    assert cost and billed(name)
    fresh = Usage(input_tokens=1_000_000, output_tokens=100_000)
    assert 0.05 < cost(USED) < cost(fresh) < 50


@pytest.mark.parametrize(
    ("name", "bill"),
    [
        ("openai/a-model-that-nobody-knows", True),
        ("local/qwen2.5-coder-1.5b", False),
        ("http://127.0.0.1:8080/v1#m", False),
    ],
)
def test_an_unknown_price_is_none(name: str, bill: bool) -> None:
    assert cost_of(name) is None
    assert billed(name) is bill


@pytest.mark.anyio
async def test_a_reply_tells_what_it_cost() -> None:
    async with ModelServer([Answer("hi")]) as server:
        cost = cost_of("m", Prices(input=1.0, output=2.0))
        assert cost
        model = Priced(HttpModel("m", server.base_url, "m"), cost)
        deltas = [delta async for delta in model.stream(Request((User("hello"),)))]
        await model.aclose()
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].usage.cost_usd == pytest.approx((100 + 2 * 5) / 1e6)
