"""The sandbox of a case: shared by all without limits of their own, and opened anew once it is broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sandbox.base import SandboxDied
from sandbox.tree import remove_path
from tests.sandbox.abuse.cases import LIMITS, limits_of
from tests.sandbox.places import Place, opened


class Shared:
    """One open sandbox for each backend."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._places: dict[str, Place] = {}
        self._stack = AsyncExitStack()

    async def place(self, backend: str) -> Place:
        place = self._places.get(backend)
        try:
            if place is not None:
                await place.sandbox.run("true")
                return place
        except SandboxDied:
            pass  # by the case before, which failed
        opening = opened(backend, self._folders.mktemp(backend), limits=LIMITS)
        self._places[backend] = await self._stack.enter_async_context(opening)
        return self._places[backend]

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture(scope="package")
async def shared(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    every = Shared(tmp_path_factory)
    yield every
    await every.aclose()


@pytest.fixture
async def place(request: pytest.FixtureRequest, shared: Shared, tmp_path: Path) -> AsyncIterator[Place]:
    limits = limits_of(request.function)
    if limits is LIMITS:
        yield await shared.place(request.param)
        return
    async with opened(request.param, tmp_path, limits=limits) as made:
        yield made
    await asyncio.to_thread(remove_path, tmp_path / "fork")
