"""What a debugged run shows a model: failures, the values at breakpoints over time, stacks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from tools.debugging import KEPT, MAX_HITS, Breakpoint, Debugged, Hit, Seen, Watched
from tools.output import clip
from tools.testreport import Frame, TestResult

Sources = dict[str, list[str]]

MAX_FAILURES = 3
MAX_FRAMES = 8
MAX_CAUGHT = 10
MAX_STACKS = 12
_CELL = 60
_COLUMNS = 8
_DUMPED = re.compile(r'^  File "([^"\n]+)", line (\d+) in (.+)$')


def describe(found: Debugged, breakpoints: Sequence[Breakpoint], sources: Sources) -> str:
    """All that was seen, in short. `sources` has the lines of the files that `places` names."""
    parts = list(_failures(found, sources))
    shown = list(zip(breakpoints, found.watched, strict=True))
    parts += [_breakpoint(point, watched, sources) for point, watched in shown]
    if found.displaced:
        parts.append(
            "The tracer was lost, to one that the program set (sys.settrace) or in a stack that was too deep:"
            " breakpoints were not seen from then on."
        )
    if found.caught:
        parts.append(_caught(found, sources))
    parts += _stacks(found, sources)
    if not parts:
        ended = "Nothing failed" if found.check.ok else "It failed without an exception"
        parts.append(f"{ended}. Set breakpoints to see values.")
    report = found.check.report
    if report is not None and report.runner != "python":
        return "\n\n".join([report.summary, *parts])
    output = found.check.output.removesuffix(f"[{found.check.killed}]\n")
    output = clip(output, limit=1500, lines=30).strip("\n")
    return "\n\n".join([*parts, *([f"Output:\n{output}"] if output else [])])


def places(found: Debugged, breakpoints: Sequence[Breakpoint]) -> set[str]:
    """Paths of the workspace whose lines are shown."""
    frames = [frame for test in _failed(found) for frame in test.frames]
    frames += [caught.frame for caught in _chosen(found.caught, MAX_CAUGHT)]
    frames += [frame for stacks in found.stacks.values() for stack in stacks for frame in stack.frames]
    return {frame.path for frame in frames if frame.in_workspace} | {point.path for point in breakpoints}


def _failed(found: Debugged) -> list[TestResult]:
    """What failed, with frames where they are known: the records of the tracer or those of pytest."""
    report = found.check.report
    told = list(found.failures)
    if report is not None and (report.runner == "pytest" or not told):
        told = [*report.failures, *told]
    return told[:MAX_FAILURES]


def _failures(found: Debugged, sources: Sources) -> Iterator[str]:
    for test in _failed(found):
        reason = f"{test.exception}: {clip(test.message, limit=600)}".strip(": ")
        frames = _frames(test.frames, sources)
        yield "\n".join([f"FAILED {test.id}".strip(), reason, *frames])


def _frames(frames: Iterable[Frame], sources: Sources) -> Iterator[str]:
    """Frames of the workspace with a line of code and their values; those of others between are counted."""
    told = list(frames)
    while told:
        own = 1
        while own < len(told) and not told[own].chained:
            own += 1
        if told[0].chained:
            yield told[0].chained
        yield from _segment(told[:own], sources)
        told = told[own:]


def _segment(frames: list[Frame], sources: Sources) -> Iterator[str]:
    inside = [frame for frame in frames if frame.in_workspace]
    kept = inside if len(inside) <= MAX_FRAMES else [*inside[:2], *inside[2 - MAX_FRAMES :]]
    for frame in kept:
        yield from _frame(frame, sources)
        if len(kept) < len(inside) and frame is kept[1]:
            yield "  ... frames left out ..."  # of a deep recursion the tracer itself told the ends alone
    if frames and not frames[-1].in_workspace:
        last = frames[-1]
        yield f"  {last.path}:{last.line} in {last.function}"


def _frame(frame: Frame, sources: Sources) -> Iterator[str]:
    yield f"  {frame.path}:{frame.line} in {frame.function}: {_code(frame.path, frame.line, sources)}".rstrip(
        ": "
    )
    for name, value in frame.locals:
        yield f"    {name} = {value}"


def _code(path: str, line: int, sources: Sources) -> str:
    lines = sources.get(path, [])
    return lines[line - 1].strip()[:100] if 0 < line <= len(lines) else ""


def _breakpoint(point: Breakpoint, watched: Watched, sources: Sources) -> str:
    states = list(watched.seen.values())
    line = states[0].line if states else point.line
    name = f"{point.path}:{line}" + (f" if {point.condition}" if point.condition else "")
    moved = f" (line {point.line} is the head of a function; this is its first)" if line != point.line else ""
    hits, trouble = sum(s.hits for s in states), next((s.trouble for s in states if s.trouble), "")
    lines = [f"Breakpoint {name}{moved}: {_code(point.path, line, sources)}".rstrip(": ")]
    if trouble:
        lines.append(trouble[0].upper() + trouble[1:] + ".")
    if hits:
        limit = (
            ", the most that are watched: use a condition" if any(s.hits >= MAX_HITS for s in states) else ""
        )
        lines.append(f"{_times(hits, 'hit')}{limit}; values before the line runs, * where they changed:")
        lines += _rows(watched, hits)
    else:
        lines.append(_why_no_hit(states, sources.get(point.path, [])))
    return "\n".join(lines)


def _why_no_hit(states: list[Seen], lines: list[str]) -> str:
    if near := next((s.near for s in states if s.near), []):
        shown = [f"{n}: {lines[n - 1].strip()[:60]}" if n <= len(lines) else str(n) for n in near]
        return "\n".join(["0 hits: there is no code in this line. The nearest lines with code:", *shown])
    if passed := sum(s.passed for s in states):
        return f"0 hits: the line was reached {_times(passed, 'time')}, and the condition was never true."
    function = next((s.function for s in states if s.function not in ("", "<module>")), "")
    if not any(s.file_ran for s in states):
        return "0 hits: nothing in this file was run."
    if any(s.function_ran for s in states):
        return f"0 hits: {f'`{function}` ran' if function else 'the file ran'}, but never came to this line."
    return f"0 hits: the file was run, but {f'`{function}`' if function else 'this part'} was never called."


def _rows(watched: Watched, hits: int) -> Iterator[str]:
    """The first hits and the last ones as a table, or as blocks where a row would be too wide."""
    first = watched.first[:KEPT]
    known = {(hit.pid, hit.hit) for hit in first}
    last = [
        Hit(hit.hit, hit.values, hit.changed, hit.where, pid)
        for pid, seen in watched.seen.items()
        for hit in seen.last
        if (pid, hit.hit) not in known
    ][-KEPT:]
    names = list(dict.fromkeys(name for hit in [*first, *last] for name in hit.values))[:_COLUMNS]
    many = len({hit.pid for hit in [*first, *last]}) > 1
    yield "  " + " | ".join(["hit", *names])
    for part in (first, last):
        if part is last and (left := hits - len(first) - len(last)) > 0:
            yield f"  ... {left} hits left out ..."
        for hit in part:
            where = ", ".join(filter(None, [hit.where, f"process {hit.pid}" if many else ""]))
            cells = [str(hit.hit), *(_cell(hit, name) for name in names)]
            yield "  " + " | ".join(cells) + (f"  ({where})" if where else "")


def _cell(hit: Hit, name: str) -> str:
    value = hit.values.get(name, "-")
    value = value if len(value) <= _CELL else value[: _CELL - 3] + "..."
    return value + "*" * (name in hit.changed)


def _caught(found: Debugged, sources: Sources) -> str:
    shown = _chosen(found.caught, MAX_CAUGHT)
    lines = [
        f"{_times(len(found.caught), 'exception')} came into the workspace's code, caught ones included:"
    ]
    for error, frame in [(c.error, c.frame) for c in shown]:
        lines += [error, *_frame(frame, sources)]
    return "\n".join(lines)


def _chosen(items: list, most: int) -> list:  # type: ignore[type-arg]
    return items if len(items) <= most else [*items[: most // 2], *items[-(most // 2) :]]


def _stacks(found: Debugged, sources: Sources) -> Iterator[str]:
    """Where it stood when the time was over, in the interpreter's words where the tracer could not run."""
    stacks = [(pid, stack) for pid, stacks in found.stacks.items() for stack in stacks]
    many = len(found.stacks) > 1
    for pid, stack in stacks[:MAX_STACKS]:
        name = stack.name + (f" of process {pid}" if many else "")
        told = "\n".join([f"When the time was over, {name} stood at:", *_segment(stack.frames, sources)])
        yield told
    if found.dumps.count("Current thread") > len(found.stacks):
        yield "\n".join(["When the time was over (innermost last):", *_dumped(found.dumps)])


def _dumped(text: str) -> list[str]:
    blocks = []
    for frames, lines in groupby(text.splitlines(), key=lambda line: bool(_DUMPED.match(line))):
        if frames:
            blocks.append([match for line in lines if (match := _DUMPED.match(line))][::-1])
    return [f"  {m[1]}:{m[2]} in {m[3]}" for block in blocks for m in block if "_pytest" not in m[1]][-30:]


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
