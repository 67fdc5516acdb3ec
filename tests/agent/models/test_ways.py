"""The way to a server: proxies and certificates of the environment, addresses that are nearly right."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from agent.messages import Image, User
from agent.models.address import normal_base_url
from agent.models.base import ModelError, ModelRefusedRequest, ModelUnreachable, Quirks, Request
from agent.models.catalog import UnknownModel
from agent.models.retry import Retries
from agent.models.transport import HttpModel
from tests.support.model_server import LLAMA_CPP_PROPS, ModelServer, refused_url

pytestmark = pytest.mark.anyio

ASK = Request((User("Hello"),))
ONCE = Retries(attempts=1)


async def said(model: HttpModel, request: Request = ASK) -> int:
    try:
        return len([delta async for delta in model.stream(request)])
    finally:
        await model.aclose()


async def test_a_ca_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with ModelServer(["hi"], tls=tls) as server:
        stranger = HttpModel("test/m", server.base_url, "m", retries=ONCE)
        with pytest.raises(ModelRefusedRequest, match=r"not trusted here .* SSL_CERT_FILE"):
            await said(stranger)
        file = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(file))
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert await said(HttpModel("test/m", server.base_url, "m", retries=ONCE)) > 1


async def test_a_file_of_certificates_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    with pytest.raises(ModelError, match=r"SSL_CERT_FILE: /no/such.pem cannot be read") as caught:
        await said(HttpModel("test/m", "https://127.0.0.1:9/v1", "m", retries=ONCE))
    assert caught.value.exit_code == 2


async def test_https_to_a_server_of_http_that_closes_without_a_word() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(3)) == b"GET":
            writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        with pytest.raises(UnknownModel, match="does not speak https; write http:// in the base URL"):
            await said(HttpModel("test/m", url, "m", retries=ONCE))


async def test_http_on_a_port_of_https() -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with ModelServer([], tls=tls) as server:
        model = HttpModel("test/m", server.base_url.replace("https:", "http:"), "m", retries=ONCE)
        with pytest.raises(UnknownModel, match="does not speak http; write https:// in the base URL"):
            await said(model)


async def test_a_proxy_of_the_environment_is_asked_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    async with listening:
        model = HttpModel("test/m", "http://models.test/v1", "m", "sk-1", retries=ONCE)
        with pytest.raises(ModelUnreachable, match="gateway"):
            await said(model)
        monkeypatch.setenv("NO_PROXY", "models.test")
        past_it = HttpModel("test/m", "http://models.test/v1", "m", retries=ONCE)
        with pytest.raises(ModelUnreachable):
            await said(past_it)
    assert asked == [b"POST http://models.test/v1/chat/completions HTTP/1.1\r\n"]


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", refused_url())
    with pytest.raises(
        ModelUnreachable, match=r"nothing answers at http://models.*the proxy http://127.0.0.1:\d+/v1 "
    ):
        await said(HttpModel("test/m", "http://models.test/v1", "m", retries=ONCE))


@pytest.mark.parametrize(
    ("given", "version", "always", "used"),
    [
        ("localhost:8080", "/v1", False, "http://localhost:8080/v1"),
        ("https://api.deepseek.com/", "/v1", False, "https://api.deepseek.com/v1"),
        ("https://api.z.ai/api/paas/v4", "/v1", False, "https://api.z.ai/api/paas/v4"),
        ("https://api.groq.com/openai/v1/models", "/v1", False, "https://api.groq.com/openai/v1"),
        ("https://h/v1/responses/", "/v1", False, "https://h/v1"),
        ("https://api.anthropic.com", "/v1", True, "https://api.anthropic.com/v1"),
        ("https://api.deepseek.com/anthropic", "/v1", True, "https://api.deepseek.com/anthropic/v1"),
        ("https://h/v1/messages", "/v1", True, "https://h/v1"),
        ("https://g", "/v1beta", True, "https://g/v1beta"),
        ("https://g/v1/", "/v1beta", True, "https://g/v1"),
    ],
)
async def test_addresses_as_people_write_them(given: str, version: str, always: bool, used: str) -> None:
    assert normal_base_url(given, version, always=always) == used


async def test_an_image_for_a_model_that_is_known_to_be_blind_is_not_even_sent() -> None:
    picture = Request((User("What is this?", (Image("image/png", b"\x89PNG"),)),))
    async with ModelServer([]) as server:
        model = HttpModel("test/m", server.base_url, "m", quirks=Quirks(images=False))
        with pytest.raises(ModelRefusedRequest, match="test/m cannot see images; choose a model that can"):
            await said(model, picture)
    assert server.connections == 0


async def test_llama_cpp_tells_whether_its_model_sees() -> None:
    from agent.models.resolve import open_model

    props = LLAMA_CPP_PROPS | {"modalities": {"vision": False}}
    async with ModelServer([], props=props) as server:
        model = await open_model("m", base_url=server.base_url, environ={})
        assert isinstance(model, HttpModel)
        with pytest.raises(ModelRefusedRequest, match="cannot see images"):
            await said(model, Request((User("What is this?", (Image("image/png", b"\x89PNG"),)),)))
    assert server.requests == []
