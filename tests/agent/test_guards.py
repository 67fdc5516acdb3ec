from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import AssistantReplied, Durable, StepStarted, ToolFinished, TurnStarted
from agent.guards import (
    Budget,
    Exchange,
    LoopGuard,
    MaxSteps,
    Progress,
    Remind,
    Stop,
    read_progress,
    repeats,
)
from agent.messages import Assistant, ToolCall, ToolResult, Usage
from tests.support.scene import Scene

USAGE = Usage(input_tokens=10, cached_input_tokens=8, output_tokens=2, requests=1)


def step(text: str, *pairs: tuple[str, str], usage: Usage = USAGE) -> list[Durable]:
    made = tuple(ToolCall(f"c{i}", name, "{}") for i, (name, _) in enumerate(pairs))
    results = [ToolFinished(ToolResult(c.id, c.name, pairs[i][1]), 0.0) for i, c in enumerate(made)]
    return [StepStarted(""), AssistantReplied(Assistant(text, made), "stop", usage, 0.0), *results]


def after(*steps: list[Durable]) -> Progress:
    return read_progress([TurnStarted("go"), *(event for step in steps for event in step)])


def test_progress_is_that_of_the_last_turn() -> None:
    events = [
        TurnStarted("one"),
        *step("x"),
        TurnStarted("two"),
        *step("y", ("read", "r"), ("grep", "g")),
        *step("z"),
    ]
    assert read_progress(events) == Progress(
        2,
        Usage(20, 16, 4, 2),
        (Exchange("y", (("read", "{}"), ("grep", "{}")), ("r", "g")), Exchange("z", ())),
    )
    assert read_progress([]) == Progress(0, Usage(), ())


def test_max_steps_lets_exactly_so_many_pass() -> None:
    guard = MaxSteps(2)
    assert guard.before_step(after(step("a"))) is None
    assert guard.before_step(after(step("a"), step("b"))) == Stop("limit", "reached 2 steps")


SAME = step("thinking", ("read", "text"))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], None),
        ([SAME] * 2, None),
        ([SAME] * 3, Remind),
        ([SAME] * 4, None),
        ([SAME] * 5, Stop),
        ([step(str(i), ("read", "text")) for i in range(5)], Stop),
        ([step("same", ("read", str(i))) for i in range(5)], None),
        ([SAME, SAME, step("", ("read", "other")), SAME, SAME], None),
        ([SAME, step("", ("grep", "g"))] * 3, Remind),
        ([SAME, step("", ("grep", "g"))] * 5, Stop),
        ([step("I am done.")] * 3, Remind),
        ([step("I am done."), step(" I am done.\n")] * 3, Stop),
        ([step(str(i)) for i in range(6)], None),
    ],
)
def test_loop_guard_tells_repetition_from_progress(steps: list[list[Durable]], expected: type | None) -> None:
    verdict = LoopGuard().before_step(after(*steps))
    assert verdict is None if expected is None else isinstance(verdict, expected)
    if isinstance(verdict, Stop):
        assert verdict.status == "loop"


@given(
    head=st.lists(st.integers(0, 2), max_size=6),
    cycle=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    times=st.integers(1, 5),
)
def test_repeats_counts_at_least_the_cycles_that_are_there(
    head: list[int], cycle: list[int], times: int
) -> None:
    steps = [*head, *cycle * times]
    found = repeats(steps, len(cycle))
    assert found >= times
    assert steps[len(steps) - found * len(cycle) :] == cycle * found
    assert repeats(head, len(head) + 1) == 0


def test_a_budget_is_shared_by_all_branches(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        budget = Budget(scene.bus, tokens=8)
        for label in ("attempt-1", "attempt-2"):
            assert budget.before_step(after()) is None
            for event in step("x"):
                scene.branch.fork(label).emit(event)
        assert budget.usage == Usage(20, 16, 4, 2)
        assert budget.before_step(after()) == Stop("limit", "spent 8 of 8 tokens")


def test_a_budget_of_money_and_time(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        now = 0.0
        scene.bus.timer = lambda: now
        money, time = Budget(scene.bus, cost_usd=0.5), Budget(scene.bus, seconds=60)
        for event in step("x", usage=Usage(cost_usd=0.5)):
            scene.branch.emit(event)
        assert money.exceeded() == "spent 0.5000 of 0.5 USD"
        assert not time.exceeded()
        now = 60.0
        assert time.exceeded() == "reached 60 s"
        assert not Budget(scene.bus).exceeded()
