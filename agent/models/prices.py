"""What tokens cost: the person's own prices, else those of the package genai-prices, loaded only then.

Prices of services change; they are as of the installed version of that package.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

import msgspec

from agent.messages import Usage
from agent.models import names
from agent.models.base import Delta, Finish, Model, ModelError, Request
from agent.models.catalog import Prices, UnknownModel

MILLION = 1_000_000
_PROVIDERS = {"gemini": "google", "moonshot": "moonshotai", "xai": "x-ai"}
"""Our name of a provider -> that of genai-prices, where they differ."""


class NoPrice(ModelError):
    """A cost is to be held to that nobody knows."""

    exit_code = 2


Cost = Callable[[Usage], float]
"""USD for what was used."""


def cost_of(name: str, own: Prices | None = None) -> Cost | None:
    """What the model of this configured name costs; None when that is not known, or nobody sends a bill."""
    if own is not None:
        return lambda usage: _own_cost(own, usage)
    service = _service(name)
    return (
        _listed(_PROVIDERS.get(service.provider.name, service.provider.name), service.model)
        if service
        else None
    )


def billed(name: str) -> bool:
    """Whether somebody sends a bill: not for what this machine serves, or a server named by its address."""
    return _service(name) is not None


def _service(name: str) -> names.Service | None:
    with suppress(UnknownModel):
        reference = names.parse(name)
        if isinstance(reference, names.Service) and reference.provider.key_variable:
            return reference
    return None


def _own_cost(prices: Prices, usage: Usage) -> float:
    cached = prices.input if prices.cached is None else prices.cached
    fresh = usage.input_tokens - usage.cached_input_tokens
    return (
        fresh * prices.input + usage.cached_input_tokens * cached + usage.output_tokens * prices.output
    ) / MILLION


def _listed(provider: str, model: str) -> Cost | None:
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    def cost(usage: Usage) -> float:
        counted = Counted(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens,
        )
        return float(calc_price(counted, model, provider_id=provider).total_price)

    try:
        cost(Usage())
    except LookupError:
        return None
    return cost


class Priced:
    """A model whose replies tell what they cost."""

    def __init__(self, model: Model, cost: Cost) -> None:
        self.name = model.name
        self.context_tokens = model.context_tokens
        self._model = model
        self._cost = cost

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Raises as the model does."""
        async with aclosing(self._model.stream(request)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finish):
                    usage = msgspec.structs.replace(delta.usage, cost_usd=self._cost(delta.usage))
                    delta = msgspec.structs.replace(delta, usage=usage)
                yield delta

    async def aclose(self) -> None:
        await self._model.aclose()
