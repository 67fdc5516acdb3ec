"""The conformance card: its requests, its verdict, probes of scripted servers and of a real small model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.cli.main import main
from agent.messages import ToolCall
from agent.models.base import ModelUnreachable
from agent.models.catalog import ModelSettings
from agent.models.resolve import open_model
from agent.models.transport import HttpModel
from agent.probe.card import Cache, Card, Tools, best, verdict
from agent.probe.measure import probe
from agent.probe.requests import HARD_CONTENT, REQUESTS
from tests.support.answers import Answer, Body
from tests.support.model_server import LLAMA_CPP_PROPS, ModelServer, error, refused_url

RIGHT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("read", {"path": "setup.py"}),
    ("read", {"path": "src/app.py", "offset": 10, "limit": 11}),
    ("read", {"path": "data/cities.csv", "limit": 5}),
    ("read", {"path": "./docs/guide.md"}),
    ("glob", {"pattern": "tests/*"}),
    ("glob", {"pattern": "**/*.md"}),
    ("glob", {"pattern": "src/**/*.py"}),
    ("grep", {"pattern": "TODO"}),
    ("grep", {"pattern": r"def parse_date\("}),
    ("grep", {"pattern": "import os", "glob": "*.py"}),
    ("bash", {"command": "git status"}),
    ("bash", {"command": "ls -la src"}),
    ("bash", {"command": "wc -l src/app.py"}),
    ("bash", {"command": "python3 --version"}),
    ("bash", {"command": "mkdir -p build/out"}),
    ("run_tests", {}),
    ("run_tests", {"selection": "tests/test_app.py"}),
    ("write", {"path": "hello.txt", "content": "Hello.\n"}),
    ("write", {"path": "version.py", "content": 'VERSION = "1.2.3"\n'}),
    ("edit", {"path": "config.json", "old_string": '"debug"', "new_string": '"release"'}),
)


@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_each_request_knows_its_call_and_no_other(number: int) -> None:
    fitting = [n for n, call in enumerate(RIGHT) if REQUESTS[number].answered_by(*call)]
    assert fitting == [number] or {number, *fitting} == {15, 16}, "running all tests fits running some"


def card(**values: Any) -> Card:
    return Card(model="m", **values)


@pytest.mark.parametrize(
    ("measured", "settings"),
    [
        (card(), ModelSettings(strategy="repair")),
        (
            card(tools={"native": Tools(asked=20, native=20, native_right=20, right=20)}),
            ModelSettings(tool_mode="native"),
        ),
        (
            card(
                context_tokens=4096,
                tools={
                    "native": Tools(
                        asked=20, salvaged=19, right=19, dialects={"fenced_json": 18, "hermes": 1}
                    )
                },
            ),
            ModelSettings(strategy="repair", tool_mode="native", dialect="fenced_json", context_tokens=4096),
        ),
        (
            card(
                tools={
                    "native": Tools(asked=20, right=9),
                    "dialect": Tools(asked=20, salvaged=19, right=18, dialects={"glm": 19}),
                }
            ),
            ModelSettings(tool_mode="dialect", dialect="glm"),
        ),
        (
            card(tools={"native": Tools(asked=20, right=3)}),
            ModelSettings(strategy="repair", tool_mode="native"),
        ),
    ],
)
def test_the_best_settings_follow_from_the_card(measured: Card, settings: ModelSettings) -> None:
    assert best(measured) == settings


def test_what_works_and_what_does_not_is_said_in_words() -> None:
    measured = card(
        tools={"native": Tools(asked=20, native=4, native_right=4, salvaged=15, right=19)},
        parallel=1,
        hard_text=False,
        goes_on=True,
        streams=True,
        stops={"length": "length", "stop": "unknown"},
        cache=Cache(prompt_tokens=1000, read_anew=30, first_s=(2.0, 0.1)),
        context_tokens=4096,
        read_tps=50.0,
    )
    works, fails = (" | ".join(lines) for lines in verdict(measured))
    assert "19 of 20 simple requests end in the right call" in works
    assert "not read again" in works
    for words in (
        "they get 4 of 20",
        "one at a time",
        "do not come through",
        "unknown where stop",
        "4096",
        "50 tokens",
    ):
        assert words in fails


def scripted(*, natively: bool) -> Any:
    """A model that does all that it is asked, its calls told by the server or written as fenced JSON."""

    def answer(body: Body) -> Answer | str:
        if "messages" not in body or "system" in body:
            return "OK, on another wire."
        asked = str(body["messages"][-1]["content"])
        if body["messages"][-1]["role"] == "tool" or "<tool_response>" in asked:
            return "It holds 4711."
        if "Count from" in asked:
            return Answer("1, 2, 3, 4, 5, 6, 7, 8", finish="length")
        return told(calls_for(asked)) if natively or not body.get("tools") else written(calls_for(asked))

    return answer


def calls_for(asked: str) -> list[tuple[str, dict[str, Any]]]:
    if "both at once" in asked:
        return [("read", {"path": "setup.py"}), ("read", {"path": "docs/guide.md"})]
    if "hard.txt" in asked:
        return [("write", {"path": "hard.txt", "content": HARD_CONTENT})]
    if "version.txt" in asked:
        return [("read", {"path": "version.txt"})]
    return [call for request, call in zip(REQUESTS, RIGHT, strict=True) if request.text == asked]


def told(calls: list[tuple[str, dict[str, Any]]]) -> Answer:
    made = tuple(ToolCall(f"c{n}", name, json.dumps(arguments)) for n, (name, arguments) in enumerate(calls))
    return Answer("" if made else "OK.", tool_calls=made)


def written(calls: list[tuple[str, dict[str, Any]]]) -> str:
    blocks = [f"```json\n{json.dumps({'name': name, 'arguments': args})}\n```" for name, args in calls]
    return "\n".join(blocks) or "OK."


@pytest.mark.anyio
@pytest.mark.parametrize("natively", [True, False])
async def test_a_model_that_can_do_everything(natively: bool) -> None:
    async with ModelServer(scripted(natively=natively), props=LLAMA_CPP_PROPS) as server:
        model = await open_model("m", base_url=server.base_url, environ={})
        found = await probe(model)
        await model.aclose()
    tools = found.tools["native"]
    assert (tools.asked, tools.right, tools.failures) == (20, 20, ())
    assert (tools.native, tools.native_right, tools.salvaged) == ((20, 20, 0) if natively else (0, 0, 20))
    assert dict(tools.dialects) == ({} if natively else {"fenced_json": 20})
    assert (found.parallel, found.hard_text, found.goes_on) == (2, True, True)
    assert found.stops == {"length": "length", "stop": "stop"}
    assert (found.server, found.context_tokens, found.slots) == ("llama.cpp", 8192, 4)
    assert found.cache and found.cache.read_anew == 10
    assert found.wires["openai_chat"] == "ok"
    assert found.complete
    assert not found.problems


@pytest.mark.anyio
async def test_tools_are_told_to_the_model_itself_where_the_servers_way_fails() -> None:
    def answer(body: Body) -> Answer | str:
        if body.get("tools") or "messages" not in body:
            return "I cannot do that."
        asked = str(body["messages"][-1]["content"])
        return written(calls_for(asked)) if "# Tools" in str(body["messages"][0]["content"]) else "OK."

    async with ModelServer(answer) as server:
        model = await open_model("m", base_url=server.base_url, environ={})
        found = await probe(model, calls=2)
        await model.aclose()
    assert (found.tools["native"].right, found.tools["dialect"].right) == (0, 2)
    assert best(found).tool_mode == "dialect"


@pytest.mark.anyio
async def test_a_server_that_refuses_tools_and_temperature_still_gets_a_card() -> None:
    def answer(body: Body) -> Answer | str:
        if "temperature" in body:
            return error(400, "temperature is not supported")
        return error(400, "tools are not supported") if body.get("tools") else "OK."

    async with ModelServer(answer) as server:
        model = await open_model("m", base_url=server.base_url, environ={})
        found = await probe(model, calls=1)
        await model.aclose()
    assert found.takes_temperature is False
    assert found.tools["native"].asked == 1
    assert "tools are not supported" in found.tools["native"].failures[0]
    assert [line.partition(":")[0] for line in found.problems] == [
        "parallel calls",
        "hard strings",
        "after a result",
    ]
    assert found.complete


@pytest.mark.anyio
async def test_a_probe_ends_in_time_with_what_it_has() -> None:
    def answer(body: Body) -> Answer | str:
        return Answer("OK.", stall_at=10) if body.get("tools") else "OK."

    async with ModelServer(answer) as server:
        model = await open_model("m", base_url=server.base_url, environ={})
        found = await probe(model, timeout_s=1.5)
        await model.aclose()
    assert not found.complete
    assert found.stops["stop"] == "stop"
    assert not found.tools


@pytest.mark.anyio
async def test_a_server_that_is_not_there_ends_the_probe() -> None:
    model = HttpModel("m", refused_url(), "m").on_wire("openai_chat")
    with pytest.raises(ModelUnreachable):
        await probe(model)
    await model.aclose()


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_weak_model_is_probed_to_the_end_and_its_settings_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["models", "probe", "local/smollm2-135m", "--calls", "1", "--json", "--write"]
    assert main(words) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["complete"]
    assert found["problems"] == []
    assert {"openai_chat", "openai_responses", "anthropic_messages"} <= {
        wire for wire, state in found["wires"].items() if state == "ok"
    }
    assert found["tools"]["native"]["asked"] == found["tools"]["dialect"]["asked"] == 1
    assert found["stops"]["length"] == "length"
    assert found["cache"]["read_anew"] < 0.2 * found["cache"]["prompt_tokens"]
    assert found["template"]["supports_system_role"] is True
    assert config.load().models == {"local/smollm2-135m": ModelSettings(**found["best"])}
    assert "[models." in Path(config.user_file()).read_text()
