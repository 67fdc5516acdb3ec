"""One open sandbox for each backend and module: what is checked leaves nothing behind but files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.base import Limits, Sandbox
from sandbox.open import known_backends
from tests.sandbox.places import Place, backends, opened

LIMITS = Limits(
    timeout_s=20, grace_s=0.3, stream_bytes=128 * 1024 * 1024, read_bytes=1024 * 1024, write_bytes=1024 * 1024
)


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
