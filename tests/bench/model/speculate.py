"""Does drafting by n-gram lookup (`pawl models serve --speculate`) pay for edits?

    python -P tests/bench/model/speculate.py [NAME [THREADS]]

Asks for whole files with small changes, whose text mostly repeats the prompt, with and without it at
temperature 0, and prints the tokens written per second and whether the texts are the same.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agent.messages import System, User
from agent.models.assemble import Assembler
from agent.models.base import Request
from agent.models.local import LocalModel, LocalServer
from agent.models.serving import ServerSettings
from agent.models.weights import pull
from agent.paths import cache_dir

SOURCE = Path(__file__).parents[3] / "agent" / "demo" / "repository" / "roster"
FILES = ("intervals.py",)
ROUNDS = 1
"""Each file is edited so often with either server; the servers take turns."""


async def rate(weights: Path, threads: int | None, *, speculate: bool) -> tuple[float, list[str]]:
    """Tokens written per second over all files, and the texts."""
    texts, tokens, seconds = [], 0, 0.0
    settings = ServerSettings(slots=1, context_tokens=4096, threads=threads, speculate=speculate)
    async with LocalServer.start(weights, settings) as server:
        model = LocalModel("local/bench", server)
        for name in FILES:
            source = (SOURCE / name).read_text()
            ask = f"Add a docstring to the first function. Give the whole file.\n\n```python\n{source}```"
            request = Request((System("You edit Python."), User(ask)), temperature=0.0, max_tokens=160)
            assembler = Assembler()
            async for delta in model.stream(request):
                assembler.add(delta)
            finish = assembler.finish
            assert finish and finish.output_ms
            texts.append(assembler.message().text)
            tokens += finish.usage.output_tokens
            seconds += finish.output_ms / 1000
        await model.aclose()
    return tokens / seconds, texts


async def main(name: str, threads: int | None = None) -> None:
    weights = await pull(name, cache=cache_dir())
    for _ in range(ROUNDS):
        plain, plain_texts = await rate(weights, threads, speculate=False)
        drafted, drafted_texts = await rate(weights, threads, speculate=True)
        same = sum(a == b for a, b in zip(plain_texts, drafted_texts, strict=True))
        print(
            f"plain {plain:.1f} tokens/s, drafted {drafted:.1f}; {same} of {len(FILES)} texts the same",
            flush=True,
        )


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["qwen2.5-coder-1.5b"]
    asyncio.run(main(chosen[0], int(chosen[1]) if chosen[1:] else None))
