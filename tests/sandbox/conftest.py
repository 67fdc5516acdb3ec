"""One open sandbox for each backend and module: what is checked leaves nothing behind but files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.base import Sandbox
from sandbox.open import known_backends
from tests.sandbox.nets import Net, opened_net
from tests.sandbox.places import ISOLATING, LIMITS, Place, backends, opened


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=backends(*known_backends()))
async def place(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    async with opened(request.param, tmp_path_factory.mktemp(request.param), limits=LIMITS) as made:
        yield made


@pytest.fixture(scope="module")
def sandbox(place: Place) -> Sandbox:
    return place.sandbox


@pytest.fixture(scope="module", params=backends(*ISOLATING))
async def whole_net(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Net]:
    async with opened_net(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def net(whole_net: Net) -> Net:
    """The module's, with nothing allowed and nothing seen."""
    whole_net.clear()
    return whole_net
