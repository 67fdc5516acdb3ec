"""How much slower a program runs under `debug` with one breakpoint in a function that is called once.

    python -m tests.bench.debug [PYTHON...]

Two loops of 100,000 rounds, one without calls and one that calls a function of the breakpoint's file:
CPU time with the tracer over that without, the best of five each, taken inside the program. Prints one JSON
object for each interpreter; exit code 1 when a ratio is over its limit.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from sandbox.base import Sandbox, SandboxSpec
from sandbox.open import open_sandbox
from tools.debugging import Breakpoint, run_debugged

LIMITS = {True: {"loop": 1.5, "calls": 1.5}, False: {"loop": 6.0, "calls": 12.0}}
"""With `sys.monitoring` or not: before Python 3.12 each call is asked about, no bytecode is specialised."""
PROGRAM = """\
import json
import sys
import time


def other():
    return 1


def step(number):
    return number % 7


def loop():
    total = 0
    for number in range(100_000):
        total += number % 7


def calls():
    for number in range(100_000):
        step(number)


def seconds(function):
    began = time.process_time()
    function()
    return time.process_time() - began


other()
best = {f.__name__: min(seconds(f) for _ in range(5)) for f in (loop, calls)}
print(json.dumps({"monitoring": hasattr(sys, "monitoring"), **best}))
"""


async def ratios(sandbox: Sandbox, python: str) -> dict[str, float | bool]:
    plain = json.loads((await sandbox.run((python, "program.py"))).output)
    point = Breakpoint("program.py", 1 + PROGRAM.splitlines().index("    return 1"))
    found = await run_debugged(
        sandbox, (python, "program.py"), [point], [], caught=False, timeout_s=60.0, env={}
    )
    assert [seen.hits for seen in found.watched[0].seen.values()] == [1]
    traced = json.loads(found.check.exec.output)
    monitoring = plain.pop("monitoring")
    return {"monitoring": monitoring, **{name: round(traced[name] / plain[name], 2) for name in plain}}


async def main(pythons: list[str]) -> bool:
    good = True
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree").resolve()
        tree.mkdir()
        (tree / "program.py").write_text(PROGRAM)
        spec = SandboxSpec(tree=tree, root=str(tree), session="bench")
        sandbox = await open_sandbox(spec, "local", state=Path(folder, "state"), project=tree)
        try:
            for python in pythons:
                found = await ratios(sandbox, python)
                print(json.dumps({"python": python, **found}))
                limits = LIMITS[bool(found["monitoring"])]
                good &= all(found[name] <= limit for name, limit in limits.items())
        finally:
            await sandbox.aclose()
    return good


if __name__ == "__main__":
    sys.exit(not asyncio.run(main(sys.argv[1:] or [sys.executable])))
