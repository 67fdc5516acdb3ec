"""Exchanges are written down without the key and played again without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.messages import Assistant, Message, ToolCall, ToolResult, User
from agent.models import wire as wires
from agent.models.assemble import assemble
from agent.models.base import Finish, Model, ModelAuth, ModelError, ModelOverloaded, Quirks, Request, ToolSpec
from agent.models.providers import PROVIDERS
from agent.models.recording import NotRecorded, RecordedModel, Recorder
from agent.models.resolve import open_model
from agent.models.retry import Retries
from agent.models.transport import HttpModel
from tests.support.model_server import Answer, ModelServer, error, event_stream

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret"
READ = ToolSpec("read", "Read a file.", {"type": "object"})
CALL = ToolCall("c1", "read", '{"path": "größe.py"}')


async def talk(model: Model) -> list[tuple[Assistant, Finish | None]]:
    """Two requests, the second one going on from the first reply."""
    heard = []
    messages: tuple[Message, ...] = (User("Read it."),)
    for _ in range(2):
        deltas = [delta async for delta in model.stream(Request(messages, (READ,)))]
        message, finish = assemble(deltas, (READ,))
        heard.append((message, finish))
        results = (ToolResult(call.id, call.name, "x = 1") for call in message.tool_calls)
        messages = (*messages, message, *results)
    await model.aclose()
    return heard


@pytest.mark.parametrize("wire", wires.names())
async def test_a_recording_says_the_same_again(tmp_path: Path, wire: str) -> None:
    file = tmp_path / "deep" / "exchanges.jsonl"
    quirks = next(provider.quirks for provider in PROVIDERS if provider.wire == wire)
    answers = [Answer("I look.", (CALL,), reasoning="Hm.", signature="c2ln"), Answer("Done.")]
    async with ModelServer(answers, api_key=KEY) as server:
        recorder = Recorder(file, name="test/m", wire=wire, model="m", quirks=quirks)
        root = server.base_url.removesuffix("/v1")
        first = await talk(HttpModel("test/m", root, "m", KEY, wire=wire, quirks=quirks, recorder=recorder))
    assert await talk(RecordedModel(file)) == first
    assert oct(file.stat().st_mode & 0o777) == "0o600"


async def test_keys_are_struck_out_of_both_sides(tmp_path: Path) -> None:
    file = tmp_path / "exchanges.jsonl"
    echoed = error(401, f"Incorrect API key provided: {KEY}; token ghp_1234567890")
    async with ModelServer(lambda _: echoed) as server:
        environ = {"OPENAI_API_KEY": KEY, "GITHUB_TOKEN": "ghp_1234567890", "PAWL_RECORD": str(file)}
        model = await open_model("m", base_url=server.base_url, environ=environ)
        with pytest.raises(ModelAuth):
            [delta async for delta in model.stream(Request((User("The token is ghp_1234567890."),)))]
        await model.aclose()
    written = file.read_text()
    assert KEY not in written and "ghp_" not in written
    assert "[key]" in written and written.count("[GITHUB_TOKEN]") == 2


async def test_a_variable_records_and_a_name_replays(tmp_path: Path) -> None:
    file = tmp_path / "exchanges.jsonl"
    async with ModelServer([Answer(tool_calls=(CALL,)), "Done."]) as server:
        environ = {"PAWL_RECORD": str(file)}
        first = await talk(await open_model("m", base_url=server.base_url, environ=environ))
    assert await talk(await open_model(f"replay:{file}", environ={})) == first


async def test_errors_are_recorded_too_and_another_request_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "exchanges.jsonl"
    async with ModelServer([error(529, "Overloaded")]) as server:
        recorder = Recorder(file, name="test/m", wire="openai_chat", model="m", quirks=PROVIDERS[0].quirks)
        model = HttpModel(
            "test/m",
            server.base_url,
            "m",
            quirks=PROVIDERS[0].quirks,
            recorder=recorder,
            retries=Retries(attempts=1),
        )
        with pytest.raises(ModelOverloaded):
            await talk(model)
        await model.aclose()
    replayed = RecordedModel(file)
    with pytest.raises(NotRecorded, match="no answer to this request"):
        [delta async for delta in replayed.stream(Request((User("Another"),)))]
    with pytest.raises(ModelOverloaded, match="Overloaded"):
        await talk(replayed)


@pytest.mark.parametrize("quirks", [Quirks(), Quirks(prefill=True)], ids=["anew", "going on"])
async def test_what_the_live_model_got_over_is_got_over_again(tmp_path: Path, quirks: Quirks) -> None:
    file = tmp_path / "exchanges.jsonl"
    answers: list[Answer | str] = [
        error(429, "slow down", retry_after="0.01"),
        Answer("one two three four", cut_at=event_stream(Answer("one two three four")).index(b"two") + 60),
        "five",
        "six",
    ]
    async with ModelServer(answers, api_key="test", prefill=True) as server:
        recorder = Recorder(file, name="test/m", wire="openai_chat", model="m", quirks=quirks)
        model = HttpModel(
            "test/m",
            server.base_url,
            "m",
            "test",
            quirks=quirks,
            recorder=recorder,
            retries=Retries(base_s=0.01),
        )
        first = await talk(model)
    assert first[0][0].text == ("one two five" if quirks.prefill else "five")
    assert await talk(RecordedModel(file)) == first


async def test_a_key_that_is_a_word_spoils_no_recording(tmp_path: Path) -> None:
    file = tmp_path / "exchanges.jsonl"
    ask = Request((User("Run the test, and tests."),))
    environ = {"OPENAI_API_KEY": "test", "PAWL_RECORD": str(file), "MY_TOKEN": "Run the test,"}
    async with ModelServer(["The test ran."]) as server:
        live = await open_model("m", base_url=server.base_url, environ=environ)
        first = [delta async for delta in live.stream(ask)]
        await live.aclose()
    assert "Run the" not in file.read_text()
    assert [delta async for delta in RecordedModel(file).stream(ask)] == first


async def test_a_recording_that_cannot_be_written_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    environ = {"PAWL_RECORD": str(tmp_path)}
    async with ModelServer([]) as server:
        with pytest.raises(ModelError, match=r"PAWL_RECORD: .* cannot be written: Is a dir") as caught:
            await open_model("m", base_url=server.base_url, environ=environ)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [None, "", "{}\n"])
async def test_what_is_no_recording(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "x.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(NotRecorded, match="is no recording"):
        await open_model(f"replay:{file}", environ={})
