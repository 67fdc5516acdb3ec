"""How much a sandbox costs, each backend beside docker-py, the docker CLI and a plain subprocess.

    python -P tests/bench/sandbox.py [--json FILE] [--files N]

All are measured in the same run and take turns, so that a busy moment hits them alike; ratios are to a host
subprocess. Prints a table with the targets. The exit code is 0: a busy machine misses targets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sandbox.base import Limits, Sandbox, SandboxSpec
from sandbox.open import load, open_sandbox, owner, sees_mounts
from sandbox.pool import Opened, Pool
from sandbox.workspace import Workspace

GIGABYTE = 10**9
ROUNDS = 60
LIMITS = Limits(stream_bytes=2 * GIGABYTE, timeout_s=60)
TARGETS = {
    "command p50 over the host": (3.0, "ms"),
    "command p95 over the host": (10.0, "ms"),
    "read 100 kB p50": (2.0, "ms"),
    "write 100 kB p50": (5.0, "ms"),
    "session ready": (600.0, "ms"),
    "from the warm pool": (30.0, "ms"),
    "freeze base": (500.0, "ms"),
    "fork": (50.0, "ms"),
    "fork with sandbox": (400.0, "ms"),
    "8 forks with sandboxes": (4.0, "s"),
    "diff of one change": (100.0, "ms"),
    "first snapshot": (600.0, "ms"),
    "later snapshot": (100.0, "ms"),
    "undo": (300.0, "ms"),
    "1 GB of output": (5.0, "s"),
    "growth of the client": (5.0, "MB"),
}
T = TypeVar("T")
Timed = Callable[[], Awaitable[object]]


async def timed(action: Timed) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    await action()
    return (time.perf_counter() - began) * 1000


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def in_turn(actions: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each action, one of each kind after the other; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            taken = await timed(action)
            if number:
                times[name].append(taken)
    return times


@asynccontextmanager
async def growth() -> AsyncIterator[list[float]]:
    """What this process grew by meanwhile, in MB: the largest of many looks."""
    page = resource.getpagesize()

    def now() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page / 1024**2

    async def look() -> None:
        while True:
            grown[0] = max(grown[0], now() - before)
            await asyncio.sleep(0.01)

    before, grown = now(), [0.0]
    looking = asyncio.create_task(look())
    try:
        yield grown
    finally:
        looking.cancel()


# --- what is compared --------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(backend: Any, tree: Path, root: str, state: Path) -> AsyncIterator[Sandbox]:
    spec = SandboxSpec(tree=tree, root=root, session="bench", limits=LIMITS)
    sandbox = await open_sandbox(spec, backend, state=state, project=Path(root))
    try:
        yield sandbox
    finally:
        await sandbox.aclose()


async def host_command() -> None:
    process = await asyncio.create_subprocess_exec("/bin/true", stdout=subprocess.PIPE)
    await process.communicate()


@asynccontextmanager
async def plain_container() -> AsyncIterator[dict[str, Timed]]:
    """A container as others use it: `exec_run` of docker-py and `docker exec` in one that sleeps."""
    import docker

    client = docker.from_env()
    mounts = [docker.types.Mount(name, name, type="bind", read_only=True) for name in _system()]
    container = client.containers.run(
        "pawl-empty:1", ["/bin/sleep", "600"], detach=True, mounts=mounts, network_mode="none"
    )
    try:
        yield {
            "docker-py exec_run": lambda: asyncio.to_thread(container.exec_run, ["/bin/true"]),
            "docker CLI": lambda: _run("docker", "exec", container.id, "/bin/true"),
        }
    finally:
        container.remove(force=True)
        client.close()


def _system() -> list[str]:
    return [name for name in ("/usr", "/bin", "/lib", "/lib64") if Path(name).is_dir()]


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    await process.communicate()


# --- measuring ---------------------------------------------------------------------------------------------


async def commands(sandboxes: dict[str, Sandbox], others: dict[str, Timed]) -> dict[str, dict[str, float]]:
    """p50 and p95 of `true`, in ms, and the ratio of p50 to the host's."""
    actions: dict[str, Timed] = {"host": host_command, **others}
    for name, sandbox in sandboxes.items():
        actions[name] = lambda sandbox=sandbox: sandbox.run(["/bin/true"])  # type: ignore[misc]
    times = await in_turn(actions, ROUNDS)
    host = statistics.median(times["host"])
    return {
        name: {
            "p50": statistics.median(taken),
            "p95": percentile(taken, 0.95),
            "ratio": statistics.median(taken) / host,
        }
        for name, taken in times.items()
    }


async def files(sandbox: Sandbox) -> dict[str, float]:
    data = os.urandom(100_000)
    times = await in_turn(
        {
            "write 100 kB p50": lambda: sandbox.write("bench-file", data),
            "read 100 kB p50": lambda: sandbox.read("bench-file"),
        },
        ROUNDS,
    )
    return {name: statistics.median(taken) for name, taken in times.items()}


async def output(sandbox: Sandbox) -> dict[str, float]:
    """All of it comes to the client, as when a person watches."""
    heard = 0

    def hear(data: bytes) -> None:
        nonlocal heard
        heard += len(data)

    async with growth() as grown:
        taken = await timed(lambda: sandbox.run(["head", "-c", str(GIGABYTE), "/dev/zero"], on_output=hear))
    assert heard == GIGABYTE
    return {"1 GB of output": taken / 1000, "growth of the client": grown[0]}


async def ready(backend: str, tree: Path, root: str, state: Path) -> float:
    """Until the first command has been run; the median of three."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        async with opened(backend, tree, root, state) as sandbox:
            await sandbox.run(["/bin/true"])
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[1:])


async def workspaces(backend: str, project: Path, state: Path, closing: AsyncExitStack) -> dict[str, float]:
    """Milliseconds of what is done with a tree, each the median of three rounds; seconds of eight forks.

    What is made goes only with `closing`, after all measurements: on ext4 a new file costs several times as
    much for some minutes after thousands were removed, as for nobody who just starts to work.
    """
    times: dict[str, list[float]] = {}

    async def timed(name: str, work: Awaitable[T]) -> T:
        began = time.perf_counter()
        result = await work
        times.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return result

    for number in range(3):
        place = state / "workspaces" / f"{backend}-{number}-{secrets.token_hex(4)}"  # as sessions are named
        opening = Workspace.open(project, place, owner=owner(backend), overlay=sees_mounts(backend))  # type: ignore[arg-type]
        workspace = await timed("freeze base", opening)
        closing.push_async_callback(workspace.aclose)
        began = time.perf_counter()
        fork = await timed("fork", workspace.fork("bench"))
        async with opened(backend, fork.tree, str(project), state) as sandbox:
            await sandbox.run(["/bin/true"])
            times.setdefault("fork with sandbox", []).append((time.perf_counter() - began) * 1000)
            await sandbox.write("d0/f0.py", b"changed\n")
            await timed("diff of one change", fork.diff())
            first = await timed("first snapshot", fork.snapshot("first"))
            await sandbox.run("for f in d1/f10?.py d1/f11?.py; do echo changed >> $f; done")
            await timed("later snapshot", fork.snapshot("second"))
            await timed("undo", fork.restore(first))
    times["from the warm pool"] = await _pooled(backend, workspace, project, state)
    eight = timed("8 forks with sandboxes", _eight(backend, workspace, project, state))
    await asyncio.wait_for(eight, 120)
    figures = {name: statistics.median(taken) for name, taken in times.items()}
    figures["8 forks with sandboxes"] /= 1000
    return figures


async def _pooled(backend: str, workspace: Workspace, project: Path, state: Path) -> list[float]:
    """Milliseconds until something ran in a candidate that was ready."""

    async def make() -> Opened[Sandbox]:
        async with AsyncExitStack() as stack:
            fork = await workspace.fork("bench")
            sandbox = await stack.enter_async_context(opened(backend, fork.tree, str(project), state))
            return Opened(stack.pop_all(), sandbox)

    pool, times = Pool(make), []
    pool.warm()
    for _ in range(3):
        await asyncio.sleep(1.5)  # until it is ready
        began = time.perf_counter()
        stack, sandbox = await pool.take()
        await sandbox.run(["/bin/true"])
        times.append((time.perf_counter() - began) * 1000)
        await stack.aclose()
    await pool.aclose()
    return times


async def _eight(backend: str, workspace: Workspace, project: Path, state: Path) -> None:
    """Eight candidates at once, each with a sandbox in which something ran."""
    async with AsyncExitStack() as stack:

        async def one() -> None:
            fork = await workspace.fork("bench")
            sandbox = await stack.enter_async_context(opened(backend, fork.tree, str(project), state))
            await sandbox.run(["/bin/true"])

        await asyncio.gather(*(one() for _ in range(8)))


def make_project(folder: Path, count: int) -> Path:
    """A tree of small files in folders of a hundred."""
    project = folder / "project"
    for number in range(count):
        file = project / f"d{number // 100}" / f"f{number}.py"
        if number % 100 == 0:
            file.parent.mkdir(parents=True)
        file.write_text(f"value = {number}\n" * 20)
    return project


async def measure(folder: Path, count: int) -> dict[str, Any]:
    backends = [name for name in ("docker", "bubblewrap") if await load(name).available() is None]  # type: ignore[arg-type]
    project, state = make_project(folder, count), folder / "state"
    found: dict[str, dict[str, float]] = {}
    figures = {"bench": "sandbox", "files": count, "load": os.getloadavg()[0], "backends": found}
    async with AsyncExitStack() as stack:
        sandboxes = {}
        for backend in backends:
            tree = folder / f"tree-{backend}"
            tree.mkdir()
            os.chown(tree, *owner(backend))  # type: ignore[arg-type]
            found[backend] = {"session ready": await ready(backend, tree, str(project), state)}
            place = opened(backend, tree, str(project), state)
            sandboxes[backend] = await stack.enter_async_context(place)
        others = await stack.enter_async_context(plain_container()) if "docker" in backends else {}
        rows = figures["commands"] = await commands(sandboxes, others)
        for backend, sandbox in sandboxes.items():
            for name in ("p50", "p95"):
                over = rows[backend][name] - rows["host"][name]
                found[backend][f"command {name} over the host"] = over
            found[backend] |= await files(sandbox) | await output(sandbox)
    async with AsyncExitStack() as closing:
        for backend in backends:
            found[backend] |= await workspaces(backend, project, state, closing)
    return figures


def show(figures: dict[str, Any]) -> None:
    backends = list(figures["backends"])
    print(f"{'':28}{'target':>12}" + "".join(f"{name:>14}" for name in backends))
    for name, (most, unit) in TARGETS.items():
        values = (figures["backends"][backend].get(name) for backend in backends)
        cells = "".join(
            f"{'-' if v is None else f'{v:.1f}':>13}{'!' if v and v > most else ' '}" for v in values
        )
        print(f"{name:<28}{f'<= {most:g} {unit}':>12}{cells}")
    print(f"\n{'one command (true)':<28}{'p50 ms':>12}{'p95 ms':>14}{'x host':>14}")
    for name, row in figures["commands"].items():
        print(f"{name:<28}{row['p50']:>12.1f}{row['p95']:>14.1f}{row['ratio']:>14.1f}")
    print(f"\n{figures['files']} files; load {figures['load']:.1f} at the start; ! is over the target")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a sandbox costs.")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--files", type=int, default=5000, help="size of the repository")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pawl-bench-"))
    folder.chmod(0o711)
    try:
        figures = asyncio.run(measure(folder, options.files))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
