"""Models that take over, over real HTTP."""

from __future__ import annotations

import pytest

from agent.messages import Assistant, User
from agent.models.assemble import assemble
from agent.models.base import ModelError, ModelOverloaded, ModelRefusedRequest, Request
from agent.models.fallback import Fallback
from agent.models.retry import Retries
from agent.models.transport import HttpModel
from tests.support.model_server import Answer, ModelServer, error

pytestmark = pytest.mark.anyio

ASK = Request((User("Hello"),))


def model_at(server: ModelServer, name: str) -> HttpModel:
    return HttpModel(name, server.base_url, "m", retries=Retries(attempts=1))


async def reply(model: Fallback) -> Assistant:
    return assemble([delta async for delta in model.stream(ASK)])[0]


@pytest.mark.parametrize(
    "answer",
    [
        error(529, "Overloaded"),
        error(402, "Insufficient Balance"),
        error(401, "key"),
        Answer("half a", cut_at=150),
    ],
    ids=["overloaded", "quota", "key", "cut"],
)
async def test_the_next_takes_over_and_stays(answer: Answer) -> None:
    notes: list[str] = []
    async with ModelServer([answer]) as first, ModelServer(["one", "two"]) as second:

        async def open_model(name: str) -> HttpModel:
            return model_at(second, name)

        model = Fallback(model_at(first, "a/m"), ["b/m"], open_model, notes.append)
        assert await reply(model) == Assistant("one", origin="b/m")
        assert await reply(model) == Assistant("two", origin="b/m")
        await model.aclose()
    assert len(notes) == 1 and notes[0].endswith("; going on with b/m")


async def test_the_last_one_fails_with_its_own_error_and_a_wrong_request_goes_nowhere_else() -> None:
    async with ModelServer([error(529, "first"), error(400, "bad field")]) as server:

        async def open_model(name: str) -> HttpModel:
            raise AssertionError(f"{name} is not asked")

        model = Fallback(model_at(server, "a/m"), [], open_model, lambda line: None)
        with pytest.raises(ModelOverloaded, match="first"):
            await reply(model)
        model = Fallback(model_at(server, "a/m"), ["b/m"], open_model, lambda line: None)
        with pytest.raises(ModelRefusedRequest, match="bad field"):
            await reply(model)
        await model.aclose()


async def test_one_that_cannot_be_opened_is_an_error() -> None:
    async with ModelServer([error(529, "first")]) as server:

        async def open_model(name: str) -> HttpModel:
            raise ModelError(f"{name} needs a key")

        model = Fallback(model_at(server, "a/m"), ["b/m"], open_model, lambda line: None)
        with pytest.raises(ModelError, match="b/m needs a key"):
            await reply(model)
        await model.aclose()
