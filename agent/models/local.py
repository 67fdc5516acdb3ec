"""The embedded model: llama.cpp's server in a process of its own, and the model behind it.

    async with LocalServer.start(weights) as server:
        model = LocalModel("local/qwen2.5-coder-1.5b", server)

The server listens on a loopback port with a random key. It ends with the context, and with pawl however pawl
ends.

Prompts read once. A request without a slot goes to the idle slot that shares the longest prefix with it, so
tries one after the other read their common prompt once. For tries side by side: pin each to a slot of its own
(`Request.slot`), let the first read the prompt, and `copy_slot` it to the others.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agent.models.address import normal_base_url, server_root
from agent.models.base import Delta, ModelError, ModelRefusedRequest, ModelUnreachable, Quirks, Request
from agent.models.gguf import NotGguf, read_head
from agent.models.providers import LLAMA_CPP
from agent.models.retry import Retries
from agent.models.serving import ServerFailed, ServerSettings, ServerSpec, server_spec
from agent.models.transport import HttpModel, ServerInfo, server_info
from agent.paths import state_dir
from sandbox.programs import environment

SCRIPT = Path(__file__).with_name("llama_server.py")
LOAD_S = 300.0
RETRIES = Retries(attempts=3, base_s=0.1, cap_s=1.0, total_s=10.0)
"""The server closes idle connections after five seconds; the next request on one of them must be repeated."""
KEPT_LOGS = 5

OnNote = Callable[[str], None]


class _Ready(msgspec.Struct, frozen=True):
    address: str
    devices: list[str]


class LocalServer:
    """A running server. Made by `launch` or `start`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        directory: Path,
        spec: ServerSpec,
        ready: _Ready,
        info: ServerInfo,
    ) -> None:
        self.spec = spec
        """What was chosen for it."""
        self.base_url = normal_base_url(ready.address)
        self.port = urlsplit(self.base_url).port or 0
        self.api_key = spec.api_key
        self.model = info.models[0]
        """Name under which the server lists its model."""
        self.slots = info.slots or 1
        self.context_tokens = info.context_tokens
        """The longest conversation."""
        self.devices = tuple(ready.devices)
        """GPUs in use; empty on the processor alone."""
        self.pid = process.pid
        self._process = process
        self._directory = directory

    @classmethod
    @asynccontextmanager
    async def start(
        cls, weights: Path, settings: ServerSettings | None = None, *, on_note: OnNote | None = None
    ) -> AsyncIterator[LocalServer]:
        """Serve the GGUF file `weights` for as long as the context lasts. Raises ServerFailed."""
        server = await cls.launch(weights, settings, on_note=on_note)
        try:
            yield server
        finally:
            await server.aclose()

    @classmethod
    async def launch(
        cls, weights: Path, settings: ServerSettings | None = None, *, on_note: OnNote | None = None
    ) -> LocalServer:
        """Like `start`; the caller must `aclose`."""
        settings = settings or ServerSettings()
        try:
            head = read_head(weights)
        except (NotGguf, OSError) as error:
            raise ServerFailed(f"cannot load the model: {error}") from error
        if on_note:
            on_note(f"loading {weights.name}")
        directory = _new_directory()
        try:
            spec = server_spec(weights, head, settings, f"{directory}/")
        except ServerFailed:
            shutil.rmtree(directory)
            raise
        process = await _spawn(directory / "server.log")
        try:
            async with asyncio.timeout(LOAD_S):
                ready = await _ready(process, spec)
                info = await server_info(ready.address, spec.api_key)
        except BaseException as error:
            await _end(process)
            if isinstance(error, (TimeoutError, EOFError, ModelError)):
                raise ServerFailed(f"cannot serve {weights}: {_last_words(directory)}") from error
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return cls(process, directory, spec, ready, info)

    async def aclose(self) -> None:
        """End the server; it has nothing to save."""
        failed = self._process.returncode is not None
        await _end(self._process)
        if not failed:
            shutil.rmtree(self._directory, ignore_errors=True)

    async def copy_slot(self, source: int, targets: Iterable[int]) -> None:
        """Give the prompt that slot `source` has read to idle slots, so that they need not read it again.

        Takes about 0.1 s for 1,000 tokens. All of them must be idle.
        """
        name = f"slot-{secrets.token_hex(4)}"
        try:
            await self._slot(source, "save", name)
            for target in targets:
                await self._slot(target, "restore", name)
        finally:
            (self._directory / name).unlink(missing_ok=True)

    async def wait(self) -> None:
        """Return never: raises ServerFailed when the server dies."""
        await self._process.wait()
        raise await self.death() or ServerFailed("the model server ended")

    async def check(self, timeout_s: float) -> None:
        """Raises ModelError unless the server says within the time that it is well."""
        from agent.models.connections import Connections

        connections = Connections(self.base_url, {})
        try:
            url = f"{server_root(self.base_url)}/health"
            async with connections.request("GET", url, header_s=timeout_s) as response:
                if response.status_code != 200:
                    raise ModelUnreachable(f"the model server is not well ({response.status_code})")
        finally:
            await connections.aclose()

    async def death(self) -> ServerFailed | None:
        """Why a connection broke, when it did because the server is gone."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._process.wait()
        code = self._process.returncode
        if code is None:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return ServerFailed(f"the model server {how}: {_last_words(self._directory)}")

    async def _slot(self, slot: int, action: str, name: str) -> None:
        from agent.models.connections import Connections

        url = f"{server_root(self.base_url)}/slots/{slot}?action={action}"
        connections = Connections(url, {"authorization": f"Bearer {self.api_key}"})
        body = json.dumps({"filename": name}).encode()
        try:
            async with connections.request("POST", url, content=body, header_s=60.0) as response:
                said = await connections.read(response, 2**16)
        finally:
            await connections.aclose()
        if response.status_code != 200:
            raise ModelRefusedRequest(f"slot {slot}: {action} failed: {said.decode(errors='replace')}")


class LocalModel:
    """A model served by pawl itself; closing it ends its server."""

    def __init__(self, name: str, server: LocalServer, quirks: Quirks = LLAMA_CPP) -> None:
        self.name = name
        self.server = server
        self.context_tokens = server.context_tokens
        self.slots = server.slots
        self.http = HttpModel(
            name,
            server.base_url,
            server.model,
            server.api_key,
            quirks=msgspec.structs.replace(quirks, images=False),  # no projector is loaded
            context_tokens=server.context_tokens,
            retries=RETRIES,
        )

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Stream one reply. Raises ServerFailed when the server died, else as HttpModel does."""
        async with aclosing(self.http.stream(request)) as deltas:
            try:
                async for delta in deltas:
                    yield delta
            except ModelUnreachable as error:
                raise (await self.server.death() or error) from error

    async def aclose(self) -> None:
        await self.http.aclose()
        await self.server.aclose()


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without keys and tokens, which a model server has no use for."""
    return {
        name: value
        for name, value in environment(environ).items()
        if not name.endswith(("_KEY", "_TOKEN", "_SECRET"))
    }


async def _spawn(log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as stderr:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            str(SCRIPT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=child_environment(os.environ),
            start_new_session=True,  # Ctrl-C is for pawl, which then ends the server itself
        )


async def _ready(process: asyncio.subprocess.Process, spec: ServerSpec) -> _Ready:
    """Tell the process what to serve and wait until it does. Raises EOFError when it ends instead."""
    assert process.stdin and process.stdout
    process.stdin.write(msgspec.json.encode(spec) + b"\n")
    with suppress(ConnectionError):
        await process.stdin.drain()
    line = await process.stdout.readline()
    try:
        return msgspec.json.decode(line, type=_Ready)
    except msgspec.DecodeError as error:
        raise EOFError from error


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    if process.stdin:
        process.stdin.close()
    await process.wait()


def _new_directory() -> Path:
    """A private folder for one server's log and slots; of earlier ones that failed the newest are kept."""
    parent = state_dir() / "model-server"
    parent.mkdir(parents=True, exist_ok=True)
    for entry in ended_servers()[:-KEPT_LOGS]:
        shutil.rmtree(entry, ignore_errors=True)
    stamp = time.strftime("%Y%m%dT%H%M%S")
    return Path(tempfile.mkdtemp(prefix=f"{stamp}-{os.getpid()}-", dir=parent))


def ended_servers() -> list[Path]:
    """Folders with the logs of servers whose pawl is no more, oldest first."""
    parent = state_dir() / "model-server"
    found = sorted(entry for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
    return [entry for entry in found if not Path(f"/proc/{entry.name.split('-')[1]}").exists()]


def _last_words(directory: Path) -> str:
    """The errors in a server's log, or its last lines, and where the rest is."""
    log = directory / "server.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    # llama.cpp: time, level, module, text; level E is an error
    errors = [line.split(":", 1)[-1].strip() for line in lines if line.split()[1:2] == ["E"]]
    last = [line for line in lines if line.startswith("cannot serve")]
    said = [line for line in lines if line not in last]
    return "\n  ".join([*(errors[:3] or said[-1:]), *last, f"(log: {log})"])
