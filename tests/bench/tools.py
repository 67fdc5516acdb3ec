"""What the tools cost beyond the sandbox's own work: read, edit, glob; and grep beside ripgrep itself.

    python -P -m tests.bench.tools [--files N]

Each tool and the bare requests that it cannot do without take turns in one sandbox, no other tool between
them: whoever came after a listing of the whole tree would find cold caches. "Beyond" is the tool's
median minus that of the bare requests, grep's ratio is to `rg` run in the same sandbox with its own defaults.
Prints a table with the targets; the exit code is 0: a busy machine misses targets.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from sandbox.base import SandboxSpec
from sandbox.open import load, open_sandbox, owner
from tests.bench.sandbox import Timed, in_turn
from tools.base import Tool, ToolContext
from tools.builtin.glob import EARLY
from tools.toolset import default_toolset

ROUNDS = 40
BEYOND_MS = 2.0
RATIO = 1.3


def make_tree(folder: Path, count: int) -> None:
    """Files of 60 lines in folders of a hundred, with git's rules at two depths; one in 50 has the needle."""
    for number in range(count):
        file = folder / f"pkg{number // 1000}" / f"d{number // 100 % 10}" / f"module_{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"def function_{number}_{line}(value):\n    return value + {line}\n" for line in range(30)]
        if number % 50 == 0:
            lines[7] = "needle_in_the_hay = True\n"
        file.write_text("".join(lines))
    (folder / ".gitignore").write_text("*.log\nbuild/\n")
    (folder / "pkg0" / ".gitignore").write_text("*.tmp\n")


async def measure(backend: str, folder: Path, count: int) -> dict[str, dict[str, float]]:
    """Medians in ms: name -> {"tool": of the tool, "bare": of the requests alone}."""
    tree = folder / backend
    make_tree(tree, count)
    for path in (tree, *tree.rglob("*")):
        os.chown(path, *owner(backend))  # type: ignore[arg-type]
    spec = SandboxSpec(tree=tree, root=str(tree), session="bench")
    sandbox = await open_sandbox(spec, backend, state=folder / "state", project=tree)  # type: ignore[arg-type]
    try:
        ctx = ToolContext(sandbox, folder / "artifacts")
        tools = default_toolset()
        file = "pkg1/d3/module_1300.py"
        numbers = iter(range(5, 10**6))

        async def call(tool: Tool, **arguments: object) -> None:
            await tool.run(ctx, **arguments)

        async def edit() -> None:
            number = next(numbers)
            old, new = (f"function_1300_5(value):\n    return value + {n}\n" for n in (number, number + 1))
            await call(tools["edit"], path=file, old_string=old, new_string=new)

        async def bare_edit() -> None:
            found = await sandbox.read(file)
            await sandbox.write("pkg1/d3/bare.py", found.data)

        pairs: dict[str, tuple[Timed, Timed]] = {
            "read": (lambda: call(tools["read"], path=file), lambda: sandbox.read(file)),
            "edit": (edit, bare_edit),
            "glob *.py": (
                lambda: call(tools["glob"], pattern="*.py"),
                lambda: sandbox.list(depth=-1, match=r".*\.py", limit=EARLY),
            ),
            "glob one folder": (
                lambda: call(tools["glob"], pattern="pkg1/d3/*.py"),
                lambda: sandbox.list(depth=-1, match=r"pkg1/d3/[^/]*\.py"),
            ),
            "grep": (
                lambda: call(tools["grep"], pattern="needle_in"),
                lambda: sandbox.run(["rg", "--line-number", "needle_in", "."]),
            ),
            "grep, nothing found": (
                lambda: call(tools["grep"], pattern="no_such_word"),
                lambda: sandbox.run(["rg", "--line-number", "no_such_word", "."]),
            ),
        }
        await call(tools["read"], path=file)
        figures = {}
        for name, (tool, bare) in pairs.items():
            times = await in_turn({"tool": tool, "bare": bare}, ROUNDS)
            figures[name] = {way: statistics.median(taken) for way, taken in times.items()}
    finally:
        await sandbox.aclose()
    return figures


def show(backend: str, figures: dict[str, dict[str, float]]) -> None:
    print(f"\n{backend:22}{'tool ms':>10}{'bare ms':>10}{'beyond':>12}{'target':>12}")
    for name, row in figures.items():
        if name.startswith("grep"):
            found, most, unit = row["tool"] / row["bare"], RATIO, "x"
        else:
            found, most, unit = row["tool"] - row["bare"], BEYOND_MS, "ms"
        mark = "!" if found > most else ""
        cells = f"{row['tool']:>10.2f}{row['bare']:>10.2f}{f'{found:.2f} {unit}':>12}"
        print(f"{name:22}{cells}{f'<= {most:g} {unit}':>12} {mark}")


async def main(count: int) -> None:
    for backend in ("bubblewrap", "docker"):
        if await load(backend).available() is not None:  # type: ignore[arg-type]
            continue
        folder = Path(tempfile.mkdtemp(prefix="pawl-bench-"))
        folder.chmod(0o711)
        try:
            show(backend, await measure(backend, folder, count))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{count} files; load {os.getloadavg()[0]:.1f}; ! is over the target")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what the tools cost.")
    parser.add_argument("--files", type=int, default=5000, help="size of the repository")
    asyncio.run(main(parser.parse_args().files))
    sys.exit(0)
