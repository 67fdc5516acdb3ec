"""Token ids and logprobs of replies: what servers tell, and what is asked of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from agent.bus import Bus
from agent.loop import run_turn
from agent.messages import Assistant, System, ToolCall, User
from agent.models.address import server_root
from agent.models.assemble import assemble
from agent.models.base import Finish, Quirks, Request, Tokens, ToolSpec
from agent.models.catalog import find
from agent.models.local import LocalServer
from agent.models.providers import LLAMA_CPP, provider
from agent.models.recording import RecordedModel, Recorder
from agent.models.resolve import open_model
from agent.models.serving import ServerSettings
from agent.models.transport import HttpModel
from agent.models.weights import location
from agent.models.wire._tokens import TokenTaker
from agent.paths import cache_dir
from agent.tokens import read_tokens
from tests.support.answers import Answer, Body
from tests.support.model_server import ModelServer
from tests.support.scene import Scene, call

LOWEST = -3.4028234663852886e38


def said(*pairs: tuple[int, float]) -> Body:
    return {"logprobs": {"content": [{"id": one, "logprob": value} for one, value in pairs]}}


def whole(ids: list[int], *pairs: tuple[int, float]) -> Body:
    return {"choices": [{"message": {"content": "x"}, **said(*pairs)}], "__verbose": {"tokens": ids}}


def piece(ids: list[int], *logprobs: float) -> Body:
    return {"choices": [{"token_ids": ids, "logprobs": {"content": [{"logprob": p} for p in logprobs]}}]}


FIRST = {"prompt_token_ids": [1, 2], "choices": [{"delta": {"role": "assistant"}, "token_ids": None}]}


@pytest.mark.parametrize(
    ("events", "written", "expected"),
    [
        ([FIRST, piece([5], -1.0), piece([6, 7], -2.0, -3.0)], 3, ((1, 2), (5, 6, 7), (-1.0, -2.0, -3.0))),
        ([FIRST, piece([5], -1.0), piece([6])], 2, ((1, 2), (5, 6), (-1.0, None))),
        ([FIRST, piece([5], -1.0)], 2, None),  # one piece had none: not all of the reply
        ([{"choices": [{"delta": {"content": "x"}}]}], 1, None),
        ([], 0, None),
        ([whole([5, 6], (5, -1.0), (6, 0.0))], 2, ((), (5, 6), (-1.0, 0.0))),
        # llama.cpp tells nothing of the tokens of half a character, and the lowest number for log 0
        ([whole([5, 8, 9, 6], (5, -1.0), (6, -2.0))], 4, ((), (5, 8, 9, 6), (-1.0, None, None, -2.0))),
        ([whole([5, 6], (5, -1.0), (6, LOWEST))], 2, ((), (5, 6), (-1.0, None))),
        ([whole([5, 6], (4, -1.0), (6, -2.0))], 2, ((), (5, 6), (None, None))),  # of another reply
        ([whole([5], (5, -1.0), (5, -2.0))], 1, ((), (5,), (None,))),
        ([whole([5, 6, 7], (5, -1.0))], 2, None),
    ],
)
def test_a_reply_in_tokens(events: list[Body], written: int, expected: tuple[Any, ...] | None) -> None:
    taker = TokenTaker()
    for event in events:
        taker.take(event)
    assert taker.tokens(written) == (None if expected is None else Tokens(*expected))


def asking(quirks: Quirks = LLAMA_CPP) -> Quirks:
    extra = {**quirks.extra, **quirks.tokens}
    return msgspec.structs.replace(quirks, extra=extra, prefill=False)


def at_once(text: str, ids: list[int], *, calls: tuple[ToolCall, ...] = (), prompt: int = 3) -> Answer:
    """A reply as llama.cpp sends it without a stream; the last id has no logprob, like half a character."""
    message: Body = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in calls
        ]
    finish = "tool_calls" if calls else "stop"
    choice = {"index": 0, "finish_reason": finish, "message": message, **said(*((i, -0.5) for i in ids[:-1]))}
    body = {
        "choices": [choice],
        "usage": {"prompt_tokens": prompt, "completion_tokens": len(ids)},
        "__verbose": {"tokens": ids},
    }
    return Answer(body=json.dumps(body, indent=1).encode(), content_type="application/json")


PAGES = {"/apply-template": {"prompt": "<s>hi"}, "/tokenize": {"tokens": [1, 2, 3]}}


async def finish_of(model: HttpModel | RecordedModel, request: Request) -> tuple[Assistant, Finish]:
    message, finish = assemble([delta async for delta in model.stream(request)], request.tools)
    assert finish is not None
    return message, finish


LOOK = ToolSpec("look", "Look.", {"type": "object", "properties": {"name": {"type": "string"}}})
ASKED = Request((System("Be good."), User("Look.")), (LOOK,), temperature=0.5)


@pytest.mark.anyio
async def test_llama_cpp_is_asked_for_the_whole_reply_at_once_and_for_the_prompt_after_it() -> None:
    calls = (ToolCall("c1", "look", '{"name": "a"}'),)
    async with ModelServer(
        [at_once("I look.", [7, 8, 9], calls=calls)], pages=PAGES, api_key="k" * 12
    ) as server:
        model = HttpModel("m", server.base_url, "m", "k" * 12, quirks=asking())
        message, finish = await finish_of(model, ASKED)
        await model.aclose()
    body = server.requests[0].body
    assert (body["stream"], body["n_probs"], body["return_tokens"], body["verbose"]) == (False, 1, True, True)
    assert "stream_options" not in body and list(body)[-1] == "messages"
    assert (message.text, message.tool_calls, finish.reason) == ("I look.", calls, "tool_calls")
    assert finish.tokens == Tokens((1, 2, 3), (7, 8, 9), (-0.5, -0.5, None))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pages", "prompt"),
    [
        (PAGES, 4),  # another count than the server's own
        ({"/apply-template": {"prompt": "<s>hi"}}, 3),  # no such route
        ({}, 3),
    ],
)
async def test_a_prompt_whose_ids_are_not_sure_has_none(pages: Body, prompt: int) -> None:
    async with ModelServer([at_once("Yes.", [7, 9], prompt=prompt)], pages=pages) as server:
        model = HttpModel("m", server.base_url, "m", quirks=asking())
        message, finish = await finish_of(model, ASKED)
        await model.aclose()
    assert message.text == "Yes." and finish.tokens == Tokens((), (7, 9), (-0.5, None))


@pytest.mark.anyio
async def test_vllm_streams_its_ids() -> None:
    vllm = provider("vllm")
    assert vllm is not None
    events = [FIRST, piece([5], -1.0), piece([6, 7], -2.0, -3.0)]
    for event, text in zip(events, ("", "Yes", "."), strict=True):
        event["choices"][0]["delta"] = {"content": text}
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}})
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    async with ModelServer([Answer(body=stream + b"data: [DONE]\n\n")]) as server:
        model = HttpModel("m", server.base_url, "m", quirks=asking(vllm.quirks))
        message, finish = await finish_of(model, ASKED)
        await model.aclose()
    body = server.requests[0].body
    assert (body["stream"], body["logprobs"], body["return_token_ids"]) == (True, True, True)
    assert message.text == "Yes." and finish.tokens == Tokens((1, 2), (5, 6, 7), (-1.0, -2.0, -3.0))


@pytest.mark.anyio
@pytest.mark.parametrize(("owner", "asks"), [("llamacpp", True), ("vllm", True), ("library", False)])
async def test_it_is_asked_for_only_when_wanted_and_said_where_there_is_none(owner: str, asks: bool) -> None:
    notes: list[str] = []
    async with ModelServer(["Yes."], models=[{"id": "m", "owned_by": owner}]) as server:
        for record in (False, True):
            model = await open_model(
                "m", base_url=server.base_url, environ={}, on_note=notes.append, record_tokens=record
            )
            assert isinstance(model, HttpModel)
            extra = model._quirks.extra
            assert ("n_probs" in extra or "return_token_ids" in extra) == (record and asks)
            assert model._quirks.prefill == (owner == "llamacpp" and not record)
            await model.aclose()
    assert any("tells no token ids" in note for note in notes) != asks


@pytest.mark.anyio
async def test_a_recording_of_whole_replies_is_played_again(tmp_path: Path) -> None:
    quirks, path = asking(), tmp_path / "recording.jsonl"
    recorder = Recorder(path, name="m", wire="openai_chat", model="m", quirks=quirks)
    async with ModelServer([at_once("Yes.", [7, 9])], pages=PAGES) as server:
        model = HttpModel("m", server.base_url, "m", quirks=quirks, recorder=recorder)
        message, finish = await finish_of(model, ASKED)
        await model.aclose()
    again, ended = await finish_of(RecordedModel(path), ASKED)
    assert again == message and ended.usage == finish.usage
    assert ended.tokens == Tokens((), (7, 9), (-0.5, None))


@pytest.mark.anyio
async def test_a_session_keeps_them_beside_its_log_and_its_requests_only_grow(tmp_path: Path) -> None:
    answers = [
        at_once("", [7, 8, 9], calls=(call(1, "look", '{"name": "a"}'),)),
        at_once("Done.", [5, 9]),
        at_once("Again.", [6, 9]),
    ]
    async with ModelServer(answers, pages=PAGES, append_only=True) as server:
        with Scene(tmp_path, temperature=0.5) as scene:
            scene.agent.model = HttpModel("m", server.base_url, "m", quirks=asking())
            await run_turn(scene.agent, "Look.")
            await run_turn(scene.agent, "And again.")
            await scene.agent.model.aclose()
            lines = scene.log.path.read_text()
            replies = [r.envelope.seq for r in scene.branch.records() if hasattr(r.event, "usage")]
            path = scene.log.artifacts / "tokens.jsonl"
    found = read_tokens(path.read_bytes().splitlines())
    assert list(found) == replies and [line.completion for line in found.values()] == [
        (7, 8, 9),
        (5, 9),
        (6, 9),
    ]
    assert {line.temperature for line in found.values()} == {0.5}
    assert "token_ids" not in lines and "logprob" not in lines and "keep" not in lines


@pytest.mark.anyio
async def test_a_reply_in_which_a_secret_was_masked_keeps_no_ids(tmp_path: Path) -> None:
    secret = "hunter2hunter2"
    async with ModelServer(
        [at_once(f"It is {secret}.", [7, 9]), at_once("Yes.", [7, 9])], pages=PAGES
    ) as server:
        with Scene(tmp_path) as scene:
            scene.log.hide(secret)
            scene.agent.model = HttpModel("m", server.base_url, "m", quirks=asking())
            await run_turn(scene.agent, "Tell me.")
            await run_turn(scene.agent, "Well?")
            await scene.agent.model.aclose()
            found = read_tokens((scene.log.artifacts / "tokens.jsonl").read_bytes().splitlines())
            assert isinstance(scene.branch.bus, Bus) and secret not in scene.log.path.read_text()
    assert len(found) == 1


@pytest.mark.model
@pytest.mark.anyio
async def test_the_embedded_server_tells_every_token_it_read_and_wrote() -> None:
    """The ids decode to what was sent and answered; each reply's end is one of them."""
    weights = find("smollm2-135m").weights
    assert weights
    settings = ServerSettings(slots=1, context_tokens=1024)
    async with LocalServer.start(location(weights, cache_dir()), settings) as server:
        root = server_root(server.base_url)
        model = HttpModel("m", server.base_url, server.model, server.api_key, quirks=asking())
        asked = Request((System("Be terse."), User("Say: héllo 🎉 日本")), temperature=0.0, max_tokens=9)
        for request in (asked, msgspec.structs.replace(asked, tools=(LOOK,), max_tokens=4)):
            message, finish = await finish_of(model, request)
            tokens, usage = finish.tokens, finish.usage
            assert tokens and len(tokens.prompt) == usage.input_tokens
            assert len(tokens.completion) == len(tokens.logprobs) == usage.output_tokens
            assert all(value is None or value <= 0 for value in tokens.logprobs)
            assert tokens.logprobs.count(None) < len(tokens.logprobs)
            async with httpx.AsyncClient(headers={"authorization": f"Bearer {server.api_key}"}) as client:
                prompt, written = [
                    (await client.post(f"{root}/detokenize", json={"tokens": ids})).json()["content"]
                    for ids in (tokens.prompt, tokens.completion)
                ]
            assert "<|im_start|>user\nSay: héllo 🎉 日本<|im_end|>" in prompt
            assert written.replace("\ufffd", "").startswith(message.text.replace("\ufffd", ""))
        await model.aclose()
