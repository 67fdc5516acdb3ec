"""Run a command with the tracer in each Python of it, and read what the tracer tells.

The tracer (tools/probes/debug/) is loaded by the environment, as the probe of checks is, and reports in the
same way: JSON lines in a file of the sandbox. What the workspace's code could forge of a check's records it
could forge here.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sandbox.base import Sandbox
from tools.probe import probe_folder, run_check, take
from tools.runners._probe import placed
from tools.testreport import CheckResult, Frame, TestResult

KEPT = 5
"""Hits of a breakpoint whose values are kept, of the first and of the last ones, in each process."""
MAX_HITS = 10_000
"""Hits after which a process no longer watches a breakpoint."""
SIGNAL = 44
"""Asks a traced process where it stands: a real-time signal, which programs rarely use."""
_ASK = """for pid in $(sed -n 's/^{"type": "start", "pid": \\([0-9]*\\),.*/\\1/p' "$1" | sort -u)
do kill -%d "$pid" 2>/dev/null; done; sleep 0.3"""


class Breakpoint(msgspec.Struct, frozen=True):
    path: str
    """Relative to the workspace."""
    line: int
    condition: str = ""


class Hit(msgspec.Struct):
    """The values at one time that a breakpoint's line was come by, before the line ran."""

    hit: int
    """Which hit of its process it was, from 1."""
    values: dict[str, str]
    changed: list[str]
    """Names whose value is another one than at the hit before."""
    where: str = ""
    """Thread, asyncio task, depth of recursion; empty for the usual ones."""
    pid: int = 0


class Seen(msgspec.Struct):
    """What one process saw of one breakpoint."""

    line: int
    """Where the breakpoint is: that of a `def` stands at the first line of its body."""
    function: str
    passed: int
    """How often the line was come by; `hits` are those for which the condition was true."""
    hits: int
    file_ran: bool
    function_ran: bool
    near: list[int]
    """Lines with code around one that has none."""
    trouble: str
    last: list[Hit]


class Stack(msgspec.Struct):
    """Where a thread or an asyncio task stood when the time was over."""

    name: str
    frames: list[Frame]


class Caught(msgspec.Struct):
    """An exception that came into a frame of the workspace, whether somebody caught it or not."""

    error: str
    frame: Frame


class Watched(msgspec.Struct):
    """All that is known about one breakpoint."""

    first: list[Hit] = []
    seen: dict[int, Seen] = {}
    """By process."""


class Debugged(msgspec.Struct):
    """One debugged run."""

    check: CheckResult
    pythons: dict[int, str]
    """Process -> version; empty when no Python was traced."""
    watched: list[Watched]
    failures: list[TestResult]
    """What programs, threads and tests of unittest failed with; those of pytest are in the check's report."""
    stacks: dict[int, list[Stack]]
    dumps: str
    """The interpreter's own words on where each process stood: they come also when no bytecode can run."""
    caught: list[Caught]
    displaced: bool
    """Whether a program replaced the tracer."""


async def run_debugged(
    sandbox: Sandbox,
    command: str | tuple[str, ...],
    breakpoints: list[Breakpoint],
    expressions: list[str],
    *,
    caught: bool,
    timeout_s: float,
    env: Mapping[str, str],
    on_output: Callable[[bytes], None] | None = None,
) -> Debugged:
    """Run `command`, at most `timeout_s`; shortly before its end the processes are asked where they stand."""
    out = f"/tmp/pawl-debug-{uuid.uuid4().hex}.jsonl"
    points = [
        {"path": f"{sandbox.root}/{b.path}", "line": b.line, "condition": b.condition} for b in breakpoints
    ]
    order = {
        "out": out,
        "breakpoints": points,
        "expressions": expressions,
        "caught": caught,
        "signal": SIGNAL,
        "kept": KEPT,
        "most": MAX_HITS,
    }
    paths = [f"{probe_folder(sandbox)}/debug", *filter(None, [env.get("PYTHONPATH")])]
    more = {**env, "PYTHONPATH": ":".join(paths), "PAWL_DEBUG": msgspec.json.encode(order).decode()}
    asking = asyncio.create_task(_ask(sandbox, out, timeout_s - min(max(timeout_s / 5, 0.5), 3.0)))
    try:
        check = await run_check(sandbox, command, timeout_s=timeout_s, extra_env=more, on_output=on_output)
    finally:
        asking.cancel()
        await asyncio.wait({asking})
    return read_records(await take(sandbox, out), check, len(breakpoints), sandbox.root)


async def _ask(sandbox: Sandbox, out: str, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await sandbox.run(("sh", "-c", _ASK % SIGNAL, "sh", out), timeout_s=5.0)


class _Record(msgspec.Struct):
    """A line of the tracer, of the type start, point, hit, failure, stack, caught or displaced."""

    type: str
    pid: int
    python: str = ""
    point: int = 0
    id: str = ""
    exception: str = ""
    message: str = ""
    frames: list[Frame] = []
    stacks: list[Stack] = []


_FIELDS: dict[str, type[Any]] = {"point": Seen, "hit": Hit, "caught": Caught}


def read_records(data: bytes, check: CheckResult, count: int, root: str) -> Debugged:
    """What the tracer's lines say of `count` breakpoints. Torn and foreign lines are left out. Pure."""
    found = Debugged(check, {}, [Watched() for _ in range(count)], [], {}, "", [], False)
    dumps = []
    for line in data.splitlines():
        try:
            record = msgspec.json.decode(line, type=_Record)
            more = msgspec.json.decode(line, type=_FIELDS.get(record.type, _Record))
        except msgspec.DecodeError:
            if not line.startswith(b"{"):
                dumps.append(line.decode(errors="replace"))
            continue
        if record.type not in ("hit", "point") or 0 <= record.point < count:
            _add(found, record, more, root)
    found.dumps = "\n".join(dumps)
    return found


def _add(found: Debugged, record: _Record, more: Any, root: str) -> None:
    match record.type:
        case "start":
            found.pythons[record.pid] = record.python
        case "hit":
            found.watched[record.point].first.append(more)
        case "point":
            found.watched[record.point].seen[record.pid] = more
        case "failure":
            frames = tuple(placed(frame, root) for frame in record.frames)
            found.failures.append(TestResult(record.id, "failed", record.exception, record.message, frames))
        case "stack":
            found.stacks[record.pid] = [
                Stack(stack.name, [placed(frame, root) for frame in stack.frames]) for stack in record.stacks
            ]
        case "caught":
            found.caught.append(Caught(more.error, placed(more.frame, root)))
        case "displaced":
            found.displaced = True


_PLACE = re.compile(r"(?P<path>[^\s:]+):(?P<line>\d+)(?:(?:\s*,|\s+if)\s+(?P<condition>.+))?", re.DOTALL)


def parse_breakpoint(text: str) -> Breakpoint | None:
    """`path:line`, `path:line if condition` or `path:line, condition`; None for anything else."""
    match = _PLACE.fullmatch(text.strip())
    return (
        Breakpoint(match["path"], int(match["line"]), (match["condition"] or "").strip()) if match else None
    )
