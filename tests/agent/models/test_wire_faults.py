"""Everything that can go wrong, on every wire: each ends in a recovery, or in an error with its exit code."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from agent.messages import Assistant, System, ToolCall, User
from agent.models import wire as wires
from agent.models.assemble import assemble
from agent.models.base import (
    ContextOverflow,
    ModelAuth,
    ModelBadReply,
    ModelError,
    ModelOverloaded,
    ModelQuota,
    ModelRefusedRequest,
    ModelUnreachable,
    Request,
    ToolSpec,
)
from agent.models.catalog import UnknownModel
from agent.models.retry import Retries
from agent.models.transport import HttpModel
from tests.support.model_server import Answer, ModelServer, error
from tests.support.spoken import Spoken, all_spoken

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret"
TEXT = "Grüße und mehr"
CALL = ToolCall("c1", "read", '{"path": "größe.py"}')
READ = ToolSpec("read", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
ASK = Request((System("Be brief."), User("Say grüß dich.")), (READ,))
WHOLE = Answer(TEXT, (CALL,))


@pytest.fixture(params=wires.names())
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def reply(
    server: ModelServer, wire: str, *, attempts: int = 3, first_byte_s: float = 60.0, stall_s: float = 60.0
) -> Assistant:
    root = server.base_url.removesuffix("/v1")
    model = HttpModel(
        "test/m",
        root,
        "m",
        KEY,
        wire=wire,
        first_byte_s=first_byte_s,
        stall_s=stall_s,
        retries=Retries(attempts=attempts, base_s=0.001),
    )
    try:
        deltas = [delta async for delta in model.stream(ASK)]
    finally:
        await model.aclose()
    return assemble(deltas, ASK.tools)[0]


def at(spoken: Spoken, piece: bytes) -> int:
    return spoken.event_stream(WHOLE).index(piece)


def event_at(spoken: Spoken, piece: bytes) -> int:
    """Where the event with the piece begins."""
    before, end, _ = spoken.event_stream(WHOLE)[: at(spoken, piece)].rpartition(b"\n\n")
    return len(before + end)


RECOVERED: dict[str, Callable[[Spoken], Answer]] = {
    "429": lambda _: error(429, "slow down", "rate_limit_error", retry_after="0.01"),
    "limit for a minute of Groq": lambda _: error(
        429,
        "Rate limit reached for model `m` on tokens per minute (TPM): Limit 6000, Used 5900. Try again "
        "in 0.01s. Need more tokens? Upgrade today at https://console.groq.com/settings/billing",
        "tokens",
        retry_after="0.01",
    ),
    "limit for a minute of OpenAI": lambda _: error(
        429,
        "Rate limit reached for m on requests per min. Limit: 3 / min. You can increase your rate limit by "
        "adding a payment method at https://platform.openai.com/account/billing.",
        "requests",
        retry_after="0.01",
    ),
    "500": lambda _: error(500, "oh no", "api_error"),
    "529": lambda _: error(529, "Overloaded", "overloaded_error"),
    "503 in HTML": lambda _: Answer(status=503, content_type="text/html", body=b"<h1>Busy</h1>"),
    "overload inside the stream": lambda spoken: Answer(
        body=b'data: {"type":"error","error":{"type":"overloaded_error","code":529,"message":"Busy"}}\n\n'
    ),
    "slow first byte": lambda _: Answer(TEXT, wait_for=asyncio.Event()),
    "stall": lambda spoken: Answer(TEXT, (CALL,), stall_at=at(spoken, b"d me")),
    "keep-alive comments alone": lambda spoken: Answer(
        TEXT, (CALL,), stall_at=event_at(spoken, b"d me"), pulse=b": ping\n\n"
    ),
    "pings alone": lambda spoken: Answer(
        TEXT, (CALL,), stall_at=0, pulse=b'event: ping\ndata: {"type": "ping"}\n\n'
    ),
    "reset": lambda _: Answer(reset=True),
    "cut mid-UTF-8": lambda spoken: Answer(TEXT, (CALL,), cut_at=at(spoken, "ü".encode()) + 1),
    "cut mid-JSON": lambda spoken: Answer(TEXT, (CALL,), cut_at=at(spoken, b"d me")),
    "cut inside a call": lambda spoken: Answer(TEXT, (CALL,), cut_at=at(spoken, "öße".encode()) + 1),
}


@pytest.mark.parametrize("name", RECOVERED)
async def test_it_recovers(wire: str, name: str) -> None:
    faulty = RECOVERED[name](all_spoken()[wire])
    slow = 0.2 if faulty.wait_for or faulty.stall_at is not None else 60.0
    async with ModelServer([faulty, WHOLE], api_key=KEY, append_only=True) as server:
        message = await reply(server, wire, first_byte_s=slow, stall_s=slow)
    assert message.text == TEXT
    assert [call.name for call in message.tool_calls] == ["read"]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Answer(TEXT, (CALL,), second_end=True),
        Answer(TEXT, (CALL,), usage=None),
        Answer(TEXT, (CALL,), content_type=""),
    ],
    ids=["duplicate end", "missing usage", "no content type"],
)
async def test_it_does_no_harm(wire: str, answer: Answer) -> None:
    async with ModelServer([answer], api_key=KEY) as server:
        message = await reply(server, wire)
    assert (message.text, len(message.tool_calls), len(server.requests)) == (TEXT, 1, 1)


async def test_a_stream_cut_behind_its_end_is_whole(wire: str) -> None:
    stream = all_spoken()[wire].event_stream(WHOLE)
    async with ModelServer([Answer(TEXT, (CALL,), cut_at=len(stream))], api_key=KEY) as server:
        assert (await reply(server, wire)).text == TEXT


FATAL: dict[str, tuple[Answer, type[ModelError], int, str]] = {
    "invalid key": (error(401, f"invalid x-api-key {KEY}"), ModelAuth, 41, r"\[key\].*check the key"),
    "invalid key of Gemini": (
        error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
        ModelAuth,
        41,
        "check the key",
    ),
    "quota": (
        error(429, "You exceeded your current quota", "insufficient_quota"), ModelQuota, 75, "used up",
    ),
    "credit of Anthropic": (
        error(400, "Your credit balance is too low to access the Anthropic API."), ModelQuota, 75, "used up",
    ),
    "hard limit of OpenAI": (
        error(429, "Billing hard limit has been reached"), ModelQuota, 75, "used up",
    ),
    "balance of DeepSeek": (error(402, "Insufficient Balance"), ModelQuota, 75, "used up"),
    "always overloaded": (error(529, "Overloaded"), ModelOverloaded, 75, "Overloaded"),
    "to come back tomorrow": (
        error(429, "slow down", retry_after="86400"), ModelOverloaded, 75, "asks to wait 86,400 s",
    ),
    "always cut": (Answer(TEXT, cut_at=1), ModelUnreachable, 75, "broke"),
    "HTML page": (
        Answer(content_type="text/html", body=b"<h1>Welcome to nginx!</h1>"), ModelBadReply, 1, "nginx",
    ),
    "wrong content type": (
        Answer(content_type="application/json", body=b"{}"), ModelBadReply, 1, "application/json where",
    ),
    "gateway page": (
        Answer(status=502, content_type="text/html", body=b"<h1>Bad!</h1>"), ModelUnreachable, 75, "gateway",
    ),
    "no such model": (error(404, "The model does not exist"), UnknownModel, 2, "no model 'm'; .*m-2 or m-1"),
    "no model at DeepSeek": (error(400, "Model Not Exist"), UnknownModel, 2, "no model 'm'; "),
    "no model at OpenRouter": (error(400, "m is not a valid model ID"), UnknownModel, 2, "no model 'm'; "),
    "no model loaded": (
        error(400, "No models loaded. Please load one."), ModelRefusedRequest, 1, "no model loaded; load",
    ),
    "blind": (error(400, "It does not support image input."), ModelRefusedRequest, 1, "cannot see images"),
    "refused": (error(400, "bad field"), ModelRefusedRequest, 1, "bad field"),
    "nothing in it": (Answer(body=b""), ModelUnreachable, 75, "in the middle"),
    "garbage": (Answer(body=b"data: {not json}\n\n"), ModelBadReply, 1, "cannot be understood"),
}  # fmt: skip


@pytest.mark.parametrize("name", FATAL)
async def test_it_ends_with_its_exit_code_and_what_to_do(wire: str, name: str) -> None:
    answer, kind, exit_code, words = FATAL[name]
    models = [{"id": "m-1"}, {"id": "m-2"}]
    async with ModelServer(lambda _: answer, api_key=KEY, models=models) as server:
        with pytest.raises(ModelError) as caught:
            await reply(server, wire, attempts=2)
    assert (type(caught.value), caught.value.exit_code) == (kind, exit_code)
    assert re.search(words, str(caught.value)), str(caught.value)
    assert KEY not in str(caught.value) + repr(caught.value.__cause__)
    assert len(server.requests) == (1 if not caught.value.retryable or "tomorrow" in name else 2)


OVERFLOWS: dict[str, tuple[str, int | None, int | None]] = {
    "OpenAI": ("Your input exceeds the context window of this model. Please adjust your input.", None, None),
    "OpenAI chat": (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001.",
        130001,
        128000,
    ),
    "Anthropic": ("prompt is too long: 213462 tokens > 200000 maximum", 213462, 200000),
    "Gemini": (
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        1196265,
        1048575,
    ),
    "xAI": (
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        537812,
        131072,
    ),
    "Groq": ("Please reduce the length of the messages or completion.", None, None),
    "OpenRouter": (
        "This endpoint's maximum context length is 32768 tokens. However, you requested about 40960.",
        40960,
        32768,
    ),
    "Together, SGLang": (
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).", 9000, 8192,
    ),
    "Mistral": (
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        40000,
        32768,
    ),
    "Kimi": ("Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)", 9000, 8192),
    "MiniMax": ("invalid params, context window exceeds limit", None, None),
    "GLM": ("Prompt exceeds max length", None, None),
    "Qwen": ("Range of input length should be [1, 98304]", None, None),
    "llama.cpp": (
        "request (40031 tokens) exceeds the available context size (8192 tokens)", 40031, 8192,
    ),
    "vLLM": (
        "This model's maximum context length is 1024 tokens. However, you requested 512 output tokens and "
        "your prompt contains at least 700 input tokens, for a total of at least 1212 tokens.",
        1212,
        1024,
    ),
    "vLLM, the prompt alone": (
        "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens. "
        "Please reduce the length of the input messages.",
        5000,
        4096,
    ),
    "vLLM, with the reply": (
        "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length is "
        "8192 tokens and your request has 5000 input tokens (8192 > 8192 - 5000).",
        13192,
        8192,
    ),
    "Anthropic, with the reply": (
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length "
        "or `max_tokens` and try again",
        209573,
        200000,
    ),
    "LM Studio, loaded with less": (
        "Trying to keep the first 4640 tokens when context the overflows. However, the model is loaded with "
        "context length of only 4096 tokens, which is not enough.",
        4640,
        4096,
    ),
    "LM Studio": (
        "The tokens to keep from the initial prompt is greater than the context length.", None, None,
    ),
    "Ollama": ("prompt too long; exceeded max context length by 12 tokens", None, None),
    "TGI": ("`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000", None, None),
}  # fmt: skip


@pytest.mark.parametrize("provider", OVERFLOWS)
async def test_a_prompt_that_does_not_fit_in_each_providers_words(wire: str, provider: str) -> None:
    message, needed, limit = OVERFLOWS[provider]
    async with ModelServer([error(400, message)], api_key=KEY) as server:
        with pytest.raises(ContextOverflow) as caught:
            await reply(server, wire)
    assert (caught.value.needed, caught.value.limit) == (needed, limit)
    assert caught.value.exit_code == 1
    assert "nothing of it was left out" in str(caught.value)
    if needed and limit:
        assert f"{needed - limit:,} more than the {limit:,} that it holds" in str(caught.value)


async def test_geminis_limit_for_a_minute_is_no_used_up_quota() -> None:
    body = (
        b'[{"error": {"code": 429, "message": "You exceeded your current quota, please check your plan.",'
        b' "details": [{"retryDelay": "0.01s"}]}}]'
    )
    busy = Answer(status=429, content_type="application/json", body=body)
    async with ModelServer([busy, WHOLE], api_key=KEY) as server:
        assert (await reply(server, "gemini")).text == TEXT
