"""The embedded server, for real, with a small model."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.messages import System, User
from agent.models.base import Finish, ModelAuth, Request
from agent.models.catalog import find
from agent.models.local import LocalModel, LocalServer, child_environment
from agent.models.serving import ServerFailed, ServerSettings
from agent.models.transport import HttpModel
from agent.models.weights import location
from agent.paths import cache_dir, state_dir
from tests.support.weight_sources import gguf

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
SMALL = ServerSettings(slots=4, context_tokens=4096)


def smollm() -> Path:
    weights = find("smollm2-135m").weights
    assert weights
    return location(weights, cache_dir())


def question(text: str, *, slot: int | None = None, max_tokens: int = 4) -> Request:
    return Request(
        messages=(System("You are a coder."), User(text)),
        max_tokens=max_tokens,
        temperature=0.0,
        slot=slot,
    )


async def finish_of(model: LocalModel | HttpModel, request: Request) -> Finish:
    deltas = [delta async for delta in model.stream(request)]
    assert isinstance(deltas[-1], Finish)
    return deltas[-1]


@pytest.mark.model
async def test_it_serves_shares_a_prompt_and_keeps_strangers_out() -> None:
    text = "".join(f"def f{i}(x):\n    return x + {i}\n" for i in range(12))
    async with LocalServer.start(smollm(), SMALL) as server:
        assert (server.slots, server.context_tokens) == (4, 4096)
        stranger = HttpModel("s", server.base_url, server.model, "wrong")
        with pytest.raises(ModelAuth):
            await finish_of(stranger, question("hi"))
        await stranger.aclose()

        model = LocalModel("local/smollm2-135m", server)
        first = (await finish_of(model, question(text, slot=0))).usage
        assert first.cached_input_tokens == 0
        assert first.output_tokens == 4
        await server.copy_slot(0, [1, 2])
        beside = await asyncio.gather(*(finish_of(model, question(text, slot=slot)) for slot in (0, 1, 2)))
        assert [reply.usage.cached_input_tokens for reply in beside] == [first.input_tokens - 1] * 3
        anywhere = await finish_of(model, question(text + "# and more\n"))
        assert anywhere.usage.cached_input_tokens > 0.9 * first.input_tokens
        await model.aclose()
    assert not list((state_dir() / "model-server").iterdir())


@pytest.mark.model
async def test_a_server_that_dies_in_the_middle_is_said() -> None:
    async with LocalServer.start(smollm(), SMALL) as server:
        model = LocalModel("local/smollm2-135m", server)
        with pytest.raises(ServerFailed, match="the model server was killed by signal 9") as caught:
            async for _ in model.stream(question("Count to one hundred.", max_tokens=2000)):
                os.kill(server.pid, signal.SIGKILL)
        assert caught.value.exit_code == 1
        with pytest.raises(ServerFailed):
            await finish_of(model, question("Still there?"))
        await model.aclose()
    assert list((state_dir() / "model-server").glob("*/server.log")), "the log of a failure is kept"


SERVE = """
import asyncio, sys
from pathlib import Path
from agent.models.local import LocalServer
from agent.models.serving import ServerSettings
async def main():
    async with LocalServer.start(Path(sys.argv[1]), ServerSettings(slots=1, context_tokens=512)) as server:
        print(server.pid, flush=True)
        await server.wait()
asyncio.run(main())
"""


@pytest.mark.model
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_dies_with_pawl(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(smollm())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as pawl:
        assert pawl.stdout
        server = os.pidfd_open(int(pawl.stdout.readline()))
        try:
            pawl.send_signal(number)
            assert select.select([server], [], [], 2.0)[0], "the server outlived pawl by two seconds"
        finally:
            os.close(server)


@pytest.mark.model
def test_a_module_in_the_working_directory_is_not_imported(tmp_path: Path) -> None:
    for name in ("json.py", "xllamacpp.py", "agent.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the working directory')")
    script = Path(sys.modules[LocalServer.__module__].__file__ or "").with_name("llama_server.py")
    spec = {"model": str(tmp_path / "none.gguf"), "alias": "a", "host": "127.0.0.1", "port": 0}
    spec |= {"api_key": "k", "context_tokens": 256, "slots": 1, "threads": 1, "slot_files": f"{tmp_path}/"}
    spec |= {"gpu_context_tokens": 0, "kv_type": "f16", "gpu_layers": -1, "speculate": False, "loras": []}
    spec |= {"idle_s": -1, "binary": ""}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-P", str(script)], cwd=tmp_path, text=True, **pipes) as server:
        assert server.stdin and server.stdout and server.stderr
        server.stdin.write(json.dumps(spec) + "\n")
        server.stdin.flush()
        assert server.wait(60) == 1
        assert "cannot serve" in server.stderr.read()
        assert server.stdout.read() == ""


@pytest.mark.model
async def test_a_file_that_is_cut_short_fails_with_the_servers_words(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with smollm().open("rb") as whole:
        cut.write_bytes(whole.read(20_000_000))
    with pytest.raises(ServerFailed, match=r"cannot serve .*cut\.gguf: .*(?s:.*)\(log: ") as caught:
        async with LocalServer.start(cut, SMALL):
            pass
    assert "not within the file bounds" in str(caught.value)


@pytest.mark.model
async def test_a_port_in_use_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerFailed, match=f"{port}"):
            async with LocalServer.start(smollm(), ServerSettings(slots=1, context_tokens=512, port=port)):
                pass


@pytest.mark.model
async def test_a_cancelled_start_leaves_no_process() -> None:
    loading = asyncio.Event()
    starting = asyncio.create_task(LocalServer.launch(smollm(), SMALL, on_note=lambda line: loading.set()))
    await loading.wait()
    while not children():
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not children()


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no weights at all", "is no GGUF file"),
        (b"", "ends too early"),
        (gguf(general__name="x"), "does not say which architecture"),
        (None, "No such file"),
    ],
)
async def test_garbage_is_refused_before_a_server_is_started(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "m.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ServerFailed, match=reason):
        async with LocalServer.start(path):
            pass
    assert not (state_dir() / "model-server").exists()


def test_the_server_gets_no_keys() -> None:
    environ = {"OPENAI_API_KEY": "a", "HF_TOKEN": "b", "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0"}
    assert child_environment(environ) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0"}
