"""HttpModel against a real server on loopback, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.messages import Assistant, System, ToolCall, ToolResult, Usage, User
from agent.models.assemble import assemble
from agent.models.base import (
    ContextOverflow,
    Delta,
    Finish,
    ModelAuth,
    ModelBadReply,
    ModelError,
    ModelOverloaded,
    ModelQuota,
    ModelRefusedRequest,
    ModelUnreachable,
    Quirks,
    Request,
    TextDelta,
    ToolSpec,
)
from agent.models.catalog import UnknownModel
from agent.models.providers import LLAMA_CPP
from agent.models.retry import Retries
from agent.models.transport import HttpModel, server_info
from tests.support.model_server import (
    Answer,
    ModelServer,
    error,
    event_stream,
    refused_url,
)

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret"
ASK = Request((System("Be brief."), User("Say grüß dich.")))
SOON = Retries(attempts=3, base_s=0.001)
ONCE = Retries(attempts=1)
READ = ToolSpec("read", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})


@asynccontextmanager
async def asked(
    server: ModelServer, retries: Retries = ONCE, first_byte_s: float = 60.0, stall_s: float = 60.0
) -> AsyncIterator[HttpModel]:
    model = HttpModel(
        "test/m", server.base_url, "m", KEY, retries=retries, first_byte_s=first_byte_s, stall_s=stall_s
    )
    try:
        yield model
    finally:
        await model.aclose()


async def reply(model: HttpModel, request: Request = ASK) -> tuple[Assistant, Finish]:
    message, finish = assemble([delta async for delta in model.stream(request)], request.tools)
    assert finish is not None
    return message, finish


def behind(text: str, piece: str) -> int:
    """Where in the stream of an answer with this text the event of the piece ends."""
    stream = event_stream(Answer(text))
    return stream.index(b"\n\n", stream.index(piece.encode())) + 2


async def failure(answer: Answer, first_byte_s: float = 60.0, stall_s: float = 60.0) -> ModelError:
    """The error that an answer ends in; it never shows the key."""
    async with (
        ModelServer([answer], api_key=KEY) as server,
        asked(server, ONCE, first_byte_s, stall_s) as model,
    ):
        with pytest.raises(ModelError) as caught:
            await reply(model)
        assert KEY not in str(caught.value) + repr(caught.value) + repr(caught.value.__cause__) + repr(model)
        assert server.base_url.removesuffix("/v1") in str(caught.value) or "context" in str(caught.value)
        return caught.value


@pytest.mark.parametrize("write_bytes", [1, 7, 2**16])
async def test_a_reply_arrives_whole_however_it_is_cut(write_bytes: int) -> None:
    call = ToolCall("call_x", "read", '{"path": "größe.py"}')
    answer = Answer("Grüß dich, 世界 🙂", (call,), reasoning="Hm.", write_bytes=write_bytes)
    async with ModelServer([answer], api_key=KEY) as server, asked(server) as model:
        message, finish = await reply(model)
    assert message == Assistant("Grüß dich, 世界 🙂", (call,), "Hm.", origin="test/m")
    assert finish == Finish("tool_calls", Usage(100, 90, 5, 1), origin="test/m")


async def test_the_connection_is_kept_for_the_next_request() -> None:
    async with ModelServer(["a", "b", "c"], api_key=KEY) as server, asked(server) as model:
        for expected in "abc":
            assert (await reply(model))[0].text == expected
    assert server.connections == 1


async def test_text_is_given_out_as_it_comes() -> None:
    answer = Answer("one two three", stall_at=behind("one two three", "one "))
    async with ModelServer([answer], api_key=KEY) as server, asked(server) as model:
        deltas: AsyncGenerator[Delta, None] = model.stream(ASK)
        assert await anext(deltas) == TextDelta("one ")
        await deltas.aclose()
        await server.left.wait()


async def test_a_conversation_with_tools_is_legal_and_only_grows() -> None:
    call = ToolCall("c1", "read", '{"path": "a.py"}')
    text_call = '```json\n{"name": "read", "arguments": {"path": "b.py"}}\n```'
    answers: list[Answer | str] = [Answer(tool_calls=(call,)), text_call, "Done."]
    async with ModelServer(answers, api_key=KEY, append_only=True) as server, asked(server) as model:
        messages: tuple[System | User | Assistant | ToolResult, ...] = ASK.messages
        for _ in answers:
            message, _finish = await reply(model, Request(messages, (READ,)))
            results = (ToolResult(c.id, c.name, "x = 1") for c in message.tool_calls)
            messages = (*messages, message, *results)
    assert message.text == "Done."
    roles = [m["role"] for m in server.requests[-1].body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


async def test_a_salvaged_call_is_sent_back_as_it_was_written() -> None:
    text = '```json\n{"name": "read", "arguments": {"path": "b.py"}}\n```'
    message = Assistant(text, (ToolCall("call_1", "read", '{"path": "b.py"}'),), dialect="fenced_json")
    request = Request((User("Go."), message, ToolResult("call_1", "read", "x = 1")), (READ,))
    async with ModelServer(["Done."], api_key=KEY) as server, asked(server) as model:
        await reply(model, request)
    assert server.requests[0].body["messages"][1:] == [
        {"role": "assistant", "content": text},
        {"role": "user", "content": "<tool_response>\nx = 1\n</tool_response>"},
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(401, f"Incorrect API key provided: {KEY}"), ModelAuth, r"\[key\]"),
        (error(403, "not for you"), ModelAuth, "not for you"),
        (error(400, "bad field"), ModelRefusedRequest, "bad field"),
        (error(404, "The model `m` does not exist"), ModelRefusedRequest, "no model 'm'"),
        (error(402, "Insufficient Balance"), ModelQuota, "used up"),
        (error(429, "You exceeded your current quota", "insufficient_quota"), ModelQuota, "used up"),
        (error(429, "slow down", retry_after="9"), ModelOverloaded, "slow down"),
        (error(500, "oh no"), ModelOverloaded, r"\(500\): oh no"),
        (error(503, "Loading model"), ModelOverloaded, "Loading model"),
        (error(529, "overloaded"), ModelOverloaded, "529"),
        (error(502, "upstream"), ModelUnreachable, "gateway"),
        (
            Answer(
                status=502, content_type="text/html", body=b"<html><style>a{}</style><h1>Bad Gateway</h1>"
            ),
            ModelUnreachable,
            r"\(502\): Bad Gateway$",
        ),
        (
            Answer(status=307, headers={"location": "http://elsewhere/"}, body=b""),
            ModelRefusedRequest,
            "elsewhere",
        ),
        (
            error(
                400,
                "request (40031 tokens) exceeds the available context size (8192 tokens), try increasing it",
                "exceed_context_size_error",
            ),
            ContextOverflow,
            "40031",
        ),
        (
            error(400, "This model's maximum context length is 128000 tokens. However, your messages"),
            ContextOverflow,
            "128000",
        ),
        (
            error(400, "You passed 1015 input tokens and the model's context length is only 1024 tokens"),
            ContextOverflow,
            "1024",
        ),
        (
            Answer(content_type="text/html", body=b"<h1>Welcome to nginx!</h1>"),
            ModelBadReply,
            "Welcome to nginx",
        ),
        (Answer(content_type="application/json", body=b"{}"), ModelBadReply, "application/json"),
        (Answer(body=b"data: {not json}\n\n"), ModelBadReply, "cannot be understood"),
        (Answer(body=b"data: [1, 2]\n\n"), ModelBadReply, "cannot be understood"),
        (Answer(body=b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'), ModelBadReply, "text expected"),
        (Answer(body=b'data: {"choices": 5}\n\n'), ModelBadReply, "cannot be understood"),
        (Answer(body=b"data: \xff\xfe\n\n"), ModelBadReply, "cannot be understood"),
        (Answer(body=b"data: [DONE]\n\n"), ModelBadReply, "without having begun"),
        (Answer(body=b""), ModelUnreachable, "in the middle"),
        (Answer("Hel", finish="abort"), ModelOverloaded, "finish_reason 'abort'"),
        (Answer("Hel", finish="error"), ModelOverloaded, "finish_reason 'error'"),
        (
            Answer(body=b'data: {"error": {"code": 503, "message": "out of memory"}}\n\n'),
            ModelOverloaded,
            "memory",
        ),
        (Answer(body=b'data: {"error": {"message": "prompt is too long"}}\n\n'), ContextOverflow, "too long"),
        (Answer(headers={"content-encoding": "gzip"}, body=b"no gzip"), ModelBadReply, "decoded"),
        (Answer(reset=True), ModelUnreachable, "broke"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_what_is_wrong_is_said(answer: Answer, kind: type[ModelError], words: str) -> None:
    caught = await failure(answer)
    assert type(caught) is kind
    assert re.search(words, str(caught)), str(caught)


async def test_retry_after_is_read() -> None:
    caught = await failure(error(429, "slow down", retry_after="9"))
    assert isinstance(caught, ModelOverloaded)
    assert caught.retry_after == 9.0


async def test_a_wrong_key_is_an_authentication_error() -> None:
    async with ModelServer([], api_key="another") as server, asked(server) as model:
        with pytest.raises(ModelAuth, match="does not accept the API key"):
            await reply(model)


async def test_nobody_listens() -> None:
    model = HttpModel("test/m", refused_url(), "m", retries=ONCE)
    with pytest.raises(
        ModelUnreachable, match=r"nothing answers at http://127.0.0.1:.* is the server running"
    ):
        await reply(model)
    await model.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "http://", "http://host:port", "http://[::1", "", "ftp://host",
        "http://ho\x00st/v1", "http://ho\u200bst/v1", "http://host/v1\x07", "http://ho st", "http://-é-.x-.-/v1",
    ],
)  # fmt: skip
async def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UnknownModel, match="no address of a model server"):
        HttpModel("test/m", url, "m")


async def test_a_password_in_the_address_is_not_shown() -> None:
    url = refused_url().replace("http://", "http://me:hunter2@")
    model = HttpModel("test/m", url, "m", retries=ONCE)
    with pytest.raises(ModelUnreachable, match=r"^nothing answers at http://127.0.0.1:\d+ ") as caught:
        await reply(model)
    assert "hunter2" not in repr(model) + str(caught.value) + repr(caught.value.__cause__)
    await model.aclose()


async def test_a_password_in_the_address_is_struck_out_of_what_the_server_repeats() -> None:
    answer = error(400, "unknown header Basic bWU6aHVudGVyMg== (me:hunter2)")
    async with ModelServer([answer]) as server:
        model = HttpModel("test/m", server.base_url.replace("://", "://me:hunter2@"), "m", retries=ONCE)
        with pytest.raises(ModelRefusedRequest, match=r"Basic \[key\] \(me:\[key\]\)"):
            await reply(model)
        await model.aclose()


async def test_a_stream_cut_behind_its_end_is_whole() -> None:
    answer = Answer("Hello", cut_at=behind("Hello", '"stop"'))
    async with ModelServer([answer], api_key=KEY) as server, asked(server) as model:
        message, finish = await reply(model)
    assert (message.text, finish.reason, finish.usage.output_tokens) == ("Hello", "stop", 0)


NO_REASON = Answer(body=b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\ndata: [DONE]\n\n')


@pytest.mark.parametrize("answer", [Answer("Hello", second_end=True), Answer("Hello", usage=None), NO_REASON])
async def test_a_second_end_missing_counts_or_no_reason_do_no_harm(answer: Answer) -> None:
    async with ModelServer([answer, "again"], api_key=KEY) as server, asked(server) as model:
        deltas = [delta async for delta in model.stream(ASK)]
        assert [delta for delta in deltas if isinstance(delta, Finish)] == deltas[-1:]
        assert (await reply(model))[0].text == "again"


async def test_faults_are_retried_until_the_server_recovers() -> None:
    told: list[tuple[str, float]] = []
    answers: list[Answer | str] = [error(429, "slow", retry_after="0.02"), Answer(reset=True), "Hello"]
    async with ModelServer(answers, api_key=KEY) as server, asked(server, retries=SOON) as model:
        model.on_retry = lambda problem, wait: told.append((type(problem).__name__, wait))
        assert (await reply(model))[0].text == "Hello"
    assert [name for name, _ in told] == ["ModelOverloaded", "ModelUnreachable"]
    assert told[0][1] == 0.02


async def test_a_silent_server_is_given_up_before_the_first_byte() -> None:
    caught = await failure(Answer("x", wait_for=asyncio.Event()), first_byte_s=0.05)
    assert isinstance(caught, ModelUnreachable)
    assert "no answer within 0.05 s" in str(caught)


async def test_reading_the_prompt_may_take_longer_than_a_pause_in_the_reply() -> None:
    """The header and the role come at once, the first text when the prompt is read."""
    prompt_phase = Answer("Hello", stall_at=behind("Hello", "assistant"))
    in_reply = Answer("Hello", stall_at=behind("Hello", "Hell"))
    assert "nothing for 0.2 s" in str(await failure(prompt_phase, first_byte_s=0.2, stall_s=0.01))
    assert "nothing for 0.01 s" in str(await failure(in_reply, first_byte_s=60.0, stall_s=0.01))


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("moment", ["before the first byte", "in the reply"])
async def test_cancelling_ends_the_request_and_the_next_one_works(moment: str, cancels: int) -> None:
    begun = asyncio.Event()
    silent = Answer("x", wait_for=asyncio.Event())
    stalled = Answer("Hello", stall_at=behind("Hello", "Hell"))
    rounds = 5
    answers: list[Answer | str] = [
        *[silent if moment == "before the first byte" else stalled] * rounds,
        "after",
    ]
    async with ModelServer(answers, api_key=KEY) as server, asked(server) as model:

        async def consume() -> None:
            async for _ in model.stream(ASK):
                begun.set()

        for _ in range(rounds):
            task = asyncio.create_task(consume())
            await (begun if moment == "in the reply" else server.came).wait()
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(server.left.wait(), 5)
            server.left.clear()
            begun.clear()
            server.came.clear()
        assert (await reply(model))[0].text == "after"


@pytest.mark.parametrize("steps", range(12))
async def test_cancelling_while_connecting(steps: int) -> None:
    """After any number of steps of the event loop, twice, as httpx #3782 has it."""
    async with ModelServer(lambda _: "after", api_key=KEY) as server, asked(server) as model:
        task = asyncio.create_task(reply(model))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await reply(model))[0].text == "after"


async def test_many_streams_at_a_time() -> None:
    async with ModelServer(lambda body: body["messages"][0]["content"] * 3) as server, asked(server) as model:
        requests = [Request((User(f"{n} "),)) for n in range(20)]
        replies = await asyncio.gather(*(reply(model, request) for request in requests))
    assert [message.text for message, _ in replies] == [f"{n} " * 3 for n in range(20)]


async def test_the_key_is_sent_but_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ModelServer(["Hello"], api_key=KEY) as server, asked(server) as model:
        await reply(model)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in caplog.text


async def test_a_proxy_of_the_environment_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", refused_url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with ModelServer(["Hello"], api_key=KEY) as server, asked(server) as model:
        assert (await reply(model))[0].text == "Hello"


@pytest.mark.parametrize(
    ("variable", "proxy", "shown"),
    [
        ("ALL_PROXY", "socks5h://me:hunter2@127.0.0.1:9", "ALL_PROXY=127.0.0.1:9 cannot .*socks"),
        ("HTTP_PROXY", "foo:bar", "HTTP_PROXY=foo:bar cannot be used"),
        ("HTTP_PROXY", "ftp://foo", "HTTP_PROXY=ftp://foo cannot be used"),
    ],
)
async def test_a_proxy_that_cannot_be_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str, shown: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(ModelError, match=shown) as caught:
        await server_info("http://model.example/v1")
    assert caught.value.exit_code == 2
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
async def test_base_urls_as_people_write_them(ending: str) -> None:
    async with ModelServer(["Hello"]) as server:
        for scheme in ("http://", ""):
            root = server.base_url.removesuffix("/v1").removeprefix("http://")
            assert (await server_info(f"{scheme}{root}{ending}")).models == ("m",)
        model = HttpModel("test/m", server.base_url.removesuffix("/v1") + ending, "m")
        assert (await reply(model))[0].text == "Hello"
        await model.aclose()


async def test_slot_and_cache_are_asked_of_llama_cpp_alone() -> None:
    async with ModelServer(["a", "b"]) as server:
        for quirks in (LLAMA_CPP, Quirks()):
            model = HttpModel("test/m", server.base_url, "m", quirks=quirks)
            await reply(model, Request(ASK.messages, slot=2))
            await model.aclose()
    asked_keys = [{"id_slot", "cache_prompt"} & received.body.keys() for received in server.requests]
    assert asked_keys == [{"id_slot", "cache_prompt"}, set()]
