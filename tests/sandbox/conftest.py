"""One open sandbox for each backend and module: what is checked leaves nothing behind but files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox.base import Sandbox
from sandbox.open import known_backends
from sandbox.overlay import kind_of_forks, unmount_below
from tests.sandbox.nets import Net, opened_net
from tests.sandbox.places import ISOLATING, LIMITS, Forks, Place, backends, opened


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


@pytest.fixture(params=["overlay", "copies"])
def forks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Both kinds of forks must do the same."""
    if request.param == "overlay" and (kind := kind_of_forks(tmp_path)) != "overlay mounts":
        pytest.skip(kind)
    Forks.overlay = request.param == "overlay"
    yield
    Forks.overlay = True
    unmount_below(tmp_path)
