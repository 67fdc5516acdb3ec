"""A model with others to take its place: asked when it is overloaded, out of quota or not to be reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from agent.models.base import Delta, Model, ModelAuth, ModelError, Request, Restart

OpenModel = Callable[[str], Awaitable[Model]]
OnNote = Callable[[str], None]


class Fallback:
    """Asks `first`, and the `others` in their order when it fails for good; they are opened only then.

    The one that answered is asked for the rest of the session: going back would cost its whole prompt again.
    """

    def __init__(self, first: Model, others: Sequence[str], open_model: OpenModel, on_note: OnNote) -> None:
        self.name = first.name
        self.context_tokens = first.context_tokens
        self._model = first
        self._others = list(others)
        self._open = open_model
        self._on_note = on_note

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Raises the last model's error when none is left."""
        given = False
        while True:
            try:
                async with aclosing(self._model.stream(request)) as deltas:
                    async for delta in deltas:
                        given = True
                        yield delta
                return
            except ModelError as error:
                if not self._others or not (error.exit_code == 75 or isinstance(error, ModelAuth)):
                    raise
                await self._next(error)
            if given:
                yield Restart()
                given = False

    async def _next(self, error: ModelError) -> None:
        name = self._others.pop(0)
        self._on_note(f"{error}; going on with {name}")
        model = await self._open(name)
        await self._model.aclose()
        self._model = model
        self.context_tokens = model.context_tokens

    async def aclose(self) -> None:
        await self._model.aclose()
