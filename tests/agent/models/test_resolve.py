"""Which model is opened, and what is said about it. Servers are real ones on loopback."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from agent.messages import Image, User
from agent.models import catalog, names
from agent.models.address import local_address
from agent.models.base import Model, ModelAuth, ModelRefusedRequest, ModelUnreachable, Request, TextDelta
from agent.models.catalog import ModelSettings, UnknownModel
from agent.models.local import LocalModel
from agent.models.resolve import find_servers, open_model
from tests.support.model_server import LLAMA_CPP_PROPS, Answer, ModelServer, refused_url

pytestmark = pytest.mark.anyio

ASK = Request(messages=(User("hello"),), slot=1)


async def text_of(model: Model) -> str:
    try:
        return "".join([delta.text async for delta in model.stream(ASK) if isinstance(delta, TextDelta)])
    finally:
        await model.aclose()


def port_of(base_url: str) -> int:
    return urlsplit(base_url).port or 0


async def test_a_base_url_takes_the_model_that_is_named() -> None:
    async with ModelServer([Answer("hi")], api_key="k", props=LLAMA_CPP_PROPS) as server:
        model = await open_model("mine", base_url=server.base_url, environ={"OPENAI_API_KEY": "k"})
        assert model.context_tokens == 8192
        assert await text_of(model) == "hi"
        assert server.requests[0].body["model"] == "mine"
        assert server.requests[0].body["id_slot"] == 1


async def test_a_url_without_a_name_takes_the_first_model_that_can_chat() -> None:
    notes: list[str] = []
    async with ModelServer([], models=[{"id": "nomic-embed-text"}, {"id": "chatty"}]) as server:
        model = await open_model(server.base_url, environ={}, on_note=notes.append)
        await model.aclose()
    assert model.name == f"{server.base_url}#chatty"
    assert notes == [f"using chatty, the first model that {server.base_url} lists"]


async def test_a_password_in_the_url_goes_to_the_server_and_nowhere_else() -> None:
    notes: list[str] = []
    async with ModelServer([Answer("hi")]) as server:
        url = server.base_url.replace("http://", "http://me:hunter2@")
        model = await open_model(base_url=f"{url}/", environ={}, on_note=notes.append)
        assert await text_of(model) == "hi"
        assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert model.name == f"{server.base_url}#{server.requests[0].body['model']}"
    assert "hunter2" not in "".join(notes) + repr(model)


async def test_https_on_an_http_port_is_a_mistake_in_the_configuration() -> None:
    async with ModelServer([]) as server:
        url = server.base_url.replace("http:", "https:")
        for name in (url, f"{url}#m"):
            with pytest.raises(UnknownModel, match="does not speak https; try http://") as caught:
                await open_model(name, environ={})
            assert caught.value.exit_code == 2


async def test_a_server_that_is_down_is_an_error_and_no_reason_to_take_another() -> None:
    with pytest.raises(ModelUnreachable):
        await open_model(f"{refused_url()}#m", environ={"DEEPSEEK_API_KEY": "k"})


async def test_a_server_that_lists_nothing_needs_a_name() -> None:
    async with ModelServer([Answer("hi")], models=[]) as server:
        with pytest.raises(ModelRefusedRequest, match="lists no model; load one there, or name one"):
            await open_model(server.base_url, environ={})
        assert await text_of(await open_model(f"{server.base_url}#m", environ={})) == "hi"


async def test_a_service_needs_its_key() -> None:
    with pytest.raises(ModelAuth, match="openrouter needs a key: set OPENROUTER_API_KEY") as caught:
        await open_model("openrouter/auto", environ={"OPENAI_API_KEY": "k"})
    assert caught.value.exit_code == 41


async def test_effort_reaches_the_server() -> None:
    async with ModelServer([Answer("hi")], api_key="k") as server:
        environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.base_url}
        model = await open_model("openai/gpt-5-mini:high", environ=environ)
        assert await text_of(model) == "hi"
        body = server.requests[0].body
    assert (body["model"], body["reasoning_effort"]) == ("gpt-5-mini", "high")


@pytest.mark.parametrize(
    ("model", "served", "said", "sees"),
    [
        ("m", None, None, False),
        ("m", True, None, True),
        ("m", None, True, True),
        ("llava", None, None, True),
        ("llava", False, None, False),
        ("llava", False, True, True),
        ("llava", True, False, False),
    ],
)
async def test_who_is_shown_images(model: str, served: bool | None, said: bool | None, sees: bool) -> None:
    """The person's word counts first, then the server's, then what is known of the name."""
    props = LLAMA_CPP_PROPS | ({} if served is None else {"modalities": {"vision": served}})
    own = {"*": ModelSettings(attempts=2), model: ModelSettings(images=said)}
    ask = Request((User("What is this?", (Image("image/png", b"\x89PNG"),)),))
    async with ModelServer([Answer("hi")], props=props) as server:
        opened = await open_model(model, base_url=server.base_url, environ={}, own=own)
        try:
            if sees:
                assert [delta async for delta in opened.stream(ask)]
            else:
                with pytest.raises(ModelRefusedRequest, match=r"images = true in the configuration"):
                    _ = [delta async for delta in opened.stream(ask)]
        finally:
            await opened.aclose()


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("llamacpp/x.gguf", ("llamacpp", "x.gguf")),
        ("lmstudio/x.gguf", ("lmstudio", "x.gguf")),
        ("localhost:8080/v1#m", names.Server("localhost:8080/v1", "m")),
        ("127.0.0.1:8080", names.Server("127.0.0.1:8080")),
        ("HTTP://host/v1#m", names.Server("HTTP://host/v1", "m")),
        ("weights/x.gguf", names.GgufFile(Path("weights/x.gguf").absolute())),
    ],
)
def test_names_as_people_write_them(text: str, means: object) -> None:
    meant = names.parse(text)
    assert ((meant.provider.name, meant.model) if isinstance(meant, names.Service) else meant) == means


@pytest.mark.parametrize("name", ["gpt-5-mini", "claude-sonnet-4-6", "gemini-2.5-pro", "deepseek-chat"])
def test_a_bare_name_is_told_who_serves_it(name: str) -> None:
    with pytest.raises(UnknownModel, match=rf"did you mean \w+/{name}\?"):
        names.parse(name)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":4000", "http://127.0.0.1:4000"),
        ("box", "http://box:11434"),
        ("box:80/ollama", "http://box:80/ollama"),
        ("https://box", "https://box"),
        ("[::]", "http://127.0.0.1:11434"),
        ("[fe80::1]", "http://[fe80::1]:11434"),
    ],
)
def test_where_a_client_finds_what_ollama_host_names(host: str, url: str) -> None:
    assert local_address(host, "http://127.0.0.1:11434/v1") == url


async def test_an_unknown_name_is_a_usage_error_even_with_keys() -> None:
    with pytest.raises(UnknownModel, match="did you mean smollm2-135m"):
        await open_model("smollm", environ={"OPENAI_API_KEY": "k"})


async def test_the_variable_counts_when_nothing_is_asked_for() -> None:
    with pytest.raises(UnknownModel):
        await open_model(environ={"PAWL_MODEL": "smollm"})


@pytest.mark.parametrize(
    ("environ", "name", "notes"),
    [
        (
            {"OPENAI_API_KEY": "a", "DEEPSEEK_API_KEY": "b"},
            "openai/gpt-5-mini",
            ["using openai/gpt-5-mini: OPENAI_API_KEY is set"],
        ),
        ({"ANTHROPIC_API_KEY": "b"}, "anthropic/claude-sonnet-4-6", None),
        ({"GEMINI_API_KEY": "b"}, "gemini/gemini-flash-latest", None),
        ({"DEEPSEEK_API_KEY": "b"}, "deepseek/deepseek-chat", None),
        ({"OPENROUTER_API_KEY": "b"}, "openrouter/openrouter/auto", None),
    ],
)
async def test_a_key_in_the_environment_comes_first(
    environ: dict[str, str], name: str, notes: list[str] | None
) -> None:
    said: list[str] = []
    model = await open_model(environ=environ, on_note=said.append, ports=())
    await model.aclose()
    assert model.name == name
    assert notes is None or said == notes


async def test_then_a_server_on_this_machine() -> None:
    notes: list[str] = []
    async with ModelServer([Answer("hi")]) as server:
        ports = (port_of(refused_url()), port_of(server.base_url))
        model = await open_model(environ={}, on_note=notes.append, ports=ports)
        assert await text_of(model) == "hi"
    assert notes == [f"using m: a server answers at {server.base_url}"]


async def test_what_answers_but_is_no_model_server_is_passed_over() -> None:
    async with ModelServer([], models=[]) as empty, ModelServer([], api_key="k") as locked:
        assert await find_servers([port_of(empty.base_url), port_of(locked.base_url)]) == []


@pytest.mark.model
async def test_at_last_the_embedded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "DEFAULT_LOCAL", "smollm2-135m")
    notes: list[str] = []
    model = await open_model(environ={}, on_note=notes.append, ports=())
    try:
        assert isinstance(model, LocalModel)
        assert model.name == "local/smollm2-135m"
    finally:
        await model.aclose()
    assert notes == [
        "no API key and no model server found: using the embedded model smollm2-135m",
        "loading SmolLM2-135M-Instruct.Q4_1.gguf",
    ]
