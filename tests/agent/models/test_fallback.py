"""Models that take over, over real HTTP."""

from __future__ import annotations

import pytest

from agent.messages import Assistant, User
from agent.models.assemble import assemble
from agent.models.base import Model, ModelError, ModelOverloaded, ModelRefusedRequest, Request
from agent.models.catalog import UnknownModel
from agent.models.fallback import Fallback
from agent.models.resolve import open_model as open_model_by_name
from agent.models.retry import Retries
from agent.models.transport import HttpModel
from tests.support.model_server import Answer, ModelServer, error, refused_url

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


async def test_one_that_is_down_or_has_no_key_is_passed_over_at_once_and_later() -> None:
    notes: list[str] = []
    async with ModelServer([error(529, "Overloaded")]) as first, ModelServer(["one", "two"]) as good:

        async def open_model(name: str) -> Model:
            if name == "good":
                return model_at(good, name)
            return await open_model_by_name(name, environ={})

        others = [f"{refused_url()}#x", "groq/m", "good"]
        for model in (
            Fallback(model_at(first, "a/m"), others, open_model, notes.append),
            await Fallback.opened(open_model(f"{refused_url()}#m"), others, open_model, notes.append),
        ):
            assert (await reply(model)).origin == "good"
            await model.aclose()
    assert [note.rpartition("; going on with ")[2] for note in notes] == others * 2
    assert "groq needs a key" in notes[2]


async def test_the_first_that_does_not_exist_gets_no_other() -> None:
    async def open_model(name: str) -> Model:
        return await open_model_by_name(name, environ={})

    with pytest.raises(UnknownModel):
        await Fallback.opened(open_model("nosuch"), ["groq/m"], open_model, lambda line: None)


async def test_one_that_cannot_be_opened_is_an_error() -> None:
    async with ModelServer([error(529, "first")]) as server:

        async def open_model(name: str) -> HttpModel:
            raise ModelError(f"{name} needs a key")

        model = Fallback(model_at(server, "a/m"), ["b/m"], open_model, lambda line: None)
        with pytest.raises(ModelError, match="b/m needs a key"):
            await reply(model)
        await model.aclose()
