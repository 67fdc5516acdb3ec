from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import pytest

from agent.messages import Usage
from agent.models.base import (
    Delta,
    Finish,
    ModelAuth,
    ModelError,
    ModelOverloaded,
    ModelQuota,
    ModelUnreachable,
    ReasoningDelta,
    Restart,
    TextDelta,
    ToolCallDelta,
)
from agent.models.retry import Retries, retried, retry_after_s, wait_s

pytestmark = pytest.mark.anyio

END = Finish("stop", Usage())
Step = Sequence[Delta | ModelError]


class Asked:
    """Streams that give what they were told to, and a clock that only sleeping moves."""

    def __init__(self, *streams: Step) -> None:
        self._streams = list(streams)
        self.opened = 0
        self.received: list[str] = []
        self.waits: list[float] = []
        self.told: list[tuple[str, float]] = []

    async def open(self, received: str) -> AsyncGenerator[Delta, None]:
        self.opened += 1
        self.received.append(received)
        for item in self._streams[self.opened - 1]:
            if isinstance(item, ModelError):
                raise item
            yield item

    async def run(self, policy: Retries, *, resumable: bool = False) -> list[Delta]:
        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        deltas: list[Delta] = []
        self.deltas = deltas
        async for delta in retried(
            self.open,
            policy,
            resumable=lambda text: resumable,
            on_retry=lambda error, wait: self.told.append((str(error), wait)),
            sleep=sleep,
            clock=lambda: sum(self.waits),
            dice=lambda: 0.0,
        ):
            deltas.append(delta)
        return deltas


async def test_retries_until_it_works_with_doubling_waits() -> None:
    asked = Asked(
        [ModelUnreachable("a")], [ModelOverloaded("b")], [ModelUnreachable("c")], [TextDelta("x"), END]
    )
    assert await asked.run(Retries(base_s=1.0)) == [TextDelta("x"), END]
    assert asked.waits == [0.5, 1.0, 2.0]
    assert asked.told == [("a", 0.5), ("b", 1.0), ("c", 2.0)]


async def test_gives_up_after_the_last_attempt_with_its_error() -> None:
    asked = Asked([ModelUnreachable("a")], [ModelUnreachable("b")])
    with pytest.raises(ModelUnreachable, match="b"):
        await asked.run(Retries(attempts=2))


@pytest.mark.parametrize("error", [ModelAuth("key"), ModelQuota("credit", 1.0)])
async def test_what_cannot_help_is_not_tried_again(error: ModelError) -> None:
    asked = Asked([error])
    with pytest.raises(type(error)):
        await asked.run(Retries())
    assert asked.opened == 1


HALF = TextDelta("half a ")
CUT = ModelUnreachable("cut")
REST = TextDelta("sentence")


async def test_text_that_was_cut_off_is_gone_on_from_where_the_server_can() -> None:
    asked = Asked([HALF, CUT], [REST, CUT], [END])
    assert await asked.run(Retries(), resumable=True) == [HALF, REST, END]
    assert asked.received == ["", "half a ", "half a sentence"]


@pytest.mark.parametrize(
    ("given", "resumable"),
    [
        ([HALF], False),
        ([HALF, ToolCallDelta(0, "c", "write", '{"path": "a')], True),
        ([ReasoningDelta("Hm.")], True),
    ],
    ids=["text, but the server cannot", "half a call", "reasoning"],
)
async def test_any_other_reply_begins_anew(given: list[Delta], resumable: bool) -> None:
    asked = Asked([*given, CUT], [REST, END])
    assert await asked.run(Retries(), resumable=resumable) == [*given, Restart(), REST, END]
    assert asked.received == ["", ""]


async def test_a_reply_that_is_always_cut_off_is_given_up() -> None:
    asked = Asked([HALF, CUT], [HALF, CUT])
    with pytest.raises(ModelUnreachable, match="cut"):
        await asked.run(Retries(attempts=2))


async def test_waits_as_long_as_the_server_asks() -> None:
    asked = Asked([ModelOverloaded("slow down", 7.0)], [END])
    await asked.run(Retries())
    assert asked.waits == [7.0]


async def test_does_not_wait_past_the_limit_of_the_whole() -> None:
    asked = Asked([ModelOverloaded("come back tomorrow", 86400.0)], [END])
    with pytest.raises(ModelOverloaded):
        await asked.run(Retries(total_s=60.0))
    assert asked.waits == []


def test_wait_is_jittered_between_half_and_whole_and_capped() -> None:
    policy = Retries(base_s=1.0, cap_s=8.0)
    error = ModelUnreachable("x")
    assert [wait_s(error, n, policy, 0.0) for n in (1, 2, 3, 4, 9)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert wait_s(error, 9, policy, 0.999) == pytest.approx(8.0, abs=0.01)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, datetime(2026, 1, 1, tzinfo=UTC)) == seconds
