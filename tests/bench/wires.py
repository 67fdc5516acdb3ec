"""What pawl costs beside the model, on each wire, against the loopback server of the tests.

* a streamed token: time of a long reply through HttpModel and the assembler, less that of the same bytes with
  httpx alone, for each piece of text;
* a request: time from the call until the first piece of a short reply, the server's share included;
* an import: `agent.models.wire.NAME` and all that it needs, less the start of Python, in its own process.

Prints one JSON object and one line a wire; exit code 1 when a median is over its limit.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import msgspec  # noqa: E402

from agent.messages import Message, System, User  # noqa: E402
from agent.models import wire as wires  # noqa: E402
from agent.models.assemble import Assembler  # noqa: E402
from agent.models.base import NO_QUIRKS, Request, TextDelta, ToolSpec  # noqa: E402
from agent.models.transport import HttpModel  # noqa: E402
from tests.support.model_server import Answer, ModelServer  # noqa: E402

TOKEN_US, REQUEST_MS, IMPORT_MS = 50.0, 5.0, 150.0
ROUNDS, TOKENS = 9, 5000
TOOL = ToolSpec("read", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
HISTORY: tuple[Message, ...] = (System("You repair code. " * 200), User("Fix it. " * 200))
REQUEST = Request(HISTORY, (TOOL,) * 10, temperature=0.0)


async def through_pawl(model: HttpModel) -> float:
    assembler = Assembler(REQUEST.tools)
    started = time.perf_counter()
    async for delta in model.stream(REQUEST):
        assembler.add(delta)
    assembler.message()
    return time.perf_counter() - started


async def first_piece(model: HttpModel) -> float:
    started = time.perf_counter()
    taken = 0.0
    async for delta in model.stream(REQUEST):
        if isinstance(delta, TextDelta):
            taken = taken or time.perf_counter() - started
    return taken


async def with_httpx(client: httpx.AsyncClient, url: str, body: bytes) -> float:
    started = time.perf_counter()
    async with client.stream("POST", url, content=body) as response:
        async for _ in response.aiter_bytes():
            pass
    return time.perf_counter() - started


async def measure(name: str) -> dict[str, float]:
    """Medians; pawl and httpx take turns, so that a busy moment hits them alike."""
    wire = wires.load(name)
    long, short = Answer("word" * TOKENS, write_bytes=2**13), Answer("Hi")
    tokens: list[float] = []
    requests: list[float] = []
    wanted_long = True
    async with ModelServer(lambda _: long if wanted_long else short) as server:
        root = server.base_url.removesuffix("/v1")
        model = HttpModel("bench/m", root, "m", wire=name)
        url = f"{root}{wire.VERSION}{wire.PATH.format(model='m')}"
        body = msgspec.json.encode(wire.to_wire(REQUEST, model="m", quirks=NO_QUIRKS))
        async with httpx.AsyncClient(timeout=60.0) as client:
            for number in range(ROUNDS + 1):
                wanted_long = True
                plain = await with_httpx(client, url, body)
                tokens.append((await through_pawl(model) - plain) / TOKENS)
                wanted_long = False
                requests.append(await first_piece(model))
                if not number:  # the first round warms up
                    tokens.clear()
                    requests.clear()
        await model.aclose()
    return {"token_us": 1e6 * statistics.median(tokens), "request_ms": 1e3 * statistics.median(requests)}


def import_ms(name: str) -> float:
    def seconds(program: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-P", "-c", program], check=True, cwd=ROOT)
        return time.perf_counter() - started

    wanted = f"import sys; sys.path.insert(0, '.'); import agent.models.wire.{name}"
    return 1e3 * statistics.median(seconds(wanted) - seconds("pass") for _ in range(ROUNDS))


def main() -> int:
    figures = {name: asyncio.run(measure(name)) | {"import_ms": import_ms(name)} for name in wires.names()}
    limits = {"token_us": TOKEN_US, "request_ms": REQUEST_MS, "import_ms": IMPORT_MS}
    print(json.dumps({"bench": "wires", "rounds": ROUNDS, "limits": limits, "figures": figures}))
    for name, of in figures.items():
        print(
            f"{name}: {of['token_us']:.1f} µs a streamed token (at most {TOKEN_US:.0f}), "
            f"{of['request_ms']:.1f} ms a request (at most {REQUEST_MS:.0f}), "
            f"import {of['import_ms']:.0f} ms (at most {IMPORT_MS:.0f})"
        )
    return int(any(of[what] > limit for of in figures.values() for what, limit in limits.items()))


if __name__ == "__main__":
    sys.exit(main())
