"""What servers tell of themselves, and what is made of it."""

from __future__ import annotations

import pytest

from agent.models.base import ModelAuth, ModelUnreachable
from agent.models.transport import ServerInfo, server_info
from tests.support.model_server import LLAMA_CPP_PROPS, ModelServer, refused_url

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret"


async def test_llama_cpp() -> None:
    async with ModelServer([], api_key=KEY, props=LLAMA_CPP_PROPS) as server:
        info = await server_info(server.base_url, KEY)
    assert info == ServerInfo(("m",), 8192, is_llama_cpp=True, slots=4, owner="llamacpp")


async def test_llama_cpp_that_hides_its_properties() -> None:
    models = [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 4096}}]
    async with ModelServer([], models=models) as server:
        info = await server_info(server.base_url)
    assert info == ServerInfo(("m",), 4096, is_llama_cpp=True, slots=None, owner="llamacpp")


async def test_vllm() -> None:
    models = [{"id": "qwen", "owned_by": "vllm", "max_model_len": 32768}]
    async with ModelServer([], models=models) as server:
        assert await server_info(server.base_url) == ServerInfo(("qwen",), 32768, False, None, "vllm")


async def test_several_models_have_no_common_context() -> None:
    models = [{"id": "a", "context_length": 1}, {"id": "b", "context_length": 2}]
    async with ModelServer([], models=models) as server:
        assert await server_info(server.base_url) == ServerInfo(("a", "b"), None, False, None)


@pytest.mark.parametrize("odd", ["hm", 5, [1], True])
async def test_values_of_another_kind_are_passed_over(odd: object) -> None:
    models = [{"id": "m", "owned_by": "llamacpp", "meta": odd}]
    fields = ("default_generation_settings", "modalities", "chat_template_caps", "total_slots")
    props = dict.fromkeys(fields, "hm" if odd in (5, True) else odd)
    async with ModelServer([], models=models, props=props) as server:
        info = await server_info(server.base_url)
    assert info == ServerInfo(("m",), None, is_llama_cpp=True, slots=None, owner="llamacpp")
    async with ModelServer([], pages={"/v1/models": {"data": odd}}) as server:
        assert (await server_info(server.base_url)).models == ()


async def test_no_server() -> None:
    with pytest.raises(ModelUnreachable, match="nothing answers"):
        await server_info(refused_url())


async def test_wrong_key() -> None:
    async with ModelServer([], api_key=KEY) as server:
        with pytest.raises(ModelAuth):
            await server_info(server.base_url, "wrong")
