"""A run's folder as a runner leaves it, made from a seed: tasks, outcomes, session logs, patches."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent.messages import Usage
from evals.types import (
    AgentSpec,
    End,
    Flag,
    Folder,
    Instance,
    Rollout,
    RunManifest,
    Score,
    TestOutcome,
    Tests,
    Unit,
    plan_units,
)
from evals.types import Limits as NoLimits

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
SCORER = "tests-1"


class MadeRun:
    """Writes the planned files at once; `roll` and `grade` add what came of one unit."""

    def __init__(
        self,
        folder: Path,
        instances: list[Instance],
        *,
        attempts: int = 1,
        agent: AgentSpec | None = None,
        seed: int = 0,
    ) -> None:
        self.folder = folder
        self.agent = agent or AgentSpec(name="pawl", model="local/tiny", version="0.1.0")
        self.units = plan_units(instances, self.agent, attempts, seed, NoLimits())
        for name in ("attempts", "results", "scores"):
            (folder / name).mkdir(parents=True)
        manifest = RunManifest(
            name=folder.name,
            benchmark="made",
            dataset="made.jsonl",
            dataset_hash="0" * 64,
            agent=self.agent,
            attempts=attempts,
            seed=seed,
            scorer=SCORER,
            created_at="2026-01-02T03:04:05Z",
        )
        (folder / "run.json").write_bytes(msgspec.json.encode(manifest))
        (folder / "units.jsonl").write_bytes(lines(self.units))
        (folder / "instances.jsonl").write_bytes(lines(instances))

    def unit(self, instance: str, attempt: int = 0) -> Unit:
        return next(u for u in self.units if (u.instance, u.attempt) == (instance, attempt))

    def roll(
        self, unit: Unit, end: End = "submitted", *, events: list[dict[str, Any]] | None = None, **more: Any
    ) -> None:
        fields = {"agent": self.agent.name, "model": self.agent.model, "end": end} | more
        rollout = Rollout(unit=unit.id, instance=unit.instance, attempt=unit.attempt, **fields)
        (self.folder / "results" / f"{unit.id}.json").write_bytes(msgspec.json.encode(rollout))
        place = self.folder / "attempts" / unit.id
        place.mkdir()
        (place / "patch.diff").write_text(rollout.patch)
        if events is not None:
            (place / "events.jsonl.gz").write_bytes(gzip.compress(lines(events), 1))

    def grade(self, unit: Unit, resolved: bool, *, scorer: str = SCORER, **more: Any) -> None:
        fields = {"reward": float(resolved), "applied": True} | more
        score = Score(unit=unit.id, instance=unit.instance, scorer=scorer, resolved=resolved, **fields)
        path = self.folder / "scores" / f"{unit.id}.{scorer}.json"
        path.write_bytes(msgspec.json.encode(score))


def lines(values: list[Any]) -> bytes:
    return b"".join(msgspec.json.encode(value) + b"\n" for value in values)


def task(number: int, **more: Any) -> Instance:
    fields: dict[str, Any] = {
        "id": f"task-{number:03d}",
        "benchmark": "made",
        "statement": f"Function number {number} counts one too many.",
        "tree": Folder("/nowhere"),
        "grading": Tests(("pytest",), (f"t.py::test_{number}",), ("t.py::test_other",)),
        "reference": diff(number, "right"),
        "repo": f"owner/repo{number % 7}",
        "difficulty": ("easy", "hard")[number % 2],
        "created_at": f"2026-{1 + number % 12:02d}-03T00:00:00Z",
    }
    return Instance(**(fields | more))


def diff(number: int, word: str) -> str:
    return (
        f"diff --git a/m{number}.py b/m{number}.py\n--- a/m{number}.py\n+++ b/m{number}.py\n@@ -1,2 +1,3 @@\n"
        f" def count_{number}(items):\n-    return len(items) + 1\n+    total = len(items)  # {word}\n"
        "+    return total\n"
    )


def events(number: int, steps: int, text: Callable[[int], str]) -> list[dict[str, Any]]:
    """A session log's lines: each step a reply and one tool call with its result."""
    log: list[dict[str, Any]] = [
        {"format": "pawl-session/1", "id": f"s{number}", "at": "", "project": "/p"},
        {"type": "conversation_started", "system": "Be good.", "tools": [{"name": "bash"}], "model": "tiny"},
        {"type": "turn_started", "text": f"Mend number {number}."},
    ]
    for step in range(1, steps + 1):
        call = {"id": f"c{step}", "name": "bash", "arguments": f'{{"command":"pytest t{step}.py"}}'}
        usage = {"input_tokens": 900 + step, "cached_input_tokens": 800, "output_tokens": 40, "requests": 1}
        message = {"type": "assistant", "text": text(step), "tool_calls": [call], "reasoning": "Think."}
        answer = {"call_id": f"c{step}", "name": "bash", "text": text(-step), "is_error": step % 5 == 0}
        log += [
            {"type": "assistant_replied", "message": message, "reason": "tool_calls", "usage": usage},
            {"type": "tool_started", "call": call, "effect": "execute"},
            {"type": "tool_finished", "result": answer, "duration_s": 0.25},
        ]
    log.append({"type": "turn_ended", "status": "done", "detail": ""})
    for seq, event in enumerate(log[1:], 1):
        event |= {"seq": seq, "at": f"2026-01-02T03:{seq // 60:02d}:{seq % 60:02d}.000Z", "step": seq // 3}
    return log


def big_run(folder: Path, tasks: int = 500, *, attempts: int = 1, steps: int = 20, seed: int = 1) -> MadeRun:
    """A run with everything in it: ends of many kinds, flags, hostile text, long outputs."""
    source = random.Random(seed)
    words = [f"word{source.randrange(10**6)}" for _ in range(4000)]

    def text(step: int) -> str:
        return " ".join(source.choices(words, k=60 if step > 0 else 150)) + (HOSTILE if step == 1 else "")

    run = MadeRun(folder, [task(number) for number in range(tasks)], attempts=attempts)
    for place, unit in enumerate(run.units):
        number = int(unit.instance[5:])
        end: End = source.choice(["submitted"] * 7 + ["limit", "no_change", "provider_error"])  # type: ignore[assignment]
        usage = Usage(source.randrange(5_000, 90_000), 4_000, source.randrange(200, 5_000), steps, 0.01)
        run.roll(
            unit,
            end,
            detail=HOSTILE if place == 0 else "",
            patch="" if end == "no_change" else diff(number, source.choice(["right", "left"])),
            usage=usage,
            steps=steps,
            duration_s=source.uniform(5, 300),
            malformed_calls=source.choice([0, 0, 2]),
            failed_edits=source.choice([0, 1]),
            verified=source.choice([True, False, None]),
            events=events(number, steps, text),
        )
        if end == "provider_error":
            continue
        solved = end == "submitted" and source.random() < 0.6
        outcome: Any = "passed" if solved else "failed"
        tests = (
            TestOutcome(f"t.py::test_{number}", "fail_to_pass", outcome, "" if solved else HOSTILE),
            TestOutcome("t.py::test_other", "pass_to_pass", "passed"),
        )
        flags = (Flag("conftest", "tamper", "a new conftest.py", "conftest.py"),) if place == 3 else ()
        run.grade(unit, solved and not flags, tests=tests, flags=flags, duration_s=source.random())
    return run
