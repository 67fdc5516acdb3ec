"""What is chosen for a server, how it is kept up, and what it is run by; real servers with a small model."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from agent.messages import User
from agent.models.base import Request
from agent.models.catalog import find
from agent.models.connections import Connections
from agent.models.gguf import Head
from agent.models.keeper import Care, keep
from agent.models.llama_server import _binary_command
from agent.models.local import LocalModel, LocalServer
from agent.models.serving import (
    MAX_CONTEXT,
    MIN_CONTEXT,
    KvType,
    Lora,
    ServerFailed,
    ServerSettings,
    choose,
    find_engine,
    server_spec,
)
from agent.models.weights import location
from agent.paths import cache_dir, state_dir
from agent.probe.exchange import ask
from tests.support import llama_server
from tests.support.adapter import write_adapter

GB = 10**9
HEAD = Head("qwen2", "", 32768, 28672)
"""28,672 bytes a token: 16,384 tokens take 470 MB."""


def smollm() -> Path:
    weights = find("smollm2-135m").weights
    assert weights
    return location(weights, cache_dir())


@pytest.mark.parametrize(
    ("settings", "free", "tokens", "kv_type"),
    [
        (ServerSettings(), 24 * GB, MAX_CONTEXT, "f16"),
        (ServerSettings(), 2 * GB, MAX_CONTEXT, "f16"),
        (ServerSettings(), 1 * GB + 600_000_000, MAX_CONTEXT, "q8_0"),  # 300 MB: 8 bits hold all of it
        (ServerSettings(), 1 * GB + 300_000_000, 9728, "q8_0"),
        (ServerSettings(), 0, MIN_CONTEXT, "q8_0"),
        (ServerSettings(kv_type="f16"), 1 * GB + 300_000_000, 5120, "f16"),
        (ServerSettings(kv_type="q4_0"), 1 * GB + 300_000_000, MAX_CONTEXT, "q4_0"),
        (ServerSettings(context_tokens=4096), 24 * GB, 4096, "f16"),
    ],
)
def test_context_and_cache_fit_the_memory(
    settings: ServerSettings, free: int, tokens: int, kv_type: KvType
) -> None:
    assert choose(HEAD, 1 * GB, settings, free) == (tokens, kv_type)


def test_an_engine_is_what_was_asked_for_and_never_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = llama_server.install(tmp_path)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert find_engine(None, {"PATH": str(tmp_path)}) == ""
    assert find_engine("llama-server", {"PATH": f":.:{tmp_path}"}) == str(binary)
    monkeypatch.chdir(tmp_path)
    assert find_engine("./llama-server", {"PATH": ""}) == str(binary)
    with pytest.raises(ServerFailed, match="there is no program llama-server"):
        find_engine("llama-server", {"PATH": ":."})


def test_the_command_line_leaves_out_what_an_older_binary_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    binary = llama_server.install(tmp_path)
    settings = ServerSettings(
        engine=str(binary),
        gpu_layers=7,
        speculate=True,
        idle_s=60,
        loras=(Lora(str(tmp_path / "a.gguf"), 0.5),),
    )
    spec = server_spec(tmp_path / "a.gguf", HEAD, settings, "/slots/")
    told = {name: getattr(spec, name) for name in spec.__struct_fields__}
    told["loras"] = [{"path": lora.path, "scale": lora.scale} for lora in spec.loras]
    command = _binary_command(told, 1234, False, "--kv-unified, --no-kv-unified\n--cache-ram N")
    assert command[-3:] == ["--kv-unified", "--cache-ram", "0"]
    words = " ".join(command)
    for expected in (
        "--port 1234",
        "--gpu-layers 7",
        f"--lora-scaled {tmp_path}/a.gguf:0.5",
        "--spec-type ngram-simple",
        "--sleep-idle-seconds 60",
    ):
        assert expected in words
    assert spec.api_key not in words


def test_a_missing_adapter_is_said_before_a_server_is_started(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    with pytest.raises(ServerFailed, match=r"there is no adapter .*nowhere\.gguf"):
        server_spec(tmp_path / "m.gguf", HEAD, ServerSettings(loras=(Lora("nowhere.gguf"),)), "")


async def reply_of(server: LocalServer) -> str:
    model = LocalModel("local/smollm2-135m", server)
    request = Request((User("Say what a list is."),), temperature=0.0, max_tokens=12)
    text = (await ask(model, request)).message.text
    await model.http.aclose()
    return text


async def sleeping(server: LocalServer) -> bool:
    connections = Connections(server.base_url, {"authorization": f"Bearer {server.api_key}"})
    url = f"{server.base_url.removesuffix('/v1')}/props"
    async with connections.request("GET", url, header_s=10) as response:
        page = await connections.read(response, 2**20)
    await connections.aclose()
    return b'"is_sleeping":true' in page


@pytest.mark.anyio
@pytest.mark.model
async def test_an_adapter_changes_the_reply_and_an_idle_server_sleeps_until_it_is_asked(
    tmp_path: Path,
) -> None:
    write_adapter(adapter := tmp_path / "adapter.gguf")
    plain = ServerSettings(slots=1, context_tokens=512, kv_type="q8_0")
    async with LocalServer.start(smollm(), plain) as server:
        without = await reply_of(server)
    changed = ServerSettings(
        slots=1, context_tokens=512, kv_type="q8_0", speculate=True, loras=(Lora(str(adapter)),), idle_s=1
    )
    async with LocalServer.start(smollm(), changed) as server:
        assert (said := await reply_of(server)) != without
        async with asyncio.timeout(20):
            while not await sleeping(server):
                await asyncio.sleep(0.1)
        await server.check(10)
        assert await sleeping(server), "to look at it does not wake it"
        assert await reply_of(server) == said


CARE = Care(look_every_s=0.2, restarts=1, pause_s=0.01)


@pytest.mark.anyio
@pytest.mark.model
async def test_a_server_that_falls_is_started_again_at_its_address_and_given_up_at_last() -> None:
    seen: list[tuple[str, str]] = []
    notes: list[str] = []

    def fell(server: LocalServer) -> None:
        seen.append((server.base_url, server.api_key))
        os.kill(server.pid, signal.SIGKILL)

    with pytest.raises(ServerFailed, match=r"given up after 1 restarts: .* killed by signal 9"):
        await keep(
            smollm(),
            ServerSettings(slots=1, context_tokens=512),
            on_ready=fell,
            on_note=notes.append,
            care=CARE,
        )
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert sum("starting it again (1 of 1)" in note for note in notes) == 1


@pytest.mark.anyio
@pytest.mark.model
async def test_a_server_that_hangs_is_started_again() -> None:
    pids: list[int] = []
    again = asyncio.Event()

    def stop_the_first(server: LocalServer) -> None:
        pids.append(server.pid)
        if len(pids) == 1:
            os.kill(server.pid, signal.SIGSTOP)
        else:
            again.set()

    care = Care(look_every_s=0.1, answer_s=0.2, misses=2, pause_s=0.01)
    settings = ServerSettings(slots=1, context_tokens=512)
    keeping = asyncio.create_task(
        keep(smollm(), settings, on_ready=stop_the_first, on_note=lambda line: None, care=care)
    )
    try:
        async with asyncio.timeout(60):
            await again.wait()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert not Path(f"/proc/{pids[0]}").exists()


@pytest.mark.anyio
@pytest.mark.model
async def test_a_llama_server_binary_serves_and_ends_with_pawl(tmp_path: Path) -> None:
    binary = llama_server.install(tmp_path)
    settings = ServerSettings(slots=2, context_tokens=1024, engine=str(binary))
    async with LocalServer.start(smollm(), settings) as server:
        assert (server.slots, server.context_tokens) == (2, 1024)
        assert await reply_of(server)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert len(children) == 1
    async with asyncio.timeout(5):
        while Path(f"/proc/{children[0]}").exists():
            await asyncio.sleep(0.01)
    assert not list((state_dir() / "model-server").iterdir())


@pytest.mark.anyio
@pytest.mark.model
async def test_a_binary_that_does_not_serve_is_said(tmp_path: Path) -> None:
    binary = tmp_path / "llama-server"
    binary.write_text("#!/bin/sh\necho 'no such option' >&2\nexit 3\n")
    binary.chmod(0o755)
    with pytest.raises(ServerFailed, match=r"no such option(?s:.*)ended with 3"):
        await LocalServer.launch(smollm(), ServerSettings(engine=str(binary)))
