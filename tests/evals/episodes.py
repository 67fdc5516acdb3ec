"""A run whose session logs were written by pawl's own loop, talking to a server that tells its tokens."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.bus import Branch, Bus
from agent.events import (
    AssistantReplied,
    AttemptEnded,
    AttemptStarted,
    CheckRan,
    ConversationStarted,
    Durable,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from agent.loop import compact, run_turn
from agent.messages import Assistant, ToolCall, ToolResult, Usage
from agent.models.base import Quirks, Tokens
from agent.models.providers import LLAMA_CPP
from agent.models.transport import HttpModel
from agent.session import Header, SessionLog
from evals.episode import Episode
from evals.export import load_export, select
from evals.reading import Run
from evals.types import Flag, TestOutcome
from tests.support.byte_tokens import Reply, byte_server
from tests.support.made_run import MadeRun, diff, task
from tests.support.scene import NOW, Scene, call

SECRET = "s3cr3t-t0ken-value"
ASKING: Quirks = msgspec.structs.replace(
    LLAMA_CPP, extra={**LLAMA_CPP.extra, **LLAMA_CPP.tokens}, prefill=False
)

PUT = call(1, "put", '{"name": "a", "text": "better"}')
MISSING = call(2, "look", '{"name": "zz"}')
SOLVES = (Reply("I write it.", (PUT,)), Reply("Now I look.", (MISSING,)), "It is done.")
DRIFTS = (Reply("I take the note.", (PUT,), merged=True), Reply("Is it the one?", merged=True), "Yes.")
SILENT = (Reply("I write it.", (PUT,)), Reply("Hm.", (MISSING,), silent=True), "It is done.")


def talk(folder: Path, replies: Sequence[Reply | str], *, squeeze: bool = False) -> Path:
    """A session of these replies: the first user message, after its end a check, and one more message.

    `squeeze`: the conversation is compacted in between, for which the second last reply is the summary.
    """

    async def go() -> Path:
        folder.mkdir()
        async with byte_server(replies) as server:
            with Scene(folder, temperature=0.5) as scene:
                scene.agent.model = HttpModel("m", server.base_url, "m", quirks=ASKING)
                scene.branch.emit(CheckRan("base", ("pytest",), 1, False, 0.1, {"passed": 1, "failed": 2}))
                await run_turn(scene.agent, "Mend the note.")
                scene.branch.emit(CheckRan("attempt", ("pytest",), 1, False, 0.1, {"passed": 2, "failed": 1}))
                if squeeze:
                    assert await compact(scene.agent)
                if len(server.requests) < len(replies):
                    await run_turn(scene.agent, "And?")
                await scene.agent.model.aclose()
                return scene.log.path

    return asyncio.run(go())


def new_session(path: Path) -> Branch:
    log = SessionLog.create(path, Header(id="s", at="", project="/p"))
    return Bus(log, clock=lambda: NOW).branch()


def check(where: str, passed: int) -> CheckRan:
    return CheckRan(where, ("pytest",), 1, False, 0.1, {"passed": passed, "failed": 1})  # type: ignore[arg-type]


def ask(branch: Branch, text: str, *results: tuple[str, str, bool, str]) -> None:
    """A conversation of one turn; results are of tools by name: text, whether it failed, effect."""
    opens = not any(isinstance(event, ConversationStarted) for event in branch.events())
    opening: list[Durable] = [ConversationStarted("sys", (), "m"), TurnStarted("go")] if opens else []
    calls = tuple(ToolCall(f"c{n}", name, "{}") for n, (name, *_) in enumerate(results))
    for event in opening:
        branch.emit(event)
    reply = branch.emit(AssistantReplied(Assistant(text, calls), "stop", Usage(), 0.1))
    branch.bus.tokens.add(reply.envelope.seq, Tokens((1, 2), (reply.envelope.seq,), (-0.5,)), None)
    for made, (name, said, failed, effect) in zip(calls, results, strict=True):
        if effect:
            branch.emit(ToolStarted(made, effect))
        branch.emit(ToolFinished(ToolResult(made.id, name, said, failed), 0.1))


def repair(main: Branch, number: int, outcome: str, passed: int | None, *texts: str) -> None:
    """An attempt of `pawl fix` by direct repair: each reply is on a branch of its own, the check is not."""
    branch = main.fork(f"attempt-{number}")
    branch.emit(AttemptStarted(number, 3, "repair", 0.2))
    for asked, text in enumerate(texts, 1):
        ask(branch.fork(f"reply-{asked}"), text)
    if passed is not None:
        branch.emit(check("attempt", passed))
    branch.emit(AttemptEnded(number, outcome))


def keep(run: MadeRun, unit: str, log: Path) -> None:
    """Put a session where a worker leaves it."""
    place = run.folder / "attempts" / unit
    (place / "events.jsonl.gz").write_bytes(gzip.compress(log.read_bytes()))
    tokens = log.with_suffix("") / "artifacts" / "tokens.jsonl"
    if tokens.exists():
        kept = place / "outputs" / "artifacts" / "tokens.jsonl.gz"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(gzip.compress(tokens.read_bytes()))


def make(folder: Path) -> MadeRun:
    """Six tasks: solved; not solved, with drift; flagged, one reply without tokens; and three that are in no
    export: ended by the provider, cancelled, and not graded.
    """
    run = MadeRun(folder / "run", [task(number) for number in range(6)])
    units = run.units
    ends = ("submitted", "limit", "submitted", "provider_error", "cancelled", "submitted")
    for number, (unit, end) in enumerate(zip(units, ends, strict=True)):
        run.roll(unit, end, patch=diff(number, "right"), detail=f"it ended: {end}", duration_s=2.0)
    for number, replies in enumerate((SOLVES, DRIFTS, SILENT, SOLVES)):
        keep(run, units[number].id, talk(folder / f"talk-{number}", replies))
    passed, failed = (
        (
            TestOutcome("t.py::test_a", "fail_to_pass", outcome),
            TestOutcome("t.py::test_b", "pass_to_pass", "passed"),
        )
        for outcome in ("passed", "failed")
    )
    run.grade(units[0], True, tests=passed)
    run.grade(units[1], False, tests=failed)
    run.grade(units[2], False, tests=passed, flags=(Flag("conftest", "tamper", "a new conftest.py"),))
    return run


def written(run: Run, form: str, out: Path, *filters: str) -> dict[str, Any]:
    """Each file of an export by name, decoded; JSON lines as a list."""
    chosen = load_export(form)
    chosen.write(select(run, chosen.needs, filters).episodes, run, out)
    files = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out]
    return {path.relative_to(out).as_posix(): _decoded(path) for path in sorted(files)}


def _decoded(path: Path) -> Any:
    text = path.read_text()
    if path.suffix == ".json":
        return json.loads(text)
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return text


def rows(run: Run, form: str, tmp_path: Path, *filters: str) -> list[dict[str, Any]]:
    """Those of a format that is one file of JSON lines."""
    (found,) = written(run, form, tmp_path / "out", *filters).values()
    return found  # type: ignore[no-any-return]


def episode(run: Run, number: int) -> Episode:
    unit = run.units[number].id
    return next(one for one in select(run, "messages").episodes if one.unit.id == unit)
