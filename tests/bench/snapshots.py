"""Milliseconds of freezing, forking, snapshots and undo in a tree of 5,000 files.

Prints one JSON object and one line a figure; exit code 1 when the best of three rounds is over its target:
what else the machine does, and what its disk has to write, can only add to a figure.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from sandbox.workspace import Workspace

T = TypeVar("T")

FILES = 5000
ROUNDS = 3
TARGETS = {"freeze": 500, "first snapshot": 600, "later snapshot": 100, "undo": 300}
SHOWN = (*TARGETS, "fork", "undo of 500 deletions")


def plant(tree: Path) -> list[Path]:
    """Files of 200 to 8,000 random bytes in 250 folders."""
    chance = random.Random(5)
    files = [tree / f"d{n % 50}" / f"s{n % 250}" / f"f{n}.py" for n in range(FILES)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(chance.randbytes(chance.randint(200, 8000)))
    return files


async def measure(place: Path, taken: dict[str, list[float]]) -> Workspace:
    """One round. What it made stays: ext4 is slow to make files while others were deleted just before."""

    async def timed(name: str, work: Awaitable[T]) -> T:
        start = time.perf_counter()
        result = await work
        taken[name].append((time.perf_counter() - start) * 1000)
        return result

    tree = place / "tree"
    files = [file.relative_to(tree) for file in plant(tree)]
    workspace = await timed("freeze", Workspace.open(tree, place / "state"))
    fork = await timed("fork", workspace.fork("bench"))
    first = await timed("first snapshot", fork.snapshot("first"))
    for file in files[:20]:
        (fork.tree / file).write_text("changed\n")
    await timed("later snapshot", fork.snapshot("second"))
    await timed("undo", fork.restore(first))
    for file in files[:500]:
        (fork.tree / file).unlink()
    await fork.snapshot("third")
    await timed("undo of 500 deletions", fork.restore(first))
    return workspace


async def rounds(place: Path) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in SHOWN}
    opened = [await measure(place / str(number), taken) for number in range(ROUNDS)]
    for workspace in opened:
        await workspace.aclose()
    return taken


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        taken = asyncio.run(rounds(Path(name)))
    best = {name: round(min(times), 1) for name, times in taken.items()}
    print(json.dumps({"bench": "snapshots", "files": FILES, "rounds": ROUNDS, "limits": TARGETS, "ms": best}))
    for name, figure in best.items():
        print(f"{name}: {figure:.0f} ms" + (f", at most {TARGETS[name]}" if name in TARGETS else ""))
    return int(any(best[name] > limit for name, limit in TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
