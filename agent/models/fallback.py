"""A model with others to take its place: asked when it is overloaded, out of quota or not to be reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from agent.models.base import Delta, Model, ModelAuth, ModelError, Request, Restart

OpenModel = Callable[[str], Awaitable[Model]]
OnNote = Callable[[str], None]


class Fallback:
    """Asks the first model, and the others in turn when it fails for good; they are opened only then.

    The one that answered is asked for the rest of the session: going back would cost its whole prompt again.
    """

    def __init__(self, first: Model, others: Sequence[str], open_model: OpenModel, on_note: OnNote) -> None:
        self.name = first.name
        self.context_tokens = first.context_tokens
        self._model = first
        self._others = list(others)
        self._open = open_model
        self._on_note = on_note

    @classmethod
    async def opened(
        cls, first: Awaitable[Model], others: Sequence[str], open_model: OpenModel, on_note: OnNote
    ) -> Fallback:
        """With the first model that can be opened. Raises the last one's error when none can."""
        left = list(others)
        try:
            model = await first
        except ModelError as error:
            if not left or not _gives_way(error):
                raise
            model = await _next(left, open_model, on_note, error)
        return cls(model, left, open_model, on_note)

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
                if not self._others or not _gives_way(error):
                    raise
                model = await _next(self._others, self._open, self._on_note, error)
            await self._model.aclose()
            self._model = model
            self.context_tokens = model.context_tokens
            if given:
                yield Restart()
                given = False

    async def aclose(self) -> None:
        await self._model.aclose()


def _gives_way(error: ModelError) -> bool:
    """Whether another model may do what this one could not."""
    return error.exit_code == 75 or isinstance(error, ModelAuth)


async def _next(others: list[str], open_model: OpenModel, on_note: OnNote, error: ModelError) -> Model:
    """The first of the others that can be opened; it and those before it are taken off the list."""
    while True:
        name = others.pop(0)
        on_note(f"{error}; going on with {name}")
        try:
            return await open_model(name)
        except ModelError as failed:
            if not others:
                raise
            error = failed
